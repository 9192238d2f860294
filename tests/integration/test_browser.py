#!/usr/bin/env python3
"""A real browser with the agent's /proxy.pac. Skipped where there is no Chromium
(`tools/deps browser` installs it: some 300 MB)."""

import os
import shutil
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import dns
import lab
import origin

PAGE = b"<!DOCTYPE html><title>t</title><p>the page of %s</p>"


class Browser(lab.LabCase):
    def setUp(self):
        self.program = shutil.which("chromium")
        if not self.program:
            self.skipTest("no chromium here: tools/deps browser")
        super().setUp()
        self.hosts = []  # that the origin was asked for a page of
        self.origin = origin.Origin()
        self.addCleanup(self.origin.close)
        self.port = self.origin.start(self.serve)[1]
        # The far side has a name server of its own; to the browser "tunnel.test" is nothing.
        self.dns = dns.Server({"tunnel.test": ["127.0.0.1"]})
        self.addCleanup(self.dns.close)
        self.lab.gateway_config["resolver"] = {"servers": [self.dns.address]}
        self.lab.tenants[self.lab.a]["egress"]["allow"].append("tunnel.test:*")
        self.lab.agent_config["routes"] = [{"host": "direct.test", "via": "direct"},
                                           {"host": "*.blocked.test", "via": "block"}]
        self.lab.start()

    async def serve(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        host = [line.split(": ")[1] for line in head.split("\r\n") if line.startswith("Host: ")][0]
        if head.startswith("GET /page "):
            self.hosts.append(host.split(":")[0])
        body = PAGE % host.split(":")[0].encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n"
                     b"Connection: close\r\n\r\n" % len(body) + body)
        await writer.drain()

    def visit(self, host):
        """What is on the page, once the browser has it."""
        home = os.path.join(self.lab.folder, "home-" + host)
        os.mkdir(home)
        env = dict(lab.environment(), HOME=home, XDG_CONFIG_HOME=home, XDG_CACHE_HOME=home)
        browser = subprocess.Popen(
            [self.program, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
             "--disable-dev-shm-usage", "--disable-background-networking", "--disable-sync",
             "--disable-component-update", "--user-data-dir=" + home,
             "--proxy-pac-url=http://127.0.0.1:%d/proxy.pac" % self.lab.doors[0][1],
             "--host-resolver-rules=MAP direct.test 127.0.0.1", "--dump-dom",
             "http://%s:%d/page" % (host, self.port)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env,
            start_new_session=True)
        try:
            return browser.communicate(timeout=90 * lab.SLOW)[0].decode()
        except subprocess.TimeoutExpired:
            os.killpg(browser.pid, signal.SIGKILL)  # with its own helpers
            browser.communicate()
            raise

    def lines(self, host):
        return self.lab.agent.all("channel",
                                  lambda e: e.get("destination") == "%s:%d" % (host, self.port))

    def test_each_way_is_taken_as_the_routes_say(self):
        self.assertIn("the page of tunnel.test", self.visit("tunnel.test"))
        self.assertEqual(self.lab.agent.wait("channel", lambda e: e.get("destination") ==
                                             "tunnel.test:%d" % self.port).via, "tunnel")
        self.assertIn("the page of direct.test", self.visit("direct.test"))
        self.assertEqual(self.lines("direct.test"), [])  # it did not come to the agent at all
        self.assertIn("$.routes[1]", self.visit("www.blocked.test"))
        self.assertEqual({e.via for e in self.lines("www.blocked.test")}, {"block"})
        self.assertEqual(set(self.hosts), {"tunnel.test", "direct.test"})


if __name__ == "__main__":
    lab.main()
