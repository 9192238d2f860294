#!/usr/bin/env python3
"""More than one gateway: failover under load, fail-back, the fastest, a network that changes."""

import os
import signal
import socket
import sys
import time
from datetime import datetime

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import fleet
import lab
import netns
import origin


def seconds(event):
    return datetime.fromisoformat(event.ts.replace("Z", "+00:00")).timestamp()


class Case(lab.LabCase):
    def setUp(self):
        super().setUp()
        self.origin = origin.Origin()
        self.addCleanup(self.origin.close)
        self.echo = lab.format_address(self.origin.start(origin.echo))

    def channel(self):
        """An open channel to the echo."""
        sock = lab.connect(self.lab.doors[0], 30)
        self.addCleanup(sock.close)
        sock.sendall(fleet.connect_head(self.echo))
        head = b""
        while b"\r\n\r\n" not in head:
            more = sock.recv(4096)
            self.assertTrue(more, head)
            head += more
        self.assertTrue(head.startswith(b"HTTP/1.1 200"), head)
        return sock

    def check_echo(self, sock):
        sock.sendall(b"still there?")
        self.assertEqual(sock.recv(100), b"still there?")

    def check_unopened(self, load):
        self.assertEqual(load.unopened, [], "channels that were not open yet are no application's "
                                            "business")


class Failover(Case):
    def gateways(self, **config):
        gateways = fleet.Fleet(self.lab, 2)
        gateways.start_agent(**config)
        gateways.settle()
        return gateways

    def test_a_gateway_that_is_killed_costs_no_channel_that_was_not_open(self):
        gateways = self.gateways(tunnels=2)
        with fleet.Load(self.lab.doors[0], self.echo) as load:
            killed = time.monotonic()
            gateways.kill(0)
            load.wait_more(30)
        self.check_unopened(load)
        self.assertLess(load.longest_wait(killed), 1 * lab.SLOW)
        self.lab.agent.wait("tunnel", lambda e: e.gateway == gateways.name(1))

    def test_a_gateway_that_hangs_costs_no_channel_that_was_not_open(self):
        # Longer than the pause, however busy the machine is.
        gateways = self.gateways(tunnels=2, keepalive={"timeout_s": 300})
        old, mark = self.channel(), self.lab.agent.mark()
        with fleet.Load(self.lab.doors[0], self.echo) as load:
            stopped = time.monotonic()
            gateways.programs[0].signal(signal.SIGSTOP)
            self.addCleanup(gateways.programs[0].signal, signal.SIGCONT)
            # Those of the first load may all be open by chance, and wait with the gateway.
            with fleet.Load(self.lab.doors[0], self.echo) as later:
                later.wait_more(30)
            load.wait_answered(stopped)  # by the other one: the first still hangs
            silent = self.lab.agent.wait("tunnel_silent", since=mark)
            moved = self.lab.agent.wait("tunnel_moved", since=mark)
            gateways.programs[0].signal(signal.SIGCONT)
        for each in (load, later):
            self.check_unopened(each)
            self.assertLess(each.longest_wait(stopped), 1.5 * lab.SLOW)
        self.assertEqual(load.broken + later.broken, [])
        self.assertEqual(silent.gateway, gateways.name(0))
        self.assertEqual((moved["from"], moved.gateway, moved.cause),
                         (gateways.name(0), gateways.name(1), "silent"))
        # What was open waited with the gateway, and goes on with it.
        self.check_echo(old)

    def test_one_that_drains_costs_nothing_at_all(self):
        gateways = self.gateways(tunnels=2)
        with fleet.Load(self.lab.doors[0], self.echo) as load:
            self.lab.stop(gateways.programs[0])
            load.wait_more(30)
        self.check_unopened(load)
        self.assertEqual(load.broken, [])

    def test_with_one_gateway_alone_a_hung_tunnel_is_replaced_as_soon_as_it_answers(self):
        gateways = fleet.Fleet(self.lab, 1)
        relay = fleet.Relay(gateways.addresses[0])
        self.addCleanup(relay.close)
        agent = gateways.start_agent([lab.format_address(relay.address)], tunnels=1)
        old = relay.socks[0]
        relay.delay = 3600  # what is on its way from now on never comes
        mark = agent.mark()
        sock = lab.connect(self.lab.doors[0], 30)
        self.addCleanup(sock.close)
        sock.sendall(fleet.connect_head(self.echo))
        agent.wait("tunnel_silent", since=mark)
        relay.delay = 0  # new connections get through, the old one is stuck
        lab.until(lambda: agent.all("tunnel", since=mark) or agent.all("tunnel_failed", since=mark),
                  30, "another attempt")
        self.assertTrue(sock.recv(100).startswith(b"HTTP/1.1 200"))
        self.check_echo(sock)
        self.assertGreaterEqual(old.fileno(), 0)


class FailBack(Case):
    def test_after_the_interval_and_only_then_and_open_channels_finish_where_they_are(self):
        gateways = fleet.Fleet(self.lab, 2)
        agent = gateways.start_agent(tunnels=1, failback_s=3, probe_s=1)
        gateways.settle()
        gateways.kill(0)
        agent.wait("tunnel", lambda e: e.gateway == gateways.name(1), timeout=20)
        old = self.channel()
        mark = agent.mark()
        gateways.start(0)
        first = agent.wait("tunnel", lambda e: e.gateway == gateways.name(0), since=mark,
                           timeout=20)
        with fleet.Load(self.lab.doors[0], self.echo, threads=1) as load:
            moved = agent.wait("tunnel_moved", since=mark, timeout=30)
            load.wait_more(5)
        self.assertEqual((moved["from"], moved.gateway, moved.cause),
                         (gateways.name(1), gateways.name(0), "preferred"))
        self.assertGreaterEqual(seconds(moved) - seconds(first), 2.9)
        self.assertEqual(load.unopened + load.broken, [])
        self.check_echo(old)
        draining = agent.all("tunnel_closed", lambda e: e.gateway == gateways.name(1), since=mark)
        self.assertEqual(draining, [], "the old tunnel has a channel open")
        old.close()
        closed = agent.wait("tunnel_closed", lambda e: e.gateway == gateways.name(1), since=mark)
        self.assertNotIn("error", closed)
        self.assertEqual(closed.cut, 0)

    def test_one_that_fails_again_in_between_starts_anew(self):
        gateways = fleet.Fleet(self.lab, 2)
        agent = gateways.start_agent(tunnels=1, failback_s=4, probe_s=1)
        gateways.settle()
        gateways.kill(0)
        agent.wait("tunnel", lambda e: e.gateway == gateways.name(1), timeout=20)
        mark = agent.mark()
        gateways.start(0)
        agent.wait("tunnel", lambda e: e.gateway == gateways.name(0), since=mark, timeout=20)
        mark = agent.mark()
        gateways.kill(0)
        agent.wait("tunnel_failed", lambda e: e.gateway == gateways.name(0), since=mark, timeout=20)
        self.assertEqual(agent.all("tunnel_moved", since=mark), [])
        mark = agent.mark()
        gateways.start(0)
        again = agent.wait("tunnel", lambda e: e.gateway == gateways.name(0), since=mark,
                           timeout=20)
        moved = agent.wait("tunnel_moved", since=mark, timeout=30)
        self.assertGreaterEqual(seconds(moved) - seconds(again), 3.9)


class Fastest(Case):
    def goes_by(self, gateways):
        """Which gateway a channel goes by now."""
        marks = [g.mark() for g in gateways.programs]
        sock = self.channel()
        self.check_echo(sock)
        sock.close()

        def carried():
            return [i for i, g in enumerate(gateways.programs) if g.all("channel", since=marks[i])]

        return lab.until(carried, 20, "the channel's line in a gateway's log")[0]

    def test_the_quickest_is_found_and_left_when_another_one_has_been_quicker_for_long(self):
        gateways = fleet.Fleet(self.lab, 2)
        far, near = (fleet.Relay(a) for a in gateways.addresses)
        for relay in (far, near):
            self.addCleanup(relay.close)
        # Far enough apart that a busy machine does not make them alike.
        far.delay, near.delay = 0.4 * lab.SLOW, 0.0
        self.lab.agent_config["limits"] = {"handshake_ms": 30000}
        agent = gateways.start_agent([lab.format_address(far.address),
                                      lab.format_address(near.address)],
                                     tunnels=1, selection="fastest", failback_s=3, probe_s=1)
        far_name = lab.format_address(far.address)
        lab.until(lambda: self.goes_by(gateways) == 1, 60, "a channel by the near gateway", 0.5)
        mark = agent.mark()
        near.delay, far.delay = 0.4 * lab.SLOW, 0.0
        swapped = time.time()
        moved = agent.wait("tunnel_moved", lambda e: e.gateway == far_name, since=mark, timeout=90)
        self.assertEqual(moved.cause, "faster")
        self.assertGreaterEqual(seconds(moved) - swapped, 2.9)
        self.assertEqual(self.goes_by(gateways), 0)


class Network(Case):
    """In namespaces: the agent in one, the gateways in another, cables between them."""

    def setUp(self):
        why = netns.why_not()
        if why:
            self.skipTest(why)
        super().setUp()
        self.here = netns.Space("agent")
        self.addCleanup(self.here.close)
        self.far = netns.Space("far")
        self.addCleanup(self.far.close)
        netns.link(self.here, "eth0", "10.77.1.2/24", self.far, "eth0", "10.77.1.1/24")
        netns.link(self.here, "eth1", "10.77.2.2/24", self.far, "eth1", "10.77.2.1/24")
        self.far.ip("addr", "add", "10.77.9.1/32", "dev", "lo")
        self.far.ip("addr", "add", "10.77.9.2/32", "dev", "lo")
        self.lab.agent_prefix = self.here.prefix
        for tenant in (self.lab.a, self.lab.b):
            self.lab.tenants[tenant]["egress"]["allow"].append("10.77.0.0/16:*")

    def fleet(self, count, **config):
        gateways = fleet.Fleet(self.lab, count, [self.far.prefix] * count,
                               ["10.77.9.%d" % (i + 1) for i in range(count)])
        gateways.start_agent(**config)
        return gateways

    def asks(self):
        """A request through the door of the agent, which is in its namespace: by curl there; the
        server is the gateway's namespace's own."""
        done = self.here.run("curl", "-s", "-o", "/dev/null", "-w", "%{http_connect}", "--proxytunnel",
                             "--proxy", "http://" + lab.format_address(self.lab.doors[0]),
                             "http://10.77.9.1:1/", timeout=60)
        return done.stdout

    def test_a_new_route_brings_new_tunnels_before_the_old_ones_go(self):
        self.here.ip("route", "add", "10.77.9.0/24", "via", "10.77.1.1")
        gateways = self.fleet(1, tunnels=2)
        agent = self.lab.agent
        self.lab.wait_up(count=2)
        mark = agent.mark()
        self.here.ip("route", "replace", "10.77.9.0/24", "via", "10.77.2.1")
        agent.wait("network_changed", since=mark)
        self.lab.wait_up(since=mark, count=2)
        closed = agent.wait_count("tunnel_closed", 2, since=mark)
        events = [e.event for e in agent.events[mark:] if e.event in ("tunnel", "tunnel_closed")]
        self.assertEqual(events.index("tunnel"), 0, "the new one was there first")
        self.assertEqual([e.get("error") for e in closed], [None, None])
        ready = gateways.programs[0].all("tunnel")
        self.assertTrue(any(e.peer.startswith("10.77.2.2:") for e in ready), ready)

    def test_when_the_old_way_is_dead_new_tunnels_are_there_at_once(self):
        self.here.ip("route", "add", "10.77.9.0/24", "via", "10.77.1.1")
        self.fleet(1, tunnels=1)
        agent = self.lab.agent
        mark = agent.mark()
        self.here.ip("link", "set", "eth0", "down")
        self.here.ip("route", "replace", "10.77.9.0/24", "via", "10.77.2.1")
        begun = time.monotonic()
        self.lab.wait_up(since=mark)
        self.assertLess(time.monotonic() - begun, 5 * lab.SLOW, "not a matter of keepalive")
        self.assertEqual(self.asks(), "502", "the gateway was asked, and nobody listens there")

    def test_an_address_that_answers_to_nobody_costs_a_quarter_of_a_second(self):
        """RFC 8305: a name that leads to a black hole first, and to a gateway behind it."""
        self.here.ip("route", "add", "10.77.9.0/24", "via", "10.77.1.1")
        self.here.ip("addr", "add", "2001:db8:77::2/64", "dev", "eth0", "nodad")
        self.far.ip("addr", "add", "2001:db8:77::1/64", "dev", "eth0", "nodad")
        self.far.nft("table ip6 t {\n chain c {\n  type filter hook input priority 0\n"
                     "  ip6 daddr 2001:db8:77::1 tcp dport 1-65535 counter drop\n }\n}\n")
        hosts = self.lab.write("hosts", "127.0.0.1 localhost\n2001:db8:77::1 gw.test\n10.77.9.1 gw.test\n")
        self.here.must("mount", "--bind", hosts, "/etc/hosts")
        gateways = fleet.Fleet(self.lab, 1, [self.far.prefix], ["10.77.9.1"])
        begun = time.monotonic()
        agent = gateways.start_agent(["gw.test:%d" % gateways.addresses[0][1]], tunnels=1)
        up = agent.wait("tunnel")
        self.assertEqual(up.address, gateways.name(0))
        self.assertLess(time.monotonic() - begun, 2 * lab.SLOW)
        rules = self.far.must("nft", "list", "ruleset")
        self.assertNotIn("counter packets 0 ", rules, "the black hole was never asked")

    def test_an_agent_that_was_stopped_for_a_while_looks_after_its_tunnels(self):
        self.here.ip("route", "add", "10.77.9.0/24", "via", "10.77.1.1")
        self.fleet(1, tunnels=1)
        agent = self.lab.agent
        mark = agent.mark()
        agent.signal(signal.SIGSTOP)
        begun = time.monotonic()
        lab.until(lambda: time.monotonic() - begun > 6, 10, "six seconds", every=0.5)
        agent.signal(signal.SIGCONT)
        self.assertGreaterEqual(agent.wait("woke", since=mark).slept_s, 3)
        self.lab.wait_up(since=mark)
        closed = agent.wait("tunnel_closed", since=mark)
        self.assertNotIn("error", closed)


if __name__ == "__main__":
    lab.main()
