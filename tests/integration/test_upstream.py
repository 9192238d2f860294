#!/usr/bin/env python3
"""The gateway by way of a company's proxy: tinyproxy (CONNECT, Basic), microsocks (SOCKS5)."""

import os
import shutil
import socket
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import lab
import origin

PASSWORD = "p@ss:w/rd%"
ENCODED = "p%40ss:w%2Frd%25"


class Case(lab.LabCase):
    def setUp(self):
        super().setUp()
        self.origin = origin.Origin()
        self.addCleanup(self.origin.close)
        self.echo = lab.format_address(self.origin.start(origin.echo))
        self.lab.start_gateway()
        self.lab.agent_config["tunnels"] = 1
        # An address of its own, so that its port can be had.
        self.host = "127.%d.%d.9" % (128 + os.urandom(1)[0] % 64, os.urandom(1)[0])

    def server(self, port, *argv):
        """A program that serves at self.host:port."""
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL, env=lab.environment())

        def stop():
            process.kill()
            process.wait()

        def listens():
            self.assertIsNone(process.poll(), argv)
            try:
                socket.create_connection((self.host, port)).close()
                return True
            except OSError:
                return False

        self.addCleanup(stop)
        lab.until(listens, 20, argv[0])
        return "%s:%d" % (self.host, port)

    def tinyproxy(self, *lines):
        log = os.path.join(self.lab.folder, "tinyproxy.log")
        config = "\n".join(["Port 3128", "Listen " + self.host, "Allow 127.0.0.0/8",
                            'LogFile "%s"' % log, "LogLevel Connect", *lines, ""])
        path = self.lab.write("tinyproxy.conf", config)
        return self.server(3128, "tinyproxy", "-d", "-c", path), log

    def agent(self, proxy, env=None, wait_up=True):
        self.lab.agent_config["upstream_proxy"] = proxy
        self.lab.agent_config["gateways"] = [lab.format_address(self.lab.address)]
        self.lab.agent_prefix = ("env",) + tuple("%s=%s" % x for x in (env or {}).items())
        self.addCleanup(self.check_secret)
        return self.lab.start_agent_as_it_is(wait_up)

    def check_secret(self):
        for line in self.lab.agent.all_lines():
            for secret in (PASSWORD, ENCODED, "hunter2"):
                self.assertNotIn(secret, line)

    def check_channel(self):
        sock = lab.connect(self.lab.doors[0], 30)
        with sock:
            sock.sendall(("CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (self.echo, self.echo))
                         .encode())
            self.assertTrue(sock.recv(200).startswith(b"HTTP/1.1 200"))
            sock.sendall(b"hello")
            self.assertEqual(sock.recv(100), b"hello")


class Connect(Case):
    def setUp(self):
        if not shutil.which("tinyproxy"):
            self.skipTest("no tinyproxy here (tools/deps test)")
        super().setUp()

    def test_tunnels_go_by_the_proxy_and_the_log_says_so(self):
        proxy, log = self.tinyproxy()
        agent = self.agent("http://" + proxy)
        self.assertEqual(agent.wait("tunnel").proxy, proxy)
        self.check_channel()
        with open(log, encoding="utf-8") as text:
            self.assertIn("CONNECT " + lab.format_address(self.lab.address), text.read())

    def test_a_login(self):
        proxy, _ = self.tinyproxy("BasicAuth alice hunter2")
        self.agent("http://alice:hunter2@" + proxy)
        self.check_channel()

    def test_no_login_or_a_wrong_one_is_said_so(self):
        proxy, _ = self.tinyproxy("BasicAuth alice right")
        for login, words in (("", "wants a login (407 Proxy Authentication Required; it offers: Basic"),
                             ("alice:%s@" % ENCODED, 'refused the login of user "alice" (40')):
            with self.subTest(login=login):
                agent = self.agent("http://" + login + proxy, wait_up=False)
                failed = agent.wait("tunnel_failed")
                self.assertIn("the proxy %s: %s" % (proxy, words), failed.error)
                sock = lab.connect(self.lab.doors[0], 30)
                with sock:
                    sock.sendall(b"CONNECT a.example:1 HTTP/1.1\r\nHost: a.example:1\r\n\r\n")
                    text = sock.recv(4096)
                    self.assertTrue(text.startswith(b"HTTP/1.1 503"), text)
                    self.assertNotIn(ENCODED.encode(), text)
                self.check_secret()
                self.lab.stop(agent)

    def test_the_environment_and_its_exceptions(self):
        proxy, _ = self.tinyproxy("BasicAuth alice hunter2")
        env = {"HTTPS_PROXY": "http://alice:hunter2@" + proxy}
        agent = self.agent("environment", env)
        self.assertEqual(agent.wait("tunnel").proxy, proxy)
        self.lab.stop(agent)
        agent = self.agent("environment", {**env, "no_proxy": "10.0.0.0/8,127.0.0.0/8"})
        self.assertNotIn("proxy", agent.wait("tunnel"))
        self.lab.stop(agent)
        agent = self.agent("environment")
        self.assertNotIn("proxy", agent.wait("tunnel"))
        self.check_channel()

    def test_a_gateway_that_the_proxy_cannot_reach_is_the_proxys_answer(self):
        proxy, _ = self.tinyproxy()
        self.lab.stop(self.lab.gateway)
        agent = self.agent("http://" + proxy, wait_up=False)
        failed = agent.wait("tunnel_failed", timeout=30)
        self.assertIn("the proxy %s: answered CONNECT %s with 50" % (
            proxy, lab.format_address(self.lab.address)), failed.error)

    def test_a_proxy_that_is_not_there_is_named(self):
        agent = self.agent("http://alice:hunter2@%s:3128" % self.host, wait_up=False)
        failed = agent.wait("tunnel_failed")
        self.assertIn("the proxy %s:3128: %s:3128: Connection refused" % (self.host, self.host),
                      failed.error)


class Socks(Case):
    def setUp(self):
        if not shutil.which("microsocks"):
            self.skipTest("no microsocks here (tools/deps test)")
        super().setUp()

    def test_without_a_login(self):
        proxy = self.server(1080, "microsocks", "-i", self.host, "-p", "1080")
        agent = self.agent("socks5://" + proxy)
        self.assertEqual(agent.wait("tunnel").proxy, proxy)
        self.check_channel()

    def test_with_one(self):
        proxy = self.server(1080, "microsocks", "-i", self.host, "-p", "1080", "-u", "alice", "-P",
                            PASSWORD)
        self.agent("socks5://alice:%s@%s" % (ENCODED, proxy))
        self.check_channel()

    def test_a_wrong_one_is_said_so(self):
        proxy = self.server(1080, "microsocks", "-i", self.host, "-p", "1080", "-u", "alice", "-P",
                            "right")
        agent = self.agent("socks5://alice:%s@%s" % (ENCODED, proxy), wait_up=False)
        self.assertIn('the proxy %s: refused the login of user "alice"' % proxy,
                      agent.wait("tunnel_failed").error)


if __name__ == "__main__":
    lab.main()
