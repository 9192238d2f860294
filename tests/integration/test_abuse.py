#!/usr/bin/env python3
"""Hostile and broken peers: a clear log line, a deadline, and nothing else disturbed."""

import os
import random
import socket
import ssl
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import h2raw
import lab
import origin
import tls


class Case(lab.LabCase):
    """A well-behaved channel is open all the while; check_undisturbed() talks over it."""

    handshake_ms = 5000

    def setUp(self):
        super().setUp()
        self.lab.gateway_config["limits"] = {"handshake_ms": self.handshake_ms,
                                             "request_ms": 1000}
        self.name = self.lab.name_of(self.lab.a)
        self.cert = self.lab.client(self.lab.a)
        self.lab.start_gateway()
        self.origin = origin.Origin()
        self.addCleanup(self.origin.close)
        self.echo = lab.format_address(self.origin.start(origin.echo))
        self.witness = self.channel()
        self.lab.gateway.wait("tunnel")  # its line comes by another way than its answer
        self.began = self.lab.gateway.mark()

    def channel(self, target=None):
        client = tls.Client(self.lab.address, self.name, tls.context(self.cert))
        self.addCleanup(client.close)
        self.assertEqual(client.connect(target or self.echo)[0], 200)
        return client

    def check_undisturbed(self):
        self.assertTrue(self.lab.gateway.alive())
        self.witness.send(b"undisturbed?")
        self.assertEqual(self.witness.recv(), b"undisturbed?")
        self.assertEqual(tls.verdict(self.lab.address, self.name, tls.context(self.cert)), "ok")

    def h2(self):
        client = tls.Client(self.lab.address, self.name, tls.context(self.cert, ("h2",)))
        self.addCleanup(client.close)
        return h2raw.Connection(client)


class BeforeTls(Case):
    handshake_ms = 1000

    def said_to(self, data):
        with lab.connect(self.lab.address) as sock:
            sock.sendall(data)
            return tls.read_to_end(sock)

    def test_garbage_before_the_clienthello_is_not_tls(self):
        for garbage in (b"\0" * 100, os.urandom(4000).replace(b"\x16", b"\x17"),
                        b"SSH-2.0-OpenSSH_9.2p1\r\n", b"\x80\x2e\x01\x00\x02garbage"):
            with self.subTest(garbage[:8]):
                mark = self.lab.gateway.mark()
                _, end = self.said_to(garbage)
                self.assertNotEqual(end, "timeout")
                event = self.lab.gateway.wait("tunnel", since=mark)
                self.assertEqual((event.action, event.reason), ("block", "not_tls"))
                self.assertEqual(event.observed_errors, ["not_tls"])
                self.assertTrue(event.peer)
        self.check_undisturbed()

    def test_plain_http_to_the_tls_port_is_not_tls_and_gets_no_plaintext_service(self):
        for request in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                        b"CONNECT %s HTTP/1.1\r\nHost: x\r\n\r\n" % self.echo.encode(),
                        h2raw.PREFACE):
            with self.subTest(request[:8]):
                mark = self.lab.gateway.mark()
                data, _ = self.said_to(request)
                self.assertNotIn(b"200", data)
                self.assertEqual(self.lab.gateway.wait("tunnel", since=mark).reason, "not_tls")
        self.check_undisturbed()

    def test_a_tls_record_of_nonsense_is_refused_with_a_line(self):
        for what, record in (("not a handshake", b"\x16\x03\x01\0\4\x99\0\0\0"),
                             ("far too long", b"\x16\x03\x01\xff\xff" + b"a" * 70000),
                             ("empty", b"\x16\x03\x01\0\0" * 50),
                             ("cut hello", tls.client_hello(b"")[:60] + b"\xff" * 400)):
            with self.subTest(what):
                mark = self.lab.gateway.mark()
                _, end = self.said_to(record)
                self.assertNotEqual(end, "timeout")
                event = self.lab.gateway.wait("tunnel", since=mark)
                self.assertEqual(event.action, "block")
                self.assertTrue(event.get("error") or event.get("reason"), event)
        self.check_undisturbed()

    def test_a_clienthello_byte_by_byte_is_a_clienthello(self):
        hello = tls.client_hello(tls.host_name(self.name))
        with lab.connect(self.lab.address) as sock:
            for byte in hello:
                sock.send(bytes([byte]))
            self.assertEqual(tls.answer_to(sock), "server_hello")

    def test_a_clienthello_in_many_records_is_a_clienthello(self):
        body = tls.client_hello(tls.host_name(self.name))[5:]
        with lab.connect(self.lab.address) as sock:
            for at in range(0, len(body), 16):
                piece = body[at:at + 16]
                sock.sendall(b"\x16\x03\x01" + struct.pack(">H", len(piece)) + piece)
            self.assertEqual(tls.answer_to(sock), "server_hello")

    def test_a_stalled_handshake_ends_at_its_deadline(self):
        hello = tls.client_hello(tls.host_name(self.name))
        begun = time.monotonic()
        socks = []
        for part in (b"", hello[:3], hello[:100], hello):
            sock = lab.connect(self.lab.address)
            self.addCleanup(sock.close)
            sock.sendall(part)
            socks.append(sock)
        for sock in socks:
            self.assertNotEqual(tls.read_to_end(sock)[1], "timeout")
        took = time.monotonic() - begun
        self.assertLess(took, 5 * lab.SLOW)
        self.assertGreater(took, 0.8)
        lines = self.lab.gateway.wait_count("tunnel", 4, since=self.began)
        for line in lines:
            self.assertEqual(line.action, "block")
            self.assertRegex(line.error, "(?i)handshake.*(time|deadline|within|ms)")
        self.check_undisturbed()

    def test_one_byte_now_and_then_does_not_move_the_deadline(self):
        hello = tls.client_hello(tls.host_name(self.name))
        begun = time.monotonic()
        with lab.connect(self.lab.address) as sock:
            sock.settimeout(0.1)
            try:
                for byte in hello:
                    sock.send(bytes([byte]))
                    try:
                        if not sock.recv(100):
                            break
                    except socket.timeout:
                        pass
            except OSError:
                pass
        self.assertLess(time.monotonic() - begun, 5 * lab.SLOW)
        self.check_undisturbed()

    def test_two_hundred_stalled_handshakes_hold_nobody_up(self):
        socks = [lab.connect(self.lab.address) for _ in range(200)]
        for sock in socks:
            self.addCleanup(sock.close)
            sock.sendall(b"\x16\x03")
        self.check_undisturbed()
        self.lab.gateway.wait_count(
            "tunnel", 200, lambda e: e.action == "block", self.began, timeout=20)


class Requests(Case):
    def test_a_head_that_never_ends_meets_its_deadline(self):
        for start in (b"", b"CONNECT " + self.echo.encode()):
            with tls.Client(self.lab.address, self.name, tls.context(self.cert)) as client:
                client.send(start) if start else None
                begun = time.monotonic()
                data, end = tls.read_to_end(client.sock)
                self.assertNotEqual(end, "timeout")
                self.assertLess(time.monotonic() - begun, 5 * lab.SLOW)
                self.assertTrue(data == b"" or b" 408 " in data.split(b"\r\n")[0], data)
        self.check_undisturbed()

    def test_an_oversized_head_is_refused_on_http2_as_well(self):
        h2 = self.h2()
        block = h2raw.fields((":method", "CONNECT"), (":authority", self.echo),
                             ("x-filler", "a" * 15000))
        more = h2raw.fields(*[("x-filler-%d" % i, "b" * 1000) for i in range(15)])
        h2.send(h2raw.frame(h2raw.HEADERS, 0, 1, block))
        try:
            for _ in range(64):
                h2.send(h2raw.frame(9, 0, 1, more))
            h2.send(h2raw.frame(9, h2raw.END_HEADERS, 1, b""))
            answer = h2.answer(1)
        except (OSError, ssl.SSLError):
            answer = "closed"
        self.assertTrue(answer in (400, 431, "closed") or "goaway" in str(answer)
                        or "reset" in str(answer), answer)
        self.assertEqual([e for e in self.lab.gateway.all("channel", since=self.began)
                          if e.how != "refused"], [])
        self.check_undisturbed()


class Readers(Case):
    def test_a_reader_that_stops_holds_bounded_memory_and_disturbs_nobody(self):
        source = lab.format_address(self.origin.start(origin.source))
        before = self.lab.gateway.rss_kib()
        stopped = [self.channel(source) for _ in range(8)]
        for _ in range(30):
            self.check_undisturbed()
        self.assertLess(self.lab.gateway.rss_kib() - before,
                        60 * 1024 * lab.memory_factor())
        for client in stopped:
            client.close()
        self.lab.gateway.wait_count("channel", 8, since=self.began)
        self.check_undisturbed()


class TooMany(Case):
    """limits.connections: a newcomer is turned away, what is open goes on, the log says so without
    a line for each."""

    def setUp(self):
        super().setUp()
        self.lab.gateway_config["limits"]["connections"] = 3
        self.lab.reload()
        self.began = self.lab.gateway.mark()

    def test_the_gateway_turns_newcomers_away_and_says_so_in_few_lines(self):
        held = [self.channel(), self.channel()]  # with the witness: three
        for _ in range(200):
            with lab.connect(self.lab.address) as sock:
                self.assertEqual(sock.recv(1), b"")
        self.witness.send(b"undisturbed?")
        self.assertEqual(self.witness.recv(), b"undisturbed?")
        line = self.lab.gateway.wait("limit", since=self.began)
        self.assertIn("limits.connections (3) is reached", line.message)
        self.assertLess(len(self.lab.gateway.all("limit", since=self.began)), 30)
        for client in held:
            client.close()
        self.lab.gateway.wait_count("tunnel_closed", 2, since=self.began)
        self.check_undisturbed()

    def test_the_agent_turns_applications_away_and_says_so_in_few_lines(self):
        self.lab.gateway_config["limits"]["connections"] = 1000
        self.lab.reload()
        self.lab.agent_config["limits"] = {"connections": 2}
        self.lab.start_agent()
        door = self.lab.doors[0]
        held = [lab.connect(door), lab.connect(door)]
        for _ in range(200):
            with lab.connect(door) as sock:
                sock.sendall(b"CONNECT a.example:1 HTTP/1.1\r\nHost: a.example:1\r\n\r\n")
                self.assertIn(b"HTTP/1.1 503 ", sock.recv(100))
        with lab.connect(door) as sock:  # one that says nothing is told, too
            self.assertIn(b"HTTP/1.1 503 ", sock.recv(100))
        crowd = [lab.connect(door) for _ in range(64)]  # AGENT_CLIENT_SURPLUS
        with lab.connect(door) as sock:  # not even an answer, but an end that is no reset
            self.assertEqual(b"", sock.recv(100))
        for sock in crowd:
            sock.close()
        line = self.lab.agent.wait("limit")
        self.assertIn("limits.connections (2) is reached", line.message)
        self.assertLess(len(self.lab.agent.all("limit")), 30)
        for sock in held:
            sock.close()
        self.check_undisturbed()


class Resets(Case):
    def test_a_reset_at_any_point_of_the_handshake_disturbs_nobody(self):
        hello = tls.client_hello(tls.host_name(self.name))
        linger = struct.pack("ii", 1, 0)
        cuts = [0, 1, 4, 5, 6, 40, len(hello) - 1, len(hello)]
        for cut in cuts:
            sock = lab.connect(self.lab.address)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            sock.sendall(hello[:cut])
            if cut == len(hello):
                tls.answer_to(sock)
            sock.close()
        self.lab.gateway.wait_count("tunnel", len(cuts), lambda e: e.action == "block",
                                    self.began)
        self.check_undisturbed()

    def test_a_connection_cut_after_any_number_of_bytes_disturbs_nobody(self):
        """A relay lets so many bytes through each way, then resets both sides."""
        generator = random.Random(20261121)
        for _ in range(40):
            relay = CuttingRelay(self.lab.address, generator.randrange(0, 6000))
            try:
                with tls.Client(relay.address, self.name, tls.context(self.cert),
                                timeout=5) as client:
                    client.connect(self.echo)
                    for _ in range(20):
                        client.send(b"x" * 500)
                        client.recv()
            except (OSError, AssertionError, IndexError, ValueError):
                pass
            relay.close()
        self.check_undisturbed()

    def test_http2_connections_reset_with_channels_open_leave_nothing_behind(self):
        for _ in range(10):
            h2 = self.h2()
            for stream in range(1, 41, 2):
                h2.send(h2raw.frame(h2raw.HEADERS, h2raw.END_HEADERS, stream,
                                    h2raw.connect_fields(self.echo)))
            self.assertEqual(h2.answer(1), 200)
            raw = h2.client.sock
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raw.close()
        # How many requests were read before the reset is chance; each has its line at the end.
        ends = self.lab.gateway.wait_count("tunnel_closed", 10, since=self.began)
        begun = sum(e.channels for e in ends)
        self.assertGreater(begun, 10)
        channels = self.lab.gateway.wait_count("channel", begun, since=self.began)
        self.assertEqual({e.how for e in channels}, {"tunnel_lost"})
        self.check_undisturbed()
        base = self.lab.gateway.open_files()
        self.assertLess(base, 60)


class Doors(lab.LabCase):
    """The agent's HTTP door against broken applications."""

    def setUp(self):
        super().setUp()
        self.lab.start()

    def asked(self, data):
        with lab.connect(self.lab.doors[0]) as sock:
            sock.sendall(data)
            answer, end = tls.read_to_end(sock)
            self.assertNotEqual(end, "timeout")
            return int(answer.split()[1]) if answer else 0

    def test_doubtful_requests_are_400_at_the_door_too(self):
        host = b"Host: a.example:443\r\n"
        for request in (b"CONNECT a.example:88947 HTTP/1.1\r\n" + host,
                        b"CONNECT a.example:443 HTTP/1.1\r\n" + host + host,
                        b"CONNECT u@a.example:443 HTTP/1.1\r\n" + host,
                        b"CONNECT a.example:443 HTTP/1.1\r\n" + host +
                        b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
                        b"garbage\r\n"):
            with self.subTest(request[:40]):
                self.assertEqual(self.asked(request + b"\r\n"), 400)
        self.assertEqual(self.asked(b"CONNECT a.example:443 HTTP/1.1\r\nX: " + b"a" * 70000), 431)
        self.assertEqual(self.asked(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"), 421)
        self.assertEqual(self.asked(b"GET https://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n"),
                         501)

    def test_a_tls_handshake_to_a_door_is_answered_as_the_garbage_it_is(self):
        self.assertIn(self.asked(tls.client_hello(tls.host_name("x.example"))), (0, 400))

    def test_two_hundred_silent_applications_hold_nobody_up(self):
        socks = [lab.connect(self.lab.doors[0]) for _ in range(200)]
        for sock in socks:
            self.addCleanup(sock.close)
        with origin.Origin() as server:
            target = lab.format_address(server.start(origin.echo))
            with lab.connect(self.lab.doors[0]) as sock:
                sock.sendall(("CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (target, target))
                             .encode())
                self.assertIn(b" 200 ", sock.recv(4096))


class CuttingRelay:
    def __init__(self, to, after):
        self.to, self.left = to, after
        self.lock = threading.Lock()
        self.server = socket.create_server(("127.0.0.1", 0))
        self.address = self.server.getsockname()[:2]
        self.threads = [threading.Thread(target=self._run, daemon=True)]
        self.threads[0].start()
        self.socks = []

    def _run(self):
        down, _ = self.server.accept()
        up = socket.create_connection(self.to)
        self.socks = [down, up]
        for sock in self.socks:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if not self.left:
            self._cut()
            return
        for a, b in ((down, up), (up, down)):
            thread = threading.Thread(target=self._pump, args=(a, b), daemon=True)
            thread.start()
            self.threads.append(thread)

    def _pump(self, source, sink):
        try:
            while data := source.recv(4096):
                with self.lock:
                    part = data[:self.left]
                    self.left -= len(part)
                    sink.sendall(part)
                    if self.left == 0:
                        break
        except OSError:
            pass
        self._cut()

    def _cut(self):
        for sock in self.socks:
            try:
                sock.shutdown(socket.SHUT_RD)  # wakes the other thread
            except OSError:
                pass
            sock.close()

    def close(self):
        self.threads[0].join(5)
        self._cut()
        self.server.close()


if __name__ == "__main__":
    lab.main()
