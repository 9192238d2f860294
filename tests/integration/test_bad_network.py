#!/usr/bin/env python3
"""A network that lies: two gateways that are killed, paused, black-holed, reset, slowed and delayed
while checksummed transfers run. What could survive survives; the rest is told the truth."""

import hashlib
import os
import signal
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import fleet
import lab
import netns

MIB = 1 << 20


class Server:
    """In a namespace: sends what a client asks for by its length, a seeded stream, and the client
    tells how it went."""

    def __init__(self, space, address):
        self.listener = space.socket(socket.SOCK_STREAM, address)
        self.listener.listen(100)
        self.address = self.listener.getsockname()[:2]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                sock = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    @staticmethod
    def _serve(sock):
        with sock:
            try:
                wanted = int(sock.makefile("rb").readline())
                digest = hashlib.sha256()
                while wanted:
                    piece = os.urandom(min(wanted, 65536))
                    digest.update(piece)
                    sock.sendall(piece)
                    wanted -= len(piece)
                sock.sendall(digest.digest())
            except (OSError, ValueError):
                pass

    def close(self):
        self.listener.close()


class Transfer(threading.Thread):
    """One download; .how is "whole", "cut" (an error: the application knows), or what is wrong: bytes
    that are not those that were sent, or an end that looks like a good one."""

    def __init__(self, space, door, target, length):
        super().__init__(daemon=True)
        self.length, self.how, self.got = length, None, 0
        self.moved = threading.Event()  # some of it is here
        self.sock = space.socket(socket.SOCK_STREAM, ("127.0.0.1", 0))
        self.sock.settimeout(120 * lab.SLOW)
        self.door, self.target = door, target
        self.start()

    def run(self):
        with self.sock:
            try:
                self.how = self._transfer()
            except (ConnectionResetError, BrokenPipeError):
                self.how = "cut"
            except OSError as error:
                self.how = repr(error)
        self.moved.set()

    def _transfer(self):
        self.sock.connect(self.door)
        self.sock.sendall(fleet.connect_head(self.target))
        stream = self.sock.makefile("rb", buffering=0)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            more = stream.read(1)
            if not more:
                return "no answer"
            head += more
        if not head.startswith(b"HTTP/1.1 200"):
            return "refused: " + head.decode(errors="replace")
        self.sock.sendall(b"%d\n" % self.length)
        digest = hashlib.sha256()
        while self.got < self.length:
            piece = stream.read(min(65536, self.length - self.got))
            if not piece:
                return "ended well after %d of %d bytes" % (self.got, self.length)
            self.got += len(piece)
            digest.update(piece)
            if self.got > self.length // 8:
                self.moved.set()
        told = b""
        while len(told) < 32:
            more = stream.read(32 - len(told))
            if not more:
                return "ended well before the checksum"
            told += more
        return "whole" if told == digest.digest() else "other bytes than were sent"


class BadNetwork(lab.LabCase):
    """The agent in one namespace; each gateway in one of its own with a cable to it; the server beside
    the gateways, reached by both."""

    def setUp(self):
        why = netns.why_not()
        if why:
            self.skipTest(why)
        super().setUp()
        self.here, self.server_space = self.space("agent"), self.space("server")
        self.gateway_spaces = []
        for i in (1, 2):
            space = self.space("gateway%d" % i)
            netns.link(self.here, "eth%d" % i, "10.77.%d.2/24" % i, space, "eth0",
                       "10.77.%d.1/24" % i)
            netns.link(space, "eth1", "10.78.%d.2/24" % i, self.server_space, "eth%d" % i,
                       "10.78.%d.1/24" % i)
            space.ip("route", "add", "10.79.0.1/32", "via", "10.78.%d.1" % i)
            self.gateway_spaces.append(space)
        self.server_space.ip("addr", "add", "10.79.0.1/32", "dev", "lo")
        self.server = Server(self.server_space, ("10.79.0.1", 0))
        self.addCleanup(self.server.close)
        self.target = lab.format_address(self.server.address)
        self.lab.agent_prefix = self.here.prefix
        for tenant in (self.lab.a, self.lab.b):
            self.lab.tenants[tenant]["egress"]["allow"].append("10.79.0.0/16:*")

    def begin(self, timeout_s=60):
        """Who is asked for a sign of life has so long to give it."""
        keepalive = {"idle_s": 5, "timeout_s": timeout_s}
        self.lab.gateway_config["keepalive"] = keepalive
        self.gateways = fleet.Fleet(self.lab, 2, [s.prefix for s in self.gateway_spaces],
                                    ["10.77.1.1", "10.77.2.1"])
        self.agent = self.gateways.start_agent(tunnels=2, keepalive=keepalive, failback_s=600)
        self.gateways.settle()
        self.slow(self.gateway_spaces[0], "40mbit")

    def space(self, name):
        space = netns.Space(name)
        self.addCleanup(space.close)
        return space

    def transfer(self, length):
        return Transfer(self.here, self.lab.doors[0], self.target, length)

    def under_way(self, count=3, length=24 * MIB):
        transfers = [self.transfer(length) for _ in range(count)]
        for one in transfers:
            self.assertTrue(one.moved.wait(60 * lab.SLOW))
        return transfers

    def ends(self, transfers, timeout=120):
        for one in transfers:
            one.join(timeout * lab.SLOW)
        return [one.how for one in transfers]

    def check_new_ones(self):
        """Whoever comes now is served whole, and soon."""
        begun = time.monotonic()
        self.assertEqual(self.ends([self.transfer(2 * MIB) for _ in range(3)]), ["whole"] * 3)
        return time.monotonic() - begun

    def slow(self, space, rate):
        space.must("tc", "qdisc", "replace", "dev", "eth0", "root", "tbf", "rate", rate, "burst",
                   "32kbit", "latency", "400ms")

    def test_killed_what_was_open_is_cut_and_never_looks_whole(self):
        self.begin()
        transfers = self.under_way()
        self.gateways.kill(0)
        self.assertLess(self.check_new_ones(), 10 * lab.SLOW)
        self.assertEqual(self.ends(transfers), ["cut"] * 3)

    def test_paused_for_a_moment_everything_survives(self):
        self.begin()
        transfers = self.under_way()
        gateway = self.gateways.programs[0]
        gateway.signal(signal.SIGSTOP)
        try:
            self.check_new_ones()
            self.agent.wait("tunnel_silent")
        finally:
            gateway.signal(signal.SIGCONT)
        self.assertEqual(self.ends(transfers), ["whole"] * 3)

    def test_paused_for_good_what_was_open_is_cut_by_the_keepalive(self):
        self.begin(timeout_s=5)
        transfers = self.under_way()
        gateway = self.gateways.programs[0]
        gateway.signal(signal.SIGSTOP)
        try:
            self.check_new_ones()
            self.assertEqual(self.ends(transfers), ["cut"] * 3)
        finally:
            gateway.signal(signal.SIGCONT)
        closed = self.agent.wait("tunnel_closed", lambda e: "error" in e)
        self.assertIn("no answer to PING", closed.error)

    def test_black_holed_for_a_moment_everything_survives(self):
        self.begin()
        transfers = self.under_way()
        self.black_hole(0)
        self.check_new_ones()
        self.gateway_spaces[0].nft("delete table ip hole\n")
        self.assertEqual(self.ends(transfers), ["whole"] * 3)

    def test_black_holed_for_good_what_was_open_is_cut(self):
        self.begin(timeout_s=5)
        transfers = self.under_way()
        self.black_hole(0)
        self.check_new_ones()
        self.assertEqual(self.ends(transfers), ["cut"] * 3)
        self.gateway_spaces[0].nft("delete table ip hole\n")

    def black_hole(self, i):
        self.gateway_spaces[i].nft(
            "table ip hole {\n chain in {\n type filter hook input priority 0\n iif eth0 drop\n }\n"
            " chain out {\n type filter hook output priority 0\n oif eth0 drop\n }\n}\n")

    def test_reset_what_was_open_is_cut_and_new_ones_go_on(self):
        self.begin()
        transfers = self.under_way()
        self.gateway_spaces[0].nft(
            "table ip hole {\n chain in {\n type filter hook input priority 0\n"
            " iif eth0 meta l4proto tcp reject with tcp reset\n }\n}\n")
        self.check_new_ones()
        self.assertEqual(self.ends(transfers), ["cut"] * 3)
        self.gateway_spaces[0].nft("delete table ip hole\n")

    def test_slow_everything_arrives(self):
        self.begin()
        for space in self.gateway_spaces:
            self.slow(space, "8mbit")
        transfers = [self.transfer(MIB) for _ in range(4)]
        self.assertEqual(self.ends(transfers), ["whole"] * 4)

    def test_a_rebuilt_route_in_the_middle_cuts_nothing(self):
        self.begin()
        transfers = self.under_way()
        mark = self.agent.mark()
        self.here.ip("addr", "add", "10.80.0.1/24", "dev", "eth2")
        self.agent.wait("network_changed", since=mark)
        self.lab.wait_up(since=mark, count=2)
        self.check_new_ones()
        self.assertEqual(self.ends(transfers), ["whole"] * 3)


class Delayed(lab.LabCase):
    """Without namespaces: a relay that takes its time, both ways."""

    def test_far_away_everything_arrives_by_the_first_gateway(self):
        import origin  # its loop is wanted here alone
        one = origin.Origin()
        self.addCleanup(one.close)
        echo = lab.format_address(one.start(origin.echo))
        gateways = fleet.Fleet(self.lab, 1)
        relay = fleet.Relay(gateways.addresses[0], 0.15)
        self.addCleanup(relay.close)
        self.lab.agent_config["limits"] = {"handshake_ms": 30000, "wait_ms": 30000}
        agent = gateways.start_agent([lab.format_address(relay.address)], tunnels=1)
        with fleet.Load(self.lab.doors[0], echo, patience=60) as load:
            load.wait_more(9, timeout=60)
        self.assertEqual(load.unopened + load.broken, [])
        self.assertEqual(agent.all("tunnel_failed"), [])


if __name__ == "__main__":
    lab.main()
