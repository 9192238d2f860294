#!/usr/bin/env python3
"""Egress: which destinations a tenant's channels reach, and what the others are told."""

import os
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import dns
import lab
import origin
import tls


def has_ipv6():
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


class Case(lab.LabCase):
    names = {}

    def setUp(self):
        super().setUp()
        self.dns = dns.Server(self.names)
        self.addCleanup(self.dns.close)
        self.lab.gateway_config["resolver"] = {"servers": [self.dns.address], "timeout_ms": 1500}
        self.name = self.lab.name_of(self.lab.a)
        self.cert = self.lab.client(self.lab.a)
        self.origin = origin.Origin()
        self.addCleanup(self.origin.close)

    def allow(self, *rules):
        self.lab.tenants[self.lab.a]["egress"] = {"mode": "direct", "allow": list(rules)}

    def ask(self, target):
        """CONNECT by HTTP/1.1: status, error type of Proxy-Status ("" if none), channel event."""
        mark = self.lab.gateway.mark()
        with tls.Client(self.lab.address, self.name, tls.context(self.cert)) as client:
            status, head = client.connect(target)
        error = ""
        for line in head.split("\r\n"):
            if line.lower().startswith("proxy-status:") and "error=" in line:
                error = line.split("error=")[1].split(";")[0].strip()
        return status, error, self.lab.gateway.wait("channel", since=mark)


class Rules(Case):
    names = {"private.example": ["10.1.2.3"]}

    def test_nothing_is_allowed_that_no_rule_names(self):
        port = self.origin.start(origin.echo)[1]
        other = self.origin.start(origin.echo)[1]
        self.allow("127.0.0.1:%d" % port)
        self.lab.start_gateway()
        self.assertEqual(self.ask("127.0.0.1:%d" % port)[0], 200)
        for target in ("127.0.0.1:%d" % other, "127.0.0.2:%d" % port, "192.0.2.1:443",
                       "[::1]:%d" % port, "private.example:443"):
            with self.subTest(target):
                status, error, event = self.ask(target)
                self.assertEqual(status, 403)
                self.assertIn(error, ("http_request_denied", "destination_ip_prohibited"))
                self.assertEqual(event.how, "refused")

    def test_no_rules_at_all_allow_nothing(self):
        port = self.origin.start(origin.echo)[1]
        self.allow()
        self.lab.start_gateway()
        self.assertEqual(self.ask("127.0.0.1:%d" % port)[0], 403)

    def test_a_network_rule_takes_every_port_and_address_in_it(self):
        port = self.origin.start(origin.echo, host="127.1.2.3")[1]
        self.allow("127.1.0.0/16:*")
        self.lab.start_gateway()
        self.assertEqual(self.ask("127.1.2.3:%d" % port)[0], 200)
        self.assertEqual(self.ask("127.2.0.1:%d" % port)[0], 403)

    def test_one_tenants_rules_are_not_anothers(self):
        port = self.origin.start(origin.echo)[1]
        self.allow("127.0.0.1:*")
        self.lab.tenants[self.lab.b]["egress"] = {"mode": "direct", "allow": []}
        self.lab.start_gateway()
        self.assertEqual(self.ask("127.0.0.1:%d" % port)[0], 200)
        self.name = self.lab.name_of(self.lab.b)
        self.cert = self.lab.client(self.lab.b)
        self.assertEqual(self.ask("127.0.0.1:%d" % port)[0], 403)

    def test_ipv6_rules_in_brackets(self):
        if not has_ipv6():
            self.skipTest("this machine has no ::1")
        port = self.origin.start(origin.echo, host="::1")[1]
        for rule in ("[::1]:*", "[::1]:%d" % port, "[::/64]:*"):
            with self.subTest(rule):
                self.allow(rule)
                if self.lab.gateway:
                    self.lab.reload()
                else:
                    self.lab.start_gateway()
                status, _, event = self.ask("[::1]:%d" % port)
                self.assertEqual((status, event.dialled), (200, "[::1]:%d" % port))


class Names(Case):
    names = {
        "loop.example": ["127.0.0.1"],
        "six.example": ["::1"],
        "both.example": ["::1", "127.0.0.1"],
        "half.example": ["127.0.0.2", "127.0.0.1"],
        "meta.example": ["169.254.169.254"],
        "private.example": ["10.1.2.3"],
        "mapped.example": ["::ffff:127.0.0.1"],
        "nat64.example": ["64:ff9b::7f00:1"],
        "linklocal.example": ["fe80::1"],
        "multicast.example": ["224.0.0.1"],
        "zero.example": ["0.0.0.0"],
        "sub.deep.example": ["127.0.0.1"],
        "empty.example": [],
    }

    def test_a_name_is_resolved_once_and_the_judged_address_is_dialled(self):
        port = self.origin.start(origin.echo)[1]
        self.allow("loop.example:*", "127.0.0.1:*")
        self.lab.start_gateway()
        status, _, event = self.ask("LOOP.example:%d" % port)
        self.assertEqual((status, event.dialled), (200, "127.0.0.1:%d" % port))
        self.assertEqual(event.destination, "loop.example:%d" % port)
        asked = [name for name, _ in self.dns.asked]
        self.assertLessEqual(len(asked), 2, self.dns.asked)  # A and AAAA
        self.assertEqual(len(set(self.dns.asked)), len(self.dns.asked))

    def test_a_pattern_stands_for_names_below_it_not_for_itself(self):
        self.allow("*.deep.example:*")
        self.lab.start_gateway()
        # Refused as well, but for its address: the name itself was allowed.
        self.assertEqual(self.ask("sub.deep.example:443")[:2], (403, "destination_ip_prohibited"))
        self.assertEqual({name for name, _ in self.dns.asked}, {"sub.deep.example"})
        for name in ("deep.example", "xdeep.example", "loop.example"):
            self.assertEqual(self.ask(name + ":443")[:2], (403, "http_request_denied"))
        self.assertEqual({name for name, _ in self.dns.asked}, {"sub.deep.example"},
                         "a name that no rule names was looked up")

    def test_names_of_internal_addresses_need_a_rule_for_the_address(self):
        listening = self.origin.start(origin.echo)
        self.allow("*.example:*", "*:*")
        self.lab.start_gateway()
        for name in ("loop.example", "six.example", "meta.example", "private.example",
                     "mapped.example", "nat64.example", "linklocal.example",
                     "multicast.example", "zero.example"):
            with self.subTest(name):
                status, error, event = self.ask("%s:%d" % (name, listening[1]))
                self.assertEqual((status, error), (403, "destination_ip_prohibited"))
                self.assertEqual(event.how, "refused")
                self.assertFalse(event.get("dialled"))

    def test_of_several_addresses_only_the_allowed_are_dialled(self):
        seen = []

        async def marked(_reader, writer):
            seen.append(writer.get_extra_info("sockname")[0])
        port = self.origin.start(marked, host="127.0.0.2")[1]
        self.origin.start(marked, host="127.0.0.1", port=port)
        self.allow("half.example:*", "127.0.0.1:*")
        self.lab.start_gateway()
        for _ in range(4):
            status, _, event = self.ask("half.example:%d" % port)
            self.assertEqual((status, event.dialled), (200, "127.0.0.1:%d" % port))
        lab.until(lambda: len(seen) == 4, what="four visits")
        self.assertEqual(set(seen), {"127.0.0.1"})

    def test_the_next_address_is_tried_when_one_fails(self):
        if not has_ipv6():
            self.skipTest("this machine has no ::1")
        self.allow("both.example:*", "127.0.0.1:*", "[::1]:*")
        self.lab.start_gateway()
        only4 = self.origin.start(origin.echo)[1]
        status, _, event = self.ask("both.example:%d" % only4)
        self.assertEqual((status, event.dialled), (200, "127.0.0.1:%d" % only4))
        only6 = self.origin.start(origin.echo, host="::1")[1]
        status, _, event = self.ask("both.example:%d" % only6)
        self.assertEqual((status, event.dialled), (200, "[::1]:%d" % only6))


class Network(Case):
    names = {"loop.example": ["127.0.0.1"], "empty.example": []}

    def test_each_failure_of_the_network_has_its_status_and_proxy_status(self):
        address = self.origin.start(origin.echo)
        self.origin.stop_listening(address)
        self.dns.silent.add("silent.example")
        self.allow("127.0.0.1:*", "*.example:*")
        self.lab.gateway_config["limits"] = {"dial_ms": 700}
        self.lab.start_gateway()
        stuffed = self.stuffed_listener()
        for target, status, errors in (
                ("127.0.0.1:%d" % address[1], 502, ("connection_refused",)),
                ("nobody.example:443", 502, ("dns_error",)),
                ("empty.example:443", 502, ("dns_error",)),
                ("silent.example:443", 504, ("dns_timeout",)),
                (stuffed, 504, ("connection_timeout",))):
            with self.subTest(target):
                got, error, event = self.ask(target)
                self.assertEqual(got, status)
                self.assertIn(error, errors)
                self.assertEqual((event.how, event.destination), ("refused", target))

    def stuffed_listener(self):
        """An address that neither answers nor refuses: a listener whose queue is full."""
        server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.addCleanup(server.close)
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(8):
            filler = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            self.addCleanup(filler.close)
            filler.setblocking(False)
            try:
                filler.connect(server.getsockname())
            except BlockingIOError:
                pass
        return "%s:%d" % server.getsockname()


class ThroughTheAgent(Case):
    names = {"loop.example": ["127.0.0.1"]}

    def test_the_application_hears_the_gateways_refusal_with_its_proxy_status(self):
        address = self.origin.start(origin.echo)
        self.origin.stop_listening(address)
        self.allow("127.0.0.1:*")
        self.lab.start()
        for target, status, error in (("10.9.8.7:443", 403, ""),
                                      ("127.0.0.1:%d" % address[1], 502, "connection_refused")):
            with self.subTest(target):
                done = lab.run("curl", "-sv", "--proxytunnel", "--proxy",
                               "http://%s:%d" % self.lab.doors[0], "http://%s/" % target)
                self.assertEqual(done.returncode, 56, done.stderr)
                self.assertRegex(done.stderr, r"< HTTP/1.1 %d" % status)
                self.assertRegex(done.stderr, r"(?i)< proxy-status: .*error=" + error)

    def test_a_name_is_resolved_at_the_gateway_not_at_the_agent(self):
        port = self.origin.start(origin.echo)[1]
        self.allow("loop.example:*", "127.0.0.1:*")
        self.lab.start()
        done = lab.run("curl", "-s", "--http0.9", "--proxytunnel", "--max-time", "3", "--proxy",
                       "http://%s:%d" % self.lab.doors[0], "http://loop.example:%d/x" % port)
        self.assertIn("GET /x", done.stdout)
        self.assertTrue(self.dns.asked)


if __name__ == "__main__":
    lab.main()
