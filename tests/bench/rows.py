"""rows: what each figure is called, which way is better, and what issue 4 asks of it."""

import statistics

OURS = "sallyport"
PER_STREAM = ("stunnel", "haproxy", "nginx")  # one TLS connection a channel
FLOOR = "relay"                               # no TLS: never "the best peer"


TITLES = {PER_STREAM: "best TLS-per-stream peer", FLOOR: "plain relay", "haproxy": "HAProxy",
          "nginx": "nginx stream", "best": "best peer", None: ""}


class Target:
    """text(), and the bound: a factor of what a peer (or the best of some) has, or a number."""

    def __init__(self, op, factor, of=None):
        self.op, self.factor, self.of = op, factor, of

    def text(self):
        sign = {"<=": "≤", ">=": "≥"}[self.op]
        of = TITLES[self.of]
        return "%s %g%s" % (sign, self.factor, " × " + of if of else "")

    def bound(self, row, medians):
        """None where what it compares with was not measured."""
        if self.of is None:
            return self.factor
        of = self.of
        if of == "best":
            of = [peer for peer in medians if peer not in (OURS, FLOOR)]
        elif isinstance(of, str):
            of = [of]
        values = [medians[peer] for peer in of if medians.get(peer) is not None]
        return self.factor * row.best(values) if values else None

    def judge(self, row, medians):
        """{"text", "bound", "met", "by"}: by is ours / bound; None if it cannot be said."""
        ours, bound = medians.get(OURS), self.bound(row, medians)
        if ours is None or bound is None:
            return None
        met = ours <= bound if self.op == "<=" else ours >= bound
        return {"text": self.text(), "bound": bound, "met": met,
                "by": ours / bound if bound else None}


class Row:
    def __init__(self, key, title, unit, better, *targets, digits=None):
        self.key, self.title, self.unit, self.better = key, title, unit, better
        self.targets, self.digits = targets, digits

    def best(self, values):
        return (max if self.better == "high" else min)(values)

    def number(self, value):
        """As a person reads it: three figures that count, thousands marked."""
        if value is None:
            return "-"
        if self.digits is not None:
            return "{:,.{}f}".format(value, self.digits)
        size = abs(value)
        return "{:,.{}f}".format(value, 0 if size >= 100 else 1 if size >= 10 else 2)


def at_most(factor, of=None):
    return Target("<=", factor, of)


def at_least(factor, of=None):
    return Target(">=", factor, of)


def bulk_rows():
    for streams in (1, 4):
        for way in ("up", "down"):
            key = "bulk%d.%s." % (streams, way)
            what = "bulk, %d stream%s %s: " % (streams, "s" if streams > 1 else "", way)
            yield Row(key + "gbit", what + "rate", "Gbit/s", "high", at_least(1.1, "best"))
            yield Row(key + "cpu_s", what + "CPU, both sides", "s/GB", "low",
                      at_most(0.85, "best"))
            yield Row(key + "client_s", what + "CPU, client side", "s/GB", "low")
            yield Row(key + "server_s", what + "CPU, gateway side", "s/GB", "low")


def storm_rows(key, what):
    yield Row(key + "p99", what + ": requests at a steady rate, 99 %", "us", "low")
    yield Row(key + "ratio", what + ": that / calm", "x", "low", at_most(3))
    yield Row(key + "rate", what + ": requests answered", "1/s", None)
    yield Row(key + "offered", what + ": handshakes offered, times what they do", "x", None)
    yield Row(key + "done_rate", what + ": real clients' handshakes done", "1/s", None)
    yield Row(key + "answered_rate", what + ": other clients answered", "1/s", None)
    yield Row(key + "other_p99", what + ": another tenant's handshakes, 99 %", "us", "low")
    yield Row(key + "other_done", what + ": of these done", "%", "high", at_least(95))


ROWS = [
    Row("channels.rate", "new channels", "1/s", "high", at_least(10, PER_STREAM),
        at_least(0.75, FLOOR)),
    Row("channels.client_us", "CPU a channel, client side", "us", "low", at_most(1.3, FLOOR)),
    Row("channels.server_us", "CPU a channel, gateway side", "us", "low", at_most(1.3, FLOOR)),
    Row("requests.rate", "requests on 32 open channels", "1/s", "high", at_least(1.0, "haproxy")),
    Row("requests.p50", "their latency, median", "us", "low"),
    Row("requests.p99", "their latency, 99 %", "us", "low", at_most(1.0, "haproxy")),
    Row("requests.client_us", "CPU a request, client side", "us", "low",
        at_most(0.95, "haproxy")),
    Row("requests.server_us", "CPU a request, gateway side", "us", "low",
        at_most(0.95, "haproxy")),
    *bulk_rows(),
    Row("delay.up_gbit", "one channel across 100 ms, up", "Gbit/s", "high", at_least(1.0)),
    Row("delay.down_gbit", "one channel across 100 ms, down", "Gbit/s", "high", at_least(1.0)),
    Row("memory.client_kib", "memory an idle channel, client side", "KiB", "low", at_most(6)),
    Row("memory.server_kib", "memory an idle channel, gateway side", "KiB", "low", at_most(4)),
    Row("memory.channels", "over so many channels", "", None, digits=0),
    Row("memory.tunnel_kib", "memory an idle tunnel, gateway", "KiB", "low", at_most(24)),
    Row("memory.tunnels", "over so many tunnels", "", None, digits=0),
    Row("handshakes.full_us", "full handshake + request, gateway CPU", "us", "low",
        at_most(0.30, "nginx")),
    Row("handshakes.fresh_us", "full handshake, chain never seen before", "us", "low",
        at_most(0.65, "nginx")),
    Row("handshakes.resumed_us", "resumed handshake + request, gateway CPU", "us", "low",
        at_most(0.30, "nginx")),
    Row("handshakes.bare_full_us", "the least a gateway on GnuTLS can take (bare.c): full", "us",
        None),
    Row("handshakes.bare_resumed_us", "the same: resumed", "us", None),
    Row("handshakes.full_rate", "full handshakes (the client limits it)", "1/s", None),
    Row("storm.calm_p99", "requests at a steady rate: 99 %, calm", "us", "low"),
    Row("storm.capacity", "handshakes these cores do, client included", "1/s", None),
    Row("storm.other_calm_p99", "another tenant's handshakes: 99 %, calm", "us", None),
    *storm_rows("storm.", "storm"),
    *storm_rows("limited.", "limited storm"),
    Row("tenants.count", "tenants", "", None, digits=0),
    Row("tenants.most_start_s", "start", "s", "low", at_most(3)),
    Row("tenants.most_rss_mb", "resident", "MB", "low", at_most(150)),
    Row("tenants.change_ms", "one changed file live after", "ms", "low", at_most(100)),
    Row("tenants.cold_extra_ms", "first handshake of a cold tenant: more by", "ms", "low",
        at_most(2)),
    Row("tenants.cold_p99_ms", "the same: 99 %, whole", "ms", "low"),
    Row("tenants.handshake_10_us", "handshake with 10 tenants, gateway CPU", "us", "low"),
    Row("tenants.handshake_1000_us", "with 1,000", "us", "low"),
    Row("tenants.handshake_most_us", "with all", "us", "low"),
    Row("tenants.flat", "with all / with 10", "x", "low", at_most(1.1)),
    Row("tenants.some", "tenants, fewer", "", None, digits=0),
    Row("tenants.some_start_s", "start with so many", "s", "low"),
    Row("tenants.some_rss_mb", "resident with so many", "MB", "low"),
    Row("cores.handshakes", "two cores / one: handshakes a CPU second of the busier worker", "x",
        "high", at_least(1.8)),
    Row("cores.handshakes_even", "the same, were both equally busy", "x", None),
    Row("cores.bulk", "two cores / one: bulk", "x", "high", at_least(1.8)),
    Row("cores.bulk_even", "the same, were both equally busy", "x", None),
    Row("cores.bulk_busier", "a CPU second of the busier worker, at full rate", "x", None),
    Row("cores.bulk_calm", "the same at 4 Gbit/s", "x", None),
]
BY_KEY = {row.key: row for row in ROWS}


def summary(samples):
    """{"median", "min", "max", "samples"}"""
    return {"median": statistics.median(samples), "min": min(samples), "max": max(samples),
            "samples": samples}


class Results:
    """Samples by row and peer."""

    def __init__(self):
        self.samples = {}

    def add(self, peer, found):
        if "tenants.handshake_10_us" in found and "tenants.handshake_most_us" in found:
            found = dict(found, **{"tenants.flat": found["tenants.handshake_most_us"]
                                   / found["tenants.handshake_10_us"]})
        for key, value in found.items():
            if key not in BY_KEY:
                raise KeyError("no row '%s'" % key)
            if value is not None:
                self.samples.setdefault(key, {}).setdefault(peer, []).append(value)

    def rows(self):
        """[{"row", "peers": {peer: summary}, "best", "ratio", "targets"}], measured ones only.
        ratio: ours / the best peer's, the floor left aside."""
        out = []
        for row in ROWS:
            peers = {peer: summary(values)
                     for peer, values in self.samples.get(row.key, {}).items()}
            if not peers:
                continue
            medians = {peer: found["median"] for peer, found in peers.items()}
            rivals = {peer: value for peer, value in medians.items()
                      if peer not in (OURS, FLOOR)}
            best = ratio = None
            if row.better and rivals:
                value = row.best(list(rivals.values()))
                best = next(peer for peer in rivals if rivals[peer] == value)
                if OURS in medians and value:
                    ratio = medians[OURS] / value
            judged = [target.judge(row, medians) for target in row.targets]
            out.append({"row": row, "peers": peers, "best": best, "ratio": ratio,
                        "targets": [one for one in judged if one]})
        return out
