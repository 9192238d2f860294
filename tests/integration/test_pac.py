#!/usr/bin/env python3
"""/proxy.pac: what a browser makes of it is what the agent decides itself; and the page around it."""

import http.client
import json
import os
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import lab

PAC_JS = os.path.join(lab.ROOT, "tests", "support", "pac.js")
TYPE = "application/x-ns-proxy-autoconfig"

ROUTES = [
    {"host": ["intranet.example", "*.direct.example"], "via": "direct"},
    {"host": "*.example", "port": [22, "8000-8099"], "via": "direct"},
    {"host": "*.blocked.example", "via": "block"},
    {"cidr": ["10.0.0.0/8", "172.16.0.0/12", "2001:db8:77::/48", "203.0.113.77"], "via": "direct"},
    {"cidr": "10.1.0.0/16", "via": "tunnel"},
    {"user": "joe", "host": "joes.test", "via": "direct"},
    {"door": "web", "host": "only-at-web.test", "via": "direct"},
    {"door": "other", "host": "only-at-other.test", "via": "direct"},
    {"host": "localhost", "port": 99, "via": "tunnel"},
    {"cidr": "127.0.0.0/8", "port": 99, "via": "tunnel"},
    {"cidr": "198.18.0.0/15", "host": "never.test", "via": "direct"},
]
HOSTS = ["intranet.example", "direct.example", "www.direct.example", "a.b.direct.example",
         "xdirect.example", "www.blocked.example", "example", "www.example", "joes.test",
         "only-at-web.test", "only-at-other.test", "unknown.test", "single", "localhost",
         "www.localhost", "localhost.test", "10.0.0.1", "10.1.0.1", "10.2.0.1", "11.0.0.1",
         "172.15.255.255", "172.16.0.1", "172.31.255.255", "172.32.0.0", "203.0.113.77",
         "203.0.113.78", "198.18.0.1", "127.0.0.1", "127.9.9.9", "128.0.0.1", "169.254.1.1",
         "169.253.1.1", "2001:db8:77::1", "2001:db8:78::1", "2001:db8:77:ffff:1:2:3:4", "::1",
         "::2", "::", "fe80::1", "febf::1", "fec0::1", "::ffff:10.0.0.1", "::ffff:11.0.0.1",
         "::ffff:127.0.0.1", "1:2:3:4:5:6:7:8", "0.0.0.0"]
PORTS = [22, 80, 99, 443, 8000, 8099, 8100, 65535]
# url, host as the browser passes it: nothing but the agent can judge these.
ASK_THE_AGENT = [("http://www.direct.example:0x50/", "www.direct.example"),
                 ("gopher://www.direct.example/", "www.direct.example"),
                 ("nonsense", "www.direct.example"),
                 ("http://127.1/", "127.1"), ("http://2130706433/", "2130706433"),
                 ("http://0x7f000001/", "0x7f000001"), ("http://017700000001/", "017700000001"),
                 ("http://010.0.0.1/", "010.0.0.1"), ("http://10.0.0.256/", "10.0.0.256"),
                 ("http://[fe80::1%25eth0]/", "fe80::1%eth0"), ("http://[1::2::3]/", "1::2::3"),
                 ("http://[12345::]/", "12345::"), ("http://[1:2:3]/", "1:2:3"),
                 ("http://[1:2:3:4:5:6:7:8::]/", "1:2:3:4:5:6:7:8::"),
                 ("http://a_b c.direct.example/", "a_b c.direct.example"),
                 ("http://ümlaut.direct.example/", "ümlaut.direct.example"),
                 ("http://.direct.example/", ".direct.example"), ("http:///", "")]
DIRECT = [("https://www.direct.example/", "www.direct.example"),
          ("https://WWW.Direct.Example./", "WWW.Direct.Example."),
          ("wss://www.example:8050/", "www.example"),
          ("http://user:22@www.example:8000/", "www.example"),
          ("http://[2001:db8:77::1]/x:1", "[2001:db8:77::1]"),
          ("http://[2001:DB8:77::1]/", "2001:DB8:77::1"),
          ("http://[::ffff:a00:1]/", "::ffff:a00:1")]


class Pac(lab.LabCase):
    def setUp(self):
        super().setUp()
        self.lab.agent_config["doors"] = [
            {"type": "http", "listen": "127.0.0.1:0", "name": "web"},
            {"type": "mixed", "listen": "127.0.0.1:0", "name": "other"},
            {"type": "http", "listen": "127.0.0.1:0"}]
        self.lab.agent_config["routes"] = list(ROUTES)
        self.lab.address = ("127.0.0.1", 1)
        self.lab.start_agent(wait_up=False)

    def get(self, path="/proxy.pac", index=0, host=None, method="GET"):
        """Status, headers, body."""
        connection = http.client.HTTPConnection(*self.lab.doors[index], timeout=20 * lab.SLOW)
        connection.putrequest(method, path, skip_host=True)
        if host != "":
            connection.putheader("Host", host or "127.0.0.1:%d" % self.lab.doors[index][1])
        connection.endheaders()
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        return answer.status, answer.headers, body

    def find_proxies(self, questions, index=0):
        status, _, body = self.get(index=index)
        self.assertEqual(status, 200)
        done = lab.run("node", PAC_JS, self.lab.write("proxy.pac", body), timeout=60,
                       input="".join(json.dumps(q) + "\n" for q in questions))
        self.assertEqual(done.returncode, 0, done.stderr)
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual(len(answers), len(questions))
        return answers

    def decide(self, host, port, door):
        at = ("--door", door) if door else ()
        text = "[%s]:%d" % (host, port) if ":" in host else "%s:%d" % (host, port)
        done = lab.run(lab.program("sallyport-agent"), "route", "--json", "--config",
                       self.lab.file("agent.json"), *at, text)
        return json.loads(done.stdout)["via"]

    def check_same(self, index, door, hosts, ports):
        agent = "PROXY 127.0.0.1:%d" % self.lab.doors[index][1]
        questions = []
        for host in hosts:
            bracketed = "[%s]" % host if ":" in host else host
            questions += [("http://%s:%d/path?q" % (bracketed, port), host) for port in ports]
        answers = iter(self.find_proxies(questions, index))
        for host in hosts:
            for port in ports:
                wanted = "DIRECT" if self.decide(host, port, door) == "direct" else agent
                if host == "joes.test":
                    wanted = agent
                self.assertEqual(next(answers), wanted, (host, port, door))

    def test_it_says_what_the_agent_decides(self):
        self.check_same(0, "web", HOSTS, [80])
        self.check_same(0, "web", ["www.example", "localhost", "127.9.9.9"], PORTS)

    def test_a_route_of_another_door_is_not_in_it(self):
        only = ["only-at-web.test", "only-at-other.test"]
        self.check_same(1, "other", only, [80])
        self.check_same(2, None, only, [80])

    def test_it_leaves_to_the_agent_what_only_the_agent_can_judge(self):
        agent = "PROXY 127.0.0.1:%d" % self.lab.doors[0][1]
        for question, answer in zip(ASK_THE_AGENT, self.find_proxies(ASK_THE_AGENT)):
            self.assertEqual(answer, agent, question)
        for question, answer in zip(DIRECT, self.find_proxies(DIRECT)):
            self.assertEqual(answer, "DIRECT", question)

    def test_it_names_the_door_as_the_browser_reached_it(self):
        port = self.lab.doors[0][1]
        for host, proxy in (("127.0.0.1:%d" % port, "127.0.0.1:%d" % port),
                            ("localhost:%d" % port, "localhost:%d" % port),
                            ("LOCALHOST:%d" % port, "localhost:%d" % port),
                            ("[::1]:81", "\\u005b::1\\u005d:81"),
                            ("127.0.0.2", "127.0.0.2:80")):
            status, headers, body = self.get(host=host)
            self.assertEqual((status, headers["Content-Type"]), (200, TYPE))
            self.assertEqual(headers["Cache-Control"], "no-store")
            self.assertIn('var agent = "PROXY\\u0020%s";' % proxy, body.replace("PROXY ", "PROXY\\u0020"))
        self.assertEqual(self.get("/proxy.pac?v=1")[0], 200)
        self.assertEqual(self.get(index=1)[0], 200)
        status, headers, body = self.get(method="HEAD")
        self.assertEqual((status, body), (200, ""))
        self.assertEqual(int(headers["Content-Length"]), len(self.get()[2]))

    def test_nobody_else_reads_it_and_no_other_page_is_there(self):
        """A Host that is not the door's own is a name that somebody made lead here."""
        for host, status in (("evil.example", 421), ("127.0.0.1.evil.example", 421),
                             ("localhost.evil.example", 421), ("www.localhost", 421),
                             ("192.0.2.1", 421), ("", 400), ("127.0.0.1:0", 400), ("127.1", 400),
                             ("a@127.0.0.1", 400), ("[::1", 400)):
            with self.subTest(host):
                got, headers, body = self.get(host=host)
                self.assertEqual(got, status)
                self.assertNotIn("FindProxyForURL", body)
        self.assertEqual(self.get("/proxy.pac2")[0], 404)
        self.assertEqual(self.get("//proxy.pac")[0], 404)
        self.assertEqual(self.get(method="POST")[0], 405)

    def test_a_long_one_reaches_a_slow_reader_whole(self):
        self.lab.agent_config["routes"] = [
            {"host": ["h%d-%d.%s.example" % (i, k, "x" * 60) for k in range(500)], "via": "direct"}
            for i in range(100)]
        self.lab.stop(self.lab.agent)
        self.lab.start_agent(wait_up=False)
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.settimeout(20 * lab.SLOW)
            sock.connect(self.lab.doors[0])
            sock.sendall(b"GET /proxy.pac HTTP/1.1\r\nHost: localhost\r\n\r\n")
            data = b""
            while more := sock.recv(65536):
                data += more
        head, body = data.split(b"\r\n\r\n", 1)
        self.assertGreater(len(body), 4000000)
        self.assertIn(b"Content-Length: %d" % len(body), head)
        self.assertTrue(body.endswith(b"  return agent;\n}\n"))


if __name__ == "__main__":
    lab.main()
