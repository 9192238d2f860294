"""groups: what is measured. A group's measure() is one round of one pair and returns
{row: value}; the pairs of a group all run while its rounds go by turns."""

import os
import time

import pairs
import procs
import rows
import tools
from pairs import HTTP, TCP, TLS
from procs import BenchError

STORM_NICE = 10  # its clients stand for other machines
EVEN = "250M"    # a stream, of 16: less than half of what the agent's one thread does


class Meter:
    """CPU of both sides over a piece of work."""

    def __init__(self, pair):
        self.pair = pair
        self.before = self.read()

    def read(self):
        return [side.cpu() if side else 0.0 for side in (self.pair.client, self.pair.server)]

    def spent(self):
        """(client side, gateway side) in seconds"""
        after = self.read()
        return tuple(b - a for a, b in zip(self.before, after))


class Group:
    name = title = ""
    needs = TCP
    only = None        # peers, where it is not for all
    fresh_pairs = False  # a new pair each time: what is measured depends on its past
    rounds = None      # of a whole run, where the usual number is too few
    quick_rounds = 1

    def peers(self, wanted):
        return [key for key in wanted if self.needs in pairs.PEERS[key].can
                and (not self.only or key in self.only)]

    def start(self, bench, key):
        return pairs.Pair(bench, pairs.PEERS[key])

    def warm(self, bench, pair):
        pass

    def measure(self, bench, pair):
        raise NotImplementedError


def checked(found, what):
    """wrk's figures, if nearly all went well."""
    if found["errors"] > 0.001 * found["requests"]:
        raise BenchError("%s: %d errors in %d requests" % (what, found["errors"],
                                                           found["requests"]))
    return found


class Channels(Group):
    name, title, needs = "channels", "new channels: connect, one request, close; 32 at once", HTTP
    quick_rounds = 2

    def warm(self, bench, pair):
        tools.wrk(pair.door_http, 1, close=True)

    def measure(self, bench, pair):
        meter = Meter(pair)
        found = checked(tools.wrk(pair.door_http, bench.seconds, close=True), "channels")
        client, server = meter.spent()
        return {"channels.rate": found["rate"],
                "channels.client_us": client * 1e6 / found["requests"],
                "channels.server_us": server * 1e6 / found["requests"]}


class Requests(Group):
    name, title, needs = "requests", "requests of 200 bytes on 32 open channels", HTTP
    quick_rounds = 2

    def warm(self, bench, pair):
        tools.wrk(pair.door_http, 1)

    def measure(self, bench, pair):
        meter = Meter(pair)
        found = checked(tools.wrk(pair.door_http, bench.seconds), "requests")
        client, server = meter.spent()
        return {"requests.rate": found["rate"], "requests.p50": found["p50"],
                "requests.p99": found["p99"],
                "requests.client_us": client * 1e6 / found["requests"],
                "requests.server_us": server * 1e6 / found["requests"]}


def bulk(bench, port, seconds, streams, down, each=None):
    bench.origin.wait_for_iperf()
    return tools.iperf3(port, seconds, streams, down, each)


class Bulk(Group):
    name, title = "bulk", "bulk, one stream and four, both directions"
    rounds = 7  # they differ by a fifth

    def measure(self, bench, pair):
        row = {}
        for streams in (1, 4):
            for down in (False, True):
                meter = Meter(pair)
                found = bulk(bench, pair.door_bulk, bench.bulk_seconds, streams, down)
                client, server = meter.spent()
                gb = found["bytes"] / 1e9
                key = "bulk%d.%s." % (streams, "down" if down else "up")
                row.update({key + "gbit": found["gbit"], key + "client_s": client / gb,
                            key + "server_s": server / gb, key + "cpu_s": (client + server) / gb})
        return row


class Memory(Group):
    name, title, needs = "memory", "memory of an idle open channel", HTTP
    fresh_pairs = True

    def measure(self, bench, pair):
        count = bench.idle
        if pair.peer.key == "stunnel":
            count = min(count, 1000)  # a thread a channel, at both ends
        elif pair.peer.key != "sallyport":
            count = min(count, (bench.files - 4000) // 2)  # two descriptors a channel
        procs.wait_for(pair.peer.title, lambda: procs.http_ok(pair.door_http), 10)
        before = [procs.steady_rss(side, 3) for side in pair.sides()]
        load = tools.Load(bench, "channels", "--port", pair.door_http, "--count", count,
                          "--at-once", 32)
        try:
            after = [procs.steady_rss(side) for side in pair.sides()]
            load.run()
        finally:
            load.stop()
        return {"memory.client_kib": (after[0] - before[0]) / 1024 / count,
                "memory.server_kib": (after[1] - before[1]) / 1024 / count,
                "memory.channels": count}


class Tunnels(Group):
    name, title, needs = "tunnels", "memory of an idle tunnel at the gateway", TLS
    only = ("sallyport",)
    fresh_pairs = True

    def measure(self, bench, pair):
        before = procs.steady_rss(pair.server, 3)
        to = pair.load_to()
        at = to.index("--connect")
        load = tools.Load(bench, "tunnels", *(to[:at] + to[at + 2:]), "--count", bench.idle,
                          "--at-once", 16)
        try:
            after = procs.steady_rss(pair.server)
            load.run()
        finally:
            load.stop()
        return {"memory.tunnel_kib": (after - before) / 1024 / bench.idle,
                "memory.tunnels": bench.idle}


def handshakes(bench, pair, *args, seconds=None, server=None):
    """load's figures, and the gateway side's CPU us of each."""
    seconds = seconds or bench.seconds
    server = server or pair.server
    load = tools.Load(bench, "handshakes", *args, "--seconds", seconds)
    try:
        before = server.cpu()
        found = load.run()
        found["server_us"] = (server.cpu() - before) * 1e6 / max(found["done"], 1)
    finally:
        load.stop()
    if not found["done"] or found["failed"] > 0.001 * found["done"]:
        raise BenchError("handshakes: %d of %d failed: %s" % (
            found["failed"], found["offered"], found["error"]))
    return found


class WithBare(pairs.Pair):
    """Ours, and beside it bare.c: the least that a gateway on its library can do."""

    def __init__(self, bench, peer):
        super().__init__(bench, peer)
        self.bare_port = bench.ports.one()
        try:
            values = bench.lab.values
            self.bare = procs.Side("bare", [bench.bare, str(self.bare_port),
                                            str(bench.origin.http), values["SERVER_CERT"],
                                            values["SERVER_KEY"]],
                                   os.path.join(self.folder, "bare.out"))
            procs.wait_for("bare", lambda: procs.connects(self.bare_port), 10, self.bare)
        except BaseException:
            self.stop()
            raise

    def load_to_bare(self):
        args = self.load_to()
        args[args.index("--port") + 1] = str(self.bare_port)
        return args

    def stop(self):
        bare, self.bare = getattr(self, "bare", None), None
        if bare:
            bare.stop()
        super().stop()


class Handshakes(Group):
    name, title, needs = "handshakes", "handshakes with one request each", TLS
    rounds = 9  # they differ by a tenth, and by a fifth at times

    def start(self, bench, key):
        return WithBare(bench, pairs.PEERS[key]) if key == rows.OURS else super().start(bench, key)

    @staticmethod
    def resumed(bench, pair, title, *args, server=None):
        """CPU us of a resumed one; None where they were not: it would be no figure of those."""
        found = handshakes(bench, pair, *args, "--at-once", 16, "--resume", server=server)
        if found["resumed"] >= 0.99 * found["done"]:
            return found["server_us"]
        bench.note("%s: only %d of %d handshakes were resumed" % (title, found["resumed"],
                                                                 found["done"]))
        return None

    def measure(self, bench, pair):
        full = handshakes(bench, pair, *pair.load_to(), "--at-once", 16)
        fresh = handshakes(bench, pair, *pair.fresh(int(3000 * bench.seconds)), "--at-once", 16)
        row = {"handshakes.full_us": full["server_us"], "handshakes.full_rate":
               full["done"] / full["seconds"], "handshakes.fresh_us": fresh["server_us"],
               "handshakes.resumed_us": self.resumed(bench, pair, pair.peer.title,
                                                     *pair.load_to())}
        if pair.peer.key == rows.OURS:
            full = handshakes(bench, pair, *pair.load_to_bare(), "--at-once", 16, server=pair.bare)
            row["handshakes.bare_full_us"] = full["server_us"]
            row["handshakes.bare_resumed_us"] = self.resumed(
                bench, pair, "bare", *pair.load_to_bare(), server=pair.bare)
        return {key: value for key, value in row.items() if value is not None}


class Bystander(pairs.Pair):
    """The plain relay, which has no part in the storm, and beside it the gateway that has."""

    def __init__(self, bench):
        self.stormed = None
        super().__init__(bench, pairs.PEERS[rows.FLOOR])
        try:
            self.stormed = pairs.Pair(bench, pairs.PEERS[rows.OURS], gateway_only=True)
        except BaseException:
            self.stop()
            raise

    def stop(self):
        super().stop()
        if self.stormed:
            self.stormed.stop()


class Storm(Group):
    """At least four times what these cores do with the clients on them: four parts by clients that
    are gone after the server's answer, for which two cores have the strength, and what real clients
    can do besides. Once as it comes, once with a limit of handshakes. What these cores do to
    requests meanwhile that pass by the gateway, the plain relay shows."""
    name, title = "storm", "requests on open channels in a storm of handshakes"
    needs, only = HTTP, ("haproxy", "relay", "sallyport")
    rounds = 7  # they differ by a third

    def start(self, bench, key):
        return Bystander(bench) if key == rows.FLOOR else super().start(bench, key)

    @staticmethod
    def stormed(pair):
        return pair.stormed if isinstance(pair, Bystander) else pair

    @classmethod
    def storm(cls, bench, pair, capacity, seconds):
        pair = cls.stormed(pair)
        to = pair.load_to()
        at = to.index("--name")
        begun = []
        try:
            begun.append(tools.Load(bench, "handshakes", *to, "--rate", capacity, "--at-once", 500,
                                    "--seconds", seconds, "--elsewhere", nice=STORM_NICE))
            begun.append(tools.Load(bench, "hellos", "--port", pair.tls, *to[at:at + 2], "--rate",
                                    4 * capacity, "--at-once", 5000, "--seconds", seconds,
                                    "--elsewhere", nice=STORM_NICE))
        except BaseException:
            for load in begun:
                load.stop()
            raise
        return begun

    def steady(self, bench, pair, capacity=0):
        """(steady requests, another tenant's handshakes, [real clients, hellos])"""
        seconds = max(2, bench.seconds)
        begun = []
        try:
            begun.append(tools.Load(bench, "steady", "--port", pair.door_http, "--count", 32,
                                    "--at-once", 32, "--rate", bench.steady_rate,
                                    "--seconds", seconds, "--elsewhere"))
            begun.append(tools.Load(bench, "handshakes", *self.stormed(pair).load_to(other=True),
                                    "--rate", 20, "--at-once", 200, "--seconds", seconds,
                                    "--elsewhere"))
            if capacity:
                begun += self.storm(bench, pair, capacity, seconds + 0.6)
                for load in begun[2:]:
                    load.go()
                time.sleep(0.3)  # the storm is to be there first
            for load in begun[:2]:
                load.go()
            found = [load.result() for load in begun]
            return found[0], found[1], found[2:]
        finally:
            for load in begun:
                load.stop()

    def stormy(self, bench, pair, capacity, calm, prefix):
        """The rows of one storm; calm: steady()'s, without."""
        steady, others, storm = self.steady(bench, pair, capacity)
        row = {"p99": steady["p99_us"], "ratio": steady["p99_us"] / max(calm["p99_us"], 1),
               "rate": steady["done"] / steady["seconds"]}
        if self.stormed(pair) is pair:
            offered = sum(part["offered"] / part["seconds"] for part in storm)
            row.update({"offered": offered / capacity,
                        "done_rate": storm[0]["done"] / storm[0]["seconds"],
                        "answered_rate": storm[1]["done"] / storm[1]["seconds"],
                        "other_done": 100.0 * others["done"] / max(others["offered"], 1)})
            # Where none was done at all there is no latency of those that were.
            if others["done"]:
                row["other_p99"] = others["p99_us"]
        return {prefix + key: value for key, value in row.items()}

    def measure(self, bench, pair):
        stormed = self.stormed(pair)
        can = handshakes(bench, stormed, *stormed.load_to(), "--at-once", 64, seconds=1.5)
        capacity = can["done"] / can["seconds"]
        calm, others, _ = self.steady(bench, pair)
        row = {"storm.calm_p99": calm["p99_us"]}
        row.update(self.stormy(bench, pair, capacity, calm, "storm."))
        self.await_end(pair)
        if stormed is not pair:
            return row
        row["storm.capacity"] = capacity
        if others["done"]:
            row["storm.other_calm_p99"] = others["p99_us"]
        pair.limit_handshakes(int(capacity / 2))
        try:
            row.update(self.stormy(bench, pair, capacity, calm, "limited."))
        finally:
            pair.limit_handshakes(0)
            self.await_end(pair)
        return row

    @staticmethod
    def await_end(pair):
        """What is left over of a storm ends before anything else is measured."""
        procs.wait_for(pair.peer.title, lambda: procs.http_ok(pair.door_http), 20, *pair.sides())


class Delay(Group):
    name, title = "delay", "one channel across 100 ms"
    only = ("haproxy", "sallyport")

    def start(self, bench, key):
        return pairs.Pair(bench, pairs.PEERS[key], delay_ms=50)

    def measure(self, bench, pair):
        # Windows need some round trips to grow; the figure is of a transfer that has them.
        seconds = max(3, bench.bulk_seconds)
        return {"delay.up_gbit": bulk(bench, pair.door_bulk, seconds, 1, False)["gbit"],
                "delay.down_gbit": bulk(bench, pair.door_bulk, seconds, 1, True)["gbit"]}


class OneAndTwo:
    """Two pairs: one worker on one core, and two on two."""

    def __init__(self, bench):
        self.pairs = []
        try:
            for workers, pin in ((1, "0"), (2, "0,1")):
                # Many tunnels, so that each worker has as many.
                self.pairs.append(pairs.Pair(bench, pairs.PEERS[rows.OURS], workers=workers,
                                             tunnels=16, pin=pin))
        except BaseException:
            self.stop()
            raise

    def stop(self):
        for pair in self.pairs:
            pair.stop()


class Cores(Group):
    name, title, needs = "cores", "two cores against one, at the gateway", TLS
    only = ("sallyport",)
    rounds = 9  # they differ by a third

    def start(self, bench, key):
        if (os.cpu_count() or 1) < 2:
            raise BenchError("one core: nothing to compare")
        return OneAndTwo(bench)

    @staticmethod
    def costs(pair, work):
        """CPU seconds of the gateway for a unit of work: its busiest thread's, and all threads'."""
        before = pair.server.threads_cpu()
        units = work(pair)
        after = pair.server.threads_cpu()
        spent = [after[tid] - before.get(tid, 0) for tid in after]
        return max(spent) / units, sum(spent) / units

    def by_turns(self, pair, work, turns):
        """The mean of several short pieces: what a byte costs depends, for seconds, on which
        process the scheduler has put beside which."""
        pieces = [[self.costs(which, work) for which in pair.pairs] for _ in range(turns)]
        return [[sum(piece[i][k] for piece in pieces) / turns for k in (0, 1)] for i in (0, 1)]

    def measure(self, bench, pair):
        def shake(pair):
            return handshakes(bench, pair, *pair.load_to(), "--at-once", 32)["done"]

        def carry(each=None, seconds=bench.bulk_seconds):
            return lambda pair: bulk(bench, pair.door_bulk, seconds, 16, False, each)["bytes"]

        one, two = (self.costs(which, shake) for which in pair.pairs)
        row = {"cores.handshakes": one[0] / two[0], "cores.handshakes_even": 2 * one[1] / two[1]}
        # What a byte costs a gateway that is busy, and how the work is divided where the load is
        # even: at full rate the scheduler decides which worker's streams get on, and at an even
        # load the workers sleep most of the time, which each does for itself.
        one, two = self.by_turns(pair, carry(seconds=bench.bulk_seconds / 2),
                                 round(bench.bulk_seconds))
        calm_one, calm_two = (self.costs(which, carry(EVEN)) for which in pair.pairs)
        row["cores.bulk"] = one[1] / two[1] * calm_two[1] / calm_two[0]
        row["cores.bulk_even"] = 2 * one[1] / two[1]
        row["cores.bulk_busier"] = one[0] / two[0]
        row["cores.bulk_calm"] = calm_one[0] / calm_two[0]
        return row
