#!/usr/bin/env python3
"""The gateway as an HTTP/2 proxy for clients that are not our agent."""

import json
import os
import shutil
import struct
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import h2raw
import lab
import origin
import tls

SUPPORT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support")


class Case(lab.LabCase):
    def setUp(self):
        super().setUp()
        self.name = self.lab.name_of(self.lab.a)
        self.cert = self.lab.client(self.lab.a, "alice")
        self.lab.start_gateway()
        self.origin = origin.Origin()
        self.addCleanup(self.origin.close)
        self.echo = lab.format_address(self.origin.start(origin.echo))

    def raw(self, settings=b""):
        client = tls.Client(self.lab.address, self.name, tls.context(self.cert, ("h2",)))
        self.addCleanup(client.close)
        self.assertEqual(client.sock.selected_alpn_protocol(), "h2")
        return h2raw.Connection(client, settings)


@unittest.skipUnless(shutil.which("node"), "node is not installed: run tools/deps test")
class Node(Case):
    def node(self, channels, cert=None):
        cert = cert or self.cert
        done = lab.run("node", os.path.join(SUPPORT, "h2_client.js"), timeout=60, input=json.dumps(
            {"host": self.lab.address[0], "port": self.lab.address[1], "servername": self.name,
             "cert": cert.chain, "key": cert.key, "channels": channels}))
        return done, [json.loads(line) for line in done.stdout.splitlines()]

    def test_nodes_http2_carries_channels_with_random_bytes(self):
        done, said = self.node([{"target": self.echo, "bytes": 100000}] * 50)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(said[-1].get("done"), said[-1])
        self.assertEqual([s["ok"] for s in said[:-1]], [True] * 50, said[0])
        events = self.lab.gateway.wait_count("channel", 50)
        self.assertEqual({(e.how, e.bytes_up, e.bytes_down) for e in events},
                         {("done", 100000, 100000)})
        self.assertEqual(len(self.lab.gateway.all("tunnel")), 1)

    def test_one_refused_channel_leaves_the_others_alone_and_says_why(self):
        closed = lab.format_address(self.origin.start(origin.echo))
        self.origin.stop_listening(lab.parse_address(closed))
        _, said = self.node([{"target": self.echo, "bytes": 1000},
                             {"target": "10.9.8.7:443", "bytes": 1000},
                             {"target": closed, "bytes": 1000}])
        by_channel = {s["channel"]: s for s in said if "channel" in s}
        self.assertTrue(by_channel[0]["ok"])
        self.assertEqual(by_channel[1]["status"], 403)
        self.assertRegex(by_channel[1]["proxyStatus"], r"error=\w+")
        self.assertEqual(by_channel[2]["status"], 502)
        self.assertRegex(by_channel[2]["proxyStatus"], r"error=connection_refused")

    def test_a_node_client_of_another_tenant_is_refused(self):
        _, said = self.node([{"target": self.echo, "bytes": 1}], self.lab.client(self.lab.b))
        self.assertEqual([s for s in said if s.get("status") or s.get("ok")], [])
        event = self.lab.gateway.wait("tunnel")
        self.assertEqual((event.action, event.reason), ("block", "untrusted_issuer"))


class Frames(Case):
    def open(self, h2, stream=1, target=None):
        h2.send(h2raw.frame(h2raw.HEADERS, h2raw.END_HEADERS, stream,
                            h2raw.connect_fields(target or self.echo)))
        return h2.answer(stream)

    def test_a_channel_carries_bytes_and_ends_when_both_halves_have(self):
        h2 = self.raw()
        self.assertEqual(self.open(h2), 200)
        h2.send(h2raw.frame(h2raw.DATA, 0, 1, b"ping"))
        self.assertEqual(h2.wait(h2raw.DATA, 1)[3], b"ping")
        h2.send(h2raw.frame(h2raw.DATA, h2raw.END_STREAM, 1, b""))
        while True:
            kind, flags, _, _ = h2.wait(h2raw.DATA, 1)
            if flags & h2raw.END_STREAM:
                break
        self.assertEqual(self.lab.gateway.wait("channel").how, "done")

    def test_doubtful_requests_are_400_or_a_reset_and_harm_no_other_channel(self):
        connect = (":method", "CONNECT")
        cases = {
            "port 88947": [connect, (":authority", "origin.example:88947")],
            "no port": [connect, (":authority", "origin.example")],
            "user info": [connect, (":authority", "user@origin.example:443")],
            "zone": [connect, (":authority", "[fe80::1%lo]:443")],
            "two authorities": [connect, (":authority", self.echo), (":authority", self.echo)],
            "no authority": [connect],
            "scheme": [connect, (":scheme", "https"), (":authority", self.echo)],
            "path": [connect, (":path", "/"), (":authority", self.echo)],
            "Host of another": [connect, (":authority", self.echo), ("host", "b.example:1")],
            "content length": [connect, (":authority", self.echo), ("content-length", "5")],
            "transfer encoding": [connect, (":authority", self.echo),
                                  ("transfer-encoding", "chunked")],
            "connection field": [connect, (":authority", self.echo), ("connection", "close")],
            "upper case field": [connect, (":authority", self.echo), ("X-Upper", "a")],
            "NUL in authority": [connect, (":authority", "a\0b:443")],
            "CRLF in authority": [connect, (":authority", "a\r\nX: b:443")],
        }
        h2 = self.raw()
        self.assertEqual(self.open(h2), 200)
        stream = 3
        for what, pairs in cases.items():
            with self.subTest(what):
                h2.send(h2raw.frame(h2raw.HEADERS, h2raw.END_HEADERS, stream,
                                    h2raw.fields(*pairs)))
                self.assertIn(h2.answer(stream), (400, "reset 1"))
                stream += 2
        h2.send(h2raw.frame(h2raw.DATA, 0, 1, b"still here"))
        self.assertEqual(h2.wait(h2raw.DATA, 1)[3], b"still here")
        self.assertEqual(self.lab.gateway.all("channel", lambda e: e["how"] == "done"), [])

    def test_a_method_other_than_connect_is_405(self):
        h2 = self.raw()
        h2.send(h2raw.frame(h2raw.HEADERS, h2raw.END_HEADERS | h2raw.END_STREAM, 1, h2raw.fields(
            (":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "x"))))
        self.assertEqual(h2.answer(1), 405)

    def test_a_writer_that_ignores_flow_control_loses_its_channel_alone(self):
        silent = lab.format_address(self.origin.start(origin.silent))
        h2 = self.raw()
        self.assertEqual(self.open(h2, 1), 200)
        self.assertEqual(self.open(h2, 3, silent), 200)
        # Far more than any window for one stream, without waiting for a WINDOW_UPDATE.
        block = h2raw.frame(h2raw.DATA, 0, 3, b"x" * 16384)
        answer = None
        try:
            for _ in range(4096):
                h2.send(block)
        except OSError:
            answer = "closed"
        while answer is None:
            found = h2.next()
            if found is None:
                answer = "closed"
            elif found[0] in (h2raw.RST_STREAM, h2raw.GOAWAY):
                code = struct.unpack(">I", found[3][:4] if found[0] == h2raw.RST_STREAM
                                     else found[3][4:8])[0]
                answer = "flow control" if code == 3 else "code %d" % code
        self.assertIn(answer, ("flow control", "closed"))
        self.assertTrue(self.lab.gateway.alive())
        self.assertEqual(self.open(self.raw()), 200)

    def test_a_reset_stream_ends_its_channel_at_the_destination(self):
        seen = []
        target = lab.format_address(self.origin.start(origin.expecting_reset(seen)))
        h2 = self.raw()
        self.assertEqual(self.open(h2, 1, target), 200)
        h2.send(h2raw.frame(h2raw.RST_STREAM, 0, 1, struct.pack(">I", 8)))
        lab.until(lambda: seen, what="the origin sees the end")
        self.assertEqual(seen, ["reset"])
        self.assertEqual(self.lab.gateway.wait("channel").how, "remote_reset")

    def test_a_ping_is_answered(self):
        h2 = self.raw()
        h2.send(h2raw.frame(h2raw.PING, 0, 0, b"01234567"))
        kind, flags, _, payload = h2.wait(h2raw.PING)
        self.assertEqual((kind, flags, payload), (h2raw.PING, h2raw.ACK, b"01234567"))

    def test_garbage_instead_of_the_preface_ends_the_connection(self):
        with tls.Client(self.lab.address, self.name, tls.context(self.cert, ("h2",))) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 10)
            _, end = tls.read_to_end(client.sock)
            self.assertNotEqual(end, "timeout")
        self.assertEqual(self.open(self.raw()), 200)

    def test_the_channel_limit_of_the_tenant_is_announced_and_kept(self):
        self.lab.tenants[self.lab.a]["limits"] = {"tunnels": 10, "channels": 3}
        self.lab.reload()
        h2 = self.raw()
        answers = [self.open(h2, stream) for stream in (1, 3, 5)]
        self.assertEqual(answers, [200, 200, 200])
        fourth = self.open(h2, 7)
        self.assertIn(fourth, ("reset 7", "reset 1", 429, 503))
        h2.send(h2raw.frame(h2raw.DATA, 0, 1, b"still here"))
        self.assertEqual(h2.wait(h2raw.DATA, 1)[3], b"still here")

    def test_the_tunnel_limit_of_the_tenant_is_kept(self):
        self.lab.tenants[self.lab.a]["limits"] = {"tunnels": 2, "channels": 30}
        self.lab.reload()
        held = [self.raw() for _ in range(2)]
        for h2 in held:
            self.assertEqual(self.open(h2), 200)
        mark = self.lab.gateway.mark()
        ctx = tls.context(self.cert)
        self.assertNotEqual(tls.verdict(self.lab.address, self.name, ctx), "ok")
        self.lab.gateway.wait("tunnel_closed", lambda e: "limit" in str(e), since=mark)
        for h2 in held:
            h2.send(h2raw.frame(h2raw.DATA, 0, 1, b"still here"))
            self.assertEqual(h2.wait(h2raw.DATA, 1)[3], b"still here")


if __name__ == "__main__":
    lab.main()
