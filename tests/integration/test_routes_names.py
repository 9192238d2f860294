#!/usr/bin/env python3
"""What a name leads to on the direct way: the hosts file, name servers, and names that lie. In
namespaces of its own, for a hosts file and a name server that nobody else has to live with."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import dns
import lab
import origin
import room

HOSTS = "127.0.0.1 localhost\n"
ROOM = room.enter(HOSTS, "127.0.0.1")  # before any thread

# What a page in the browser must not reach by a name of its own, and this machine's loopback has.
NEAR = {"loop.evil.example": "127.0.0.1", "six.evil.example": "::1",
        "mapped.evil.example": "::ffff:127.0.0.1", "zero.evil.example": "0.0.0.0",
        "link.evil.example": "169.254.1.1", "cloud.evil.example": "169.254.169.254",
        "link6.evil.example": "fe80::1", "any.evil.example": "::"}
FAR = "127.0.0.1"  # where the gateway finds far.example


class Names(lab.LabCase):
    def setUp(self):
        if isinstance(ROOM, str):
            self.skipTest(ROOM)
        super().setUp()
        ROOM.write_hosts(HOSTS)
        names = {name: [address] for name, address in NEAR.items()}
        names.update({"far.example": [FAR], "silent.example": [], "none.example": []})
        self.dns = dns.Server(names, port=53)
        self.addCleanup(self.dns.close)
        self.dns.silent.add("silent.example")
        self.nginx = origin.Nginx(self.lab.pki)
        self.addCleanup(self.nginx.close)
        self.lab.agent_config["routes"] = [{"host": "*.example", "port": 1, "via": "direct"},
                                           {"host": "*.evil.example", "via": "direct"}]
        self.lab.tenants[self.lab.a]["egress"]["allow"].append("far.example:*")
        self.lab.start()

    def get(self, name, port=None):
        """The answer with its head, and the agent's line."""
        mark = self.lab.agent.mark()
        done = lab.run("curl", "--silent", "--include", "--max-time", str(int(20 * lab.SLOW)),
                       "--proxy", "http://%s:%d" % self.lab.doors[0],
                       "http://%s:%d/hello" % (name, port or self.nginx.http[1]))
        return done.stdout, self.lab.agent.wait("channel", since=mark)

    def asked(self, name):
        return [kind for asked, kind in self.dns.asked if asked == name]

    def test_a_name_of_the_hosts_file_goes_directly_as_soon_as_it_is_there(self):
        answer, line = self.get("far.example")
        self.assertIn("hello from the origin", answer)
        self.assertEqual((line.via, line.rule), ("tunnel", "built in: everything else"))
        self.lab.gateway.wait("channel")
        mark = self.lab.gateway.mark()
        ROOM.write_hosts(HOSTS + "127.0.0.1 Far.Example # here now\n")
        asked = len(self.asked("far.example"))
        answer, line = self.get("far.example")
        self.assertIn("hello from the origin", answer)
        self.assertEqual((line.via, line.rule), ("direct", "built in: a name of the hosts file"))
        self.assertEqual(len(self.asked("far.example")), asked)
        self.assertEqual(self.lab.gateway.all("channel", since=mark), [])
        ROOM.write_hosts(HOSTS)
        self.assertEqual(self.get("far.example")[1].via, "tunnel")

    def test_the_hosts_file_may_name_a_place_that_is_nowhere(self):
        ROOM.write_hosts(HOSTS + "0.0.0.0 ads.example\n:: ads6.example\n")
        for name in ("ads.example", "ads6.example"):
            answer, line = self.get(name)
            self.assertIn("HTTP/1.1 403 ", answer)
            self.assertEqual((line.via, line.error), ("direct", "destination_ip_prohibited"))

    def test_localhost_is_this_machine_whatever_a_name_server_says(self):
        ROOM.write_hosts("")
        for name in ("localhost", "www.localhost"):
            answer, line = self.get(name)
            self.assertIn("hello from the origin", answer)
            self.assertEqual((line.via, line.rule), ("direct", "built in: localhost"))
            self.assertEqual(self.asked(name), [])

    def test_no_other_name_leads_to_this_machine_or_its_link(self):
        for name, address in NEAR.items():
            with self.subTest(name):
                answer, line = self.get(name)
                self.assertIn("HTTP/1.1 403 ", answer)
                self.assertIn("error=destination_ip_prohibited", answer)
                self.assertEqual((line.via, line.status), ("direct", 403))
                self.assertIn(name, line.detail)
                self.assertTrue(self.asked(name), address)
        # The application may name it itself, and the hosts file may.
        self.assertIn("hello", self.get("127.0.0.1")[0])
        ROOM.write_hosts(HOSTS + "127.0.0.1 loop.evil.example\n")
        self.assertIn("hello", self.get("loop.evil.example")[0])

    def test_a_name_that_does_not_resolve_is_told_truthfully(self):
        for name, status, error in (("no-such-name.example", 502, "dns_error"),
                                    ("none.example", 502, "dns_error"),
                                    ("silent.example", 504, "dns_timeout")):
            with self.subTest(name):
                answer, line = self.get(name, 1)
                self.assertIn("HTTP/1.1 %d " % status, answer)
                self.assertIn("error=%s;" % error, answer)
                self.assertEqual((line.via, line.status, line.error), ("direct", status, error))
                self.assertIn(name, line.detail)

    def test_a_cidr_does_not_make_the_agent_resolve_a_name(self):
        self.lab.agent_config["routes"] = [{"cidr": "0.0.0.0/0", "via": "block"}]
        self.lab.agent_config["limits"] = {"wait_ms": 200}
        self.lab.stop(self.lab.agent)
        self.lab.stop(self.lab.gateway)  # it would ask
        self.lab.start_agent(wait_up=False)
        self.assertEqual(self.get("far.example")[1].via, "tunnel")
        self.assertEqual(self.asked("far.example"), [])
        self.assertEqual(self.get(FAR)[1].via, "block")


if __name__ == "__main__":
    lab.main()
