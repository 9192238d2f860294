#!/usr/bin/env python3
"""The doors of the agent, with the clients that people use: socks5, mixed, http."""

import asyncio
import gzip
import hashlib
import http.client
import os
import shutil
import socket
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import lab
import origin

HELLO = b"\x05\x01\x00"


def socks_name(name, port):
    return b"\x05\x01\x00\x03" + bytes([len(name)]) + name + struct.pack(">H", port)


def socks_address(address, port, command=1):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return (bytes([5, command, 0, 4 if ":" in address else 1]) + socket.inet_pton(family, address) +
            struct.pack(">H", port))


def read_to_end(sock):
    data = b""
    try:
        while more := sock.recv(65536):
            data += more
    except ConnectionResetError:
        data += b"<reset>"
    return data


def receive(sock, count):
    data = b""
    while len(data) < count:
        more = sock.recv(count - len(data))
        if not more:
            raise AssertionError("the end after %r" % data)
        data += more
    return data


def receive_until(sock, end):
    data = b""
    while not data.endswith(end):
        data += receive(sock, 1)
    return data


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class Recorder:
    """An origin that remembers every connection and every byte."""

    def __init__(self, own):
        self.connections = 0
        self.bytes = b""
        self.address = own.start(self._serve)

    async def _serve(self, reader, _writer):
        self.connections += 1
        while data := await reader.read(65536):
            self.bytes += data


class Case(lab.LabCase):
    doors = [{"type": "http", "listen": "127.0.0.1:0"}]

    def setUp(self):
        super().setUp()
        self.lab.agent_config["doors"] = [dict(door) for door in self.doors]
        self.origin = origin.Origin()
        self.addCleanup(self.origin.close)
        self.echo = self.origin.start(origin.echo)

    def door(self, index=0):
        return self.lab.doors[index]

    def connect(self, index=0):
        sock = lab.connect(self.door(index))
        self.addCleanup(sock.close)
        return sock

    def check_echo(self, sock, text=b"is anybody there?"):
        sock.sendall(text)
        self.assertEqual(receive(sock, len(text)), text)

    def curl(self, *args, **more):
        return lab.run("curl", "--silent", "--show-error", "--max-time", str(int(20 * lab.SLOW)),
                       *args, **more)


class Socks(Case):
    doors = [{"type": "socks5", "listen": "127.0.0.1:0"}]

    def ask(self, request, greeting=HELLO):
        """All of it at once: the methods' answer, the reply's code, the socket."""
        sock = self.connect()
        sock.sendall(greeting + request)
        self.assertEqual(receive(sock, 2), b"\x05\x00")
        reply = receive(sock, 10)
        self.assertEqual(reply[:1] + reply[2:], b"\x05\x00\x01" + bytes(6))
        return reply[1], sock

    def test_names_and_addresses_of_both_families_lead_to_the_origin(self):
        self.lab.start()
        host, port = self.echo
        six = self.origin.start(origin.echo, "::1")
        for request in (socks_name(host.encode(), port), socks_address(host, port),
                        socks_address("::1", six[1])):
            code, sock = self.ask(request)
            self.assertEqual(code, 0)
            self.check_echo(sock)

    def test_bytes_behind_the_request_go_first_and_none_is_lost(self):
        self.lab.start()
        early = os.urandom(30000)
        code, sock = self.ask(socks_address(*self.echo) + early)
        self.assertEqual(code, 0)
        late = os.urandom(30000)
        threading.Thread(target=sock.sendall, args=(late,)).start()
        self.assertEqual(receive(sock, 60000), early + late)

    def test_a_conversation_byte_by_byte(self):
        self.lab.start()
        sock = self.connect()
        for byte in HELLO + socks_address(*self.echo):
            sock.sendall(bytes([byte]))
        self.assertEqual(receive(sock, 12)[:4], b"\x05\x00\x05\x00")
        self.check_echo(sock)

    def test_a_name_is_resolved_at_the_far_side_and_the_log_names_it(self):
        self.lab.tenants[self.lab.a]["egress"]["allow"].append("localhost:*")
        self.lab.start()
        done = self.curl("--socks5-hostname", "%s:%d" % self.door(),
                         "http://localhost:%d/" % free_port())
        self.assertNotEqual(done.returncode, 0)
        line = self.lab.agent.wait("channel")
        self.assertEqual(line.door, "socks5")
        self.assertTrue(line.destination.startswith("localhost:"))

    def test_each_refusal_has_its_code(self):
        self.lab.tenants[self.lab.a]["egress"]["allow"] += ["no-such-name.invalid:*"]
        self.lab.start()
        for request, code in ((socks_address("192.0.2.1", 80), 2),
                              (socks_name(b"no-such-name.invalid", 80), 4),
                              (socks_address("127.0.0.1", free_port()), 5),
                              (socks_address("127.0.0.1", 80, command=2), 7),
                              (socks_address("127.0.0.1", 80, command=3), 7),
                              (b"\x05\x01\x00\x09", 8),
                              (socks_address("127.0.0.1", 0), 1),
                              (socks_name(b"a\0b.example", 80), 1),
                              (b"\x05\x01\x00\x03\x00\x00\x50", 1)):
            with self.subTest(request):
                mark = self.lab.agent.mark()
                got, sock = self.ask(request)
                self.assertEqual(got, code)
                self.assertEqual(read_to_end(sock), b"")
                line = self.lab.agent.wait("channel", since=mark)
                self.assertEqual((line.how, line.door), ("refused", "socks5"))
                self.assertTrue(line.detail)

    def test_a_destination_that_does_not_answer_is_code_6(self):
        self.lab.gateway_config["limits"] = {"dial_ms": 300}
        self.lab.tenants[self.lab.a]["egress"]["allow"] += ["192.0.2.0/24:*"]
        with socket.socket() as full:  # a queue that is full answers no more
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            fillers = []
            for _ in range(3):
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(full.getsockname())
                fillers.append(filler)
            self.lab.start()
            code, _ = self.ask(socks_address(*full.getsockname()))
            self.assertEqual(code, 6)
            for filler in fillers:
                filler.close()

    def test_without_a_tunnel_the_network_is_unreachable(self):
        self.lab.agent_config["limits"] = {"wait_ms": 200}
        self.lab.address = ("127.0.0.1", free_port())
        self.lab.start_agent(wait_up=False)
        code, _ = self.ask(socks_address(*self.echo))
        self.assertEqual(code, 3)

    def test_what_is_malformed_passes_nothing_on(self):
        self.lab.start()
        recorder = Recorder(self.origin)
        port = recorder.address[1]
        to = socks_address("127.0.0.1", port)
        table = [
            (b"\x04\x01" + struct.pack(">H", port) + b"\x7f\0\0\x01\0", b"\x00\x5b" + bytes(6)),
            (b"\x06\x01\x00" + to, b""),
            (b"GET http://127.0.0.1:%d/ HTTP/1.1\r\n\r\n" % port, b""),
            (b"\x05\x00" + to, b"\x05\xff"),
            (b"\x05\x01\x02" + to, b"\x05\xff"),
            (b"\x05\xff" + b"\x01" * 255 + to, b"\x05\xff"),
            (HELLO + b"\x04" + to[1:], b"\x05\x00\x05\x01\x00\x01" + bytes(6)),
            (HELLO + b"\x05\x01\x01" + to[3:], b"\x05\x00\x05\x01\x00\x01" + bytes(6)),
        ]
        for sent, answer in table:
            with self.subTest(sent[:20]):
                sock = self.connect()
                sock.sendall(sent)
                self.assertEqual(read_to_end(sock), answer)
        for sent in (b"\x05", HELLO, HELLO + to[:-1]):
            with self.subTest(cut=sent):
                sock = self.connect()
                sock.sendall(sent)
                sock.shutdown(socket.SHUT_WR)
                self.assertIn(read_to_end(sock), (b"", b"\x05\x00", b"\x05\x00<reset>"))
        code, sock = self.ask(to + b"this one")
        self.assertEqual(code, 0)
        lab.until(lambda: recorder.bytes == b"this one", what="the good one")
        self.assertEqual(recorder.connections, 1)

    def test_a_slow_drip_meets_the_deadline(self):
        self.lab.start()
        sock = self.connect()
        begun = time.monotonic()
        message = HELLO + socks_name(b"a" * 60 + b".example", 80)
        answer = b""
        for byte in message:
            try:
                sock.sendall(bytes([byte]))
            except OSError:
                break
            sock.settimeout(0.7)
            try:
                answer += sock.recv(100)
            except TimeoutError:
                pass
            except ConnectionResetError:
                break
            if len(answer) > 2 or time.monotonic() - begun > 25 * lab.SLOW:
                break
        self.assertEqual(answer[:4], b"\x05\x00\x05\x01")
        self.assertLess(time.monotonic() - begun, 15 * lab.SLOW)
        self.assertEqual(self.lab.agent.wait("channel").status, 408)


class SocksUsers(Case):
    doors = [{"type": "socks5", "listen": "127.0.0.1:0", "users_file": "users"}]

    def setUp(self):
        super().setUp()
        self.write_users("alice:secret\nbob:pass word\n")

    def write_users(self, text):
        path = self.lab.file("users")
        with open(path, "w", encoding="ascii") as out:
            out.write(text)
        os.chmod(path, 0o600)

    def login(self, user, password):
        sock = self.connect()
        sock.sendall(b"\x05\x02\x00\x02\x01" + bytes([len(user)]) + user + bytes([len(password)]) +
                     password + socks_address(*self.echo))
        self.assertEqual(receive(sock, 2), b"\x05\x02")
        return receive(sock, 2), sock

    def test_who_is_known_gets_through_and_nobody_else(self):
        self.lab.start()
        answer, sock = self.login(b"bob", b"pass word")
        self.assertEqual(answer, b"\x01\x00")
        self.assertEqual(receive(sock, 10)[1], 0)
        self.check_echo(sock)
        for user, password in ((b"bob", b"secret"), (b"mallory", b"secret"), (b"alice", b"secre")):
            mark = self.lab.agent.mark()
            answer, sock = self.login(user, password)
            self.assertEqual(answer, b"\x01\x01")
            self.assertEqual(read_to_end(sock), b"")
            self.assertEqual(self.lab.agent.wait("channel", since=mark).status, 407)
        sock = self.connect()
        sock.sendall(HELLO)
        self.assertEqual(read_to_end(sock), b"\x05\xff")
        self.assertNotIn("secret", "\n".join(self.lab.agent.all_lines()))

    def test_curl_with_user_and_password(self):
        nginx = origin.Nginx(self.lab.pki)
        self.addCleanup(nginx.close)
        self.lab.start()
        url = "http://%s:%d/hello" % nginx.http
        good = self.curl("--proxy", "socks5h://%s:%d" % self.door(), "--proxy-user", "alice:secret",
                         url)
        self.assertEqual(good.stdout, "hello from the origin\n", good.stderr)
        bad = self.curl("--proxy", "socks5h://%s:%d" % self.door(), "--proxy-user", "alice:wrong",
                        url)
        self.assertEqual(bad.returncode, 97, bad.stderr)

    def test_a_reload_takes_the_users_as_they_are_now(self):
        self.lab.agent_config["doors"][0]["listen"] = "127.0.0.1:%d" % free_port()
        self.lab.start()
        self.write_users("carol:third\n")
        mark = self.lab.agent.mark()
        self.lab.agent.signal(1)
        self.assertTrue(self.lab.agent.wait("reload", since=mark).ok)
        self.assertEqual(self.login(b"alice", b"secret")[0], b"\x01\x01")
        self.assertEqual(self.login(b"carol", b"third")[0], b"\x01\x00")
        os.chmod(self.lab.file("users"), 0o644)
        mark = self.lab.agent.mark()
        self.lab.agent.signal(1)
        event = self.lab.agent.wait("reload", since=mark)
        self.assertFalse(event.ok)
        self.assertIn("can be read by others", event.error)
        self.assertEqual(self.login(b"carol", b"third")[0], b"\x01\x00")


class Mixed(Case):
    doors = [{"type": "mixed", "listen": "127.0.0.1:0"}]

    def test_both_protocols_on_one_port_with_real_clients(self):
        nginx = origin.Nginx(self.lab.pki)
        self.addCleanup(nginx.close)
        self.lab.start()
        url = "https://localhost:%d/hello" % nginx.https[1]
        more = ("--cacert", nginx.ca.pem, "--resolve", "localhost:%d:127.0.0.1" % nginx.https[1])
        door = "%s:%d" % self.door()
        for proxy in (("--socks5", door), ("--proxy", "http://" + door, "--proxytunnel"),
                      ("--proxy", "socks5://" + door)):
            done = self.curl(*proxy, *more, url.replace("localhost", "127.0.0.1")
                             if "--proxytunnel" in proxy else url)
            self.assertEqual(done.stdout, "hello from the origin\n", done.stderr)
        # curl 7.88 resolves for socks4 itself
        done = self.curl("--socks4", door, *more, url)
        self.assertNotEqual(done.returncode, 0)
        line = self.lab.agent.wait("channel", lambda e: e.how == "refused")
        self.assertIn("SOCKS4", line.detail)
        self.assertEqual({e.door for e in self.lab.agent.all("channel")}, {"socks5", "http"})

    def test_neither_is_told_apart_by_more_than_the_first_byte(self):
        self.lab.start()
        sock = self.connect()
        for byte in b"CONNECT %s:%d HTTP/1.1\r\nHost: x\r\n\r\n".replace(b"x", b"%s:%d") % (
                (self.echo[0].encode(), self.echo[1]) * 2):
            sock.sendall(bytes([byte]))
        self.assertTrue(receive(sock, 12).startswith(b"HTTP/1.1 200"))


class Limits(Case):
    doors = [{"type": "mixed", "listen": "127.0.0.1:0"}]

    def test_past_the_limit_a_newcomer_is_told_in_its_own_protocol_and_the_log_says_so(self):
        self.lab.agent_config["limits"] = {"connections": 3}
        self.lab.start()
        held = [self.connect() for _ in range(3)]
        target = "%s:%d" % self.echo
        connect = ("CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (target, target)).encode()
        held[0].sendall(connect)
        receive(held[0], len("HTTP/1.1 200 Connection established\r\n\r\n"))
        sock = self.connect()
        sock.sendall(connect)
        answer = read_to_end(sock)
        self.assertTrue(answer.startswith(b"HTTP/1.1 503"), answer)
        self.assertIn(b"error=connection_limit_reached", answer)
        sock = self.connect()
        sock.sendall(HELLO + socks_address(*self.echo))
        self.assertEqual(read_to_end(sock)[:4], b"\x05\x00\x05\x01")
        silent = self.connect()
        begun = time.monotonic()
        read_to_end(silent)
        self.assertLess(time.monotonic() - begun, 4 * lab.SLOW)
        self.assertIn("limits.connections (3)", self.lab.agent.wait("limit").message)
        self.check_echo(held[0])
        held[1].close()
        held[2].close()

        def one_more():
            sock = self.connect()
            sock.sendall(connect)
            return receive(sock, 12) == b"HTTP/1.1 200"
        lab.until(one_more, what="room again")

    def test_ten_thousand_idle_and_half_open_connections_starve_no_open_channel(self):
        self.lab.agent_config["limits"] = {"connections": 4000}
        self.lab.start()
        talker = self.connect()
        target = "%s:%d" % self.echo
        connect = ("CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (target, target)).encode()
        talker.sendall(connect)
        receive_until(talker, b"\r\n\r\n")
        pieces = (b"", b"\x05", HELLO, connect[:-1], b"GET http://x.example/ HT")
        flood = []
        slowest = 0
        for i in range(10000):
            sock = socket.create_connection(self.door())
            flood.append(sock)
            sock.sendall(pieces[i % len(pieces)])
            if i % 100 == 0:
                begun = time.monotonic()
                self.check_echo(talker)
                slowest = max(slowest, time.monotonic() - begun)
        self.assertLess(slowest, 1 * lab.SLOW)
        self.assertIn("limits.connections (4000)", self.lab.agent.wait("limit").message)
        for sock in flood:
            sock.close()
        self.check_echo(talker)
        self.assertLess(len(self.lab.agent.all("limit")), 100)


class Web:
    """An HTTP/1.1 origin that remembers each request as it came. Answers by path:

    /echo    the body that came, chunked if it came so
    /size    how many bytes the body had, with their SHA-256
    /chunked, /close, /204, /304, /gzip, /early, /trailers, /slow
    """

    def __init__(self, own):
        self.connections = 0
        self.heads = []
        self.gate = threading.Event()
        self.own = own
        self.address = own.start(self._serve)
        self.url = "http://%s:%d" % self.address

    async def _body(self, reader, head):
        headers = {k.lower(): v for k, v in head[1:]}
        if headers.get("transfer-encoding") == "chunked":
            while size := int((await reader.readline()).split(b";")[0], 16):
                yield await reader.readexactly(size)
                await reader.readline()
            while (await reader.readline()).strip():
                pass
        else:
            left = int(headers.get("content-length", 0))
            while left:
                data = await reader.read(min(left, 65536))
                if not data:
                    raise ConnectionResetError
                left -= len(data)
                yield data

    async def _serve(self, reader, writer):
        self.connections += 1
        while True:
            try:
                raw = await reader.readuntil(b"\r\n\r\n")
            except (EOFError, ConnectionError):
                return
            lines = raw.decode("latin-1").split("\r\n")[:-2]
            head = [tuple(lines[0].split(" "))] + [tuple(line.split(": ", 1)) for line in lines[1:]]
            self.heads.append(head)
            if not await self._answer(reader, writer, head):
                return

    async def _answer(self, reader, writer, head):
        method, path, version = head[0]
        headers = {k.lower(): v for k, v in head[1:]}
        if headers.get("expect") == "100-continue" and path != "/early":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if path == "/early":
            writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno\n")
            await writer.drain()
            return False
        if path == "/ws":
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
                         b"Upgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\nhello")
            await origin.echo(reader, writer)
            return False
        body, digest = b"", hashlib.sha256()
        size = 0
        async for data in self._body(reader, head):
            digest.update(data)
            size += len(data)
            if path == "/echo":
                body += data
        if path == "/size":
            body = b"%d %s\n" % (size, digest.hexdigest().encode())
        if path == "/gzip":
            body = gzip.compress(b"squeezed " * 1000)
        if path == "/204":
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        elif path == "/304":
            writer.write(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n")
        elif path in ("/chunked", "/trailers"):
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for i in range(100):
                writer.write(b"%x;x=y\r\n%s\r\n" % (i + 1, b"c" * (i + 1)))
                await writer.drain()
            writer.write(b"0\r\n" + (b"X-Sum: 5050\r\n" if path == "/trailers" else b"") + b"\r\n")
        elif path == "/close":
            writer.write(b"HTTP/1.1 200 OK\r\n\r\nuntil the end\n")
            await writer.drain()
            return False
        elif path == "/cut":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nnot all")
            await writer.drain()
            return False
        elif path == "/reset":
            writer.write(b"HTTP/1.1 200 OK\r\n\r\nnot all")
            await writer.drain()
            while not self.gate.is_set():
                await asyncio.sleep(0.01)
            origin._linger_zero(writer)
            writer.transport.abort()
            return False
        elif path == "/nothing":
            return False
        elif path == "/bye":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbye\n")
            await writer.drain()
            return False
        elif path.startswith("/raw?"):
            writer.write(bytes.fromhex(path[5:]))
            await writer.drain()
            return False
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n" % (
                len(body), b"Content-Encoding: gzip\r\n" if path == "/gzip" else b""))
            if method != "HEAD":
                writer.write(body)
        await writer.drain()
        return version == "HTTP/1.1" and headers.get("connection") != "close"


class PlainCase(Case):
    def setUp(self):
        super().setUp()
        self.web = Web(self.origin)
        self.lab.start()

    def proxy(self, *args, **more):
        return self.curl("--proxy", "http://%s:%d" % self.door(), *args, **more)

    def raw(self, data, shut=False):
        """All that the door says until it closes."""
        sock = self.connect()
        sock.sendall(data)
        if shut:
            sock.shutdown(socket.SHUT_WR)
        return read_to_end(sock)

    def get(self, path, *headers, method="GET", version="1.1"):
        return ("%s %s%s HTTP/%s\r\n%s\r\n" % (
            method, self.web.url, path, version,
            "".join(h + "\r\n" for h in ("Host: other.example",) + headers))).encode()


class PlainClients(PlainCase):
    """Programs that people use."""

    def test_curl_with_every_method_and_kind_of_body(self):
        big = self.lab.write("big", os.urandom(10 * 1024 * 1024))
        with open(big, "rb") as source:
            wanted = "%d %s\n" % (10 << 20, hashlib.sha256(source.read()).hexdigest())
        size = self.web.url + "/size"
        for name, args, answer in (
                ("get", (self.web.url + "/chunked",), "c" * 5050),
                ("until the end", (self.web.url + "/close",), "until the end\n"),
                ("post with length", ("--data-binary", "@" + big, size), wanted),
                ("post in chunks", ("--data-binary", "@" + big, "-H", "Transfer-Encoding: chunked",
                                    size), wanted),
                ("post that expects", ("--data-binary", "@" + big, "-H", "Expect: 100-continue",
                                       size), wanted),
                ("put that expects", ("--upload-file", big, "-H", "Expect: 100-continue", size),
                 wanted),
                ("delete", ("-X", "DELETE", self.web.url + "/size"),
                 "0 %s\n" % hashlib.sha256().hexdigest()),
                ("unknown", ("-X", "BREW", "--data", "tea", self.web.url + "/echo"), "tea"),
                ("1.0", ("--http1.0", self.web.url + "/echo", "--data", "old"), "old"),
                ("nothing", (self.web.url + "/204",), "")):
            with self.subTest(name):
                done = self.proxy("--fail", *args)
                self.assertEqual((done.returncode, done.stdout), (0, answer), done.stderr)
        head = self.proxy("--head", self.web.url + "/echo")
        self.assertRegex(head.stdout, "^HTTP/1.1 200 OK\n")
        self.assertIn("Via: 1.1 sallyport-agent", head.stdout)

    def test_what_the_origin_packed_is_not_touched(self):
        out = os.path.join(self.lab.folder, "out")
        done = self.proxy("--output", out, "-H", "Accept-Encoding: gzip", self.web.url + "/gzip")
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(out, "rb") as source:
            self.assertEqual(source.read(), gzip.compress(b"squeezed " * 1000))

    def test_a_hundred_requests_take_one_connection_and_one_channel(self):
        done = self.proxy("--fail", *["%s/echo?%d" % (self.web.url, i) for i in range(100)],
                          "--write-out", "%{num_connects}")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout, "1" + "0" * 99)
        self.assertEqual((self.web.connections, len(self.web.heads)), (1, 100))

    def test_wget_and_nginx(self):
        nginx = origin.Nginx(self.lab.pki)
        self.addCleanup(nginx.close)
        content = os.urandom(3000000)
        nginx.file("file", content)
        out = os.path.join(self.lab.folder, "out")
        url = "http://%s:%d/" % nginx.http
        done = lab.run("wget", "-q", "-O", out, "-e", "use_proxy=yes", "-e",
                       "http_proxy=http://%s:%d/" % self.door(), url + "hello", url + "file")
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(out, "rb") as source:
            self.assertEqual(source.read(), b"hello from the origin\n" + content)
        part = self.proxy("--range", "1000-1999", "--output", out, url + "file")
        self.assertEqual(part.returncode, 0, part.stderr)
        with open(out, "rb") as source:
            self.assertEqual(source.read(), content[1000:2000])

    def test_python_and_node(self):
        client = http.client.HTTPConnection(*self.door(), timeout=10)
        self.addCleanup(client.close)
        for i in range(3):
            body = os.urandom(100000 * i + 1)
            client.request("POST", self.web.url + "/echo", body=body)
            answer = client.getresponse()
            self.assertEqual((answer.status, answer.read()), (200, body))
        client.request("POST", self.web.url + "/echo", body=iter([b"in ", b"pieces"]),
                       encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
        self.assertEqual(client.getresponse().read(), b"in pieces")
        node = shutil.which("node")
        if not node:
            self.skipTest("node is not installed")
        done = lab.run(node, "-e", """
            const http = require('http');
            const agent = new http.Agent({keepAlive: true, maxSockets: 1});
            const one = (i) => i === 10 ? agent.destroy() : http.request(
              {host: '%s', port: %d, path: '%s/echo', method: 'POST', agent},
              (r) => { let s = ''; r.on('data', (d) => s += d);
                       r.on('end', () => { console.log(r.statusCode, s); one(i + 1); }); })
              .end('number ' + i);
            one(0);""" % (*self.door(), self.web.url))
        self.assertEqual(done.stdout, "".join("200 number %d\n" % i for i in range(10)), done.stderr)

    def test_a_refused_destination_has_the_answer_of_connect(self):
        done = self.proxy("--dump-header", "-", "http://192.0.2.1/")
        self.assertRegex(done.stdout, "^HTTP/1.1 403 ")
        self.assertRegex(done.stdout, "Proxy-Status: sallyport-agent; error=")
        line = self.lab.agent.wait("channel", lambda e: e.how == "refused")
        self.assertEqual((line.destination, line.status, line.door), ("192.0.2.1:80", 403, "http"))
        done = self.proxy("--dump-header", "-", "http://127.0.0.1:%d/" % free_port())
        self.assertRegex(done.stdout, "^HTTP/1.1 502 ")
        self.assertRegex(done.stdout, "error=connection_refused")
        head = self.proxy("--head", "http://192.0.2.1/")
        self.assertTrue(head.stdout.endswith('"\n\n'), head.stdout)
        self.lab.stop(self.lab.gateway)
        done = self.proxy("--dump-header", "-", self.web.url + "/echo")
        self.assertRegex(done.stdout, "^HTTP/1.1 50[34] ")


class PlainHeads(PlainCase):
    """What the origin and the application get to see."""

    def test_host_is_that_of_the_url_and_hops_are_left_out(self):
        self.raw(self.get("/echo?a=b", "Connection: close, X-Hop", "X-Hop: 1", "X-End: 2",
                          "Proxy-Connection: keep-alive", "Keep-Alive: 5", "TE: trailers",
                          "Proxy-Authorization: Basic eA==", "Upgrade: websocket",
                          "Accept-Encoding: gzip"))
        head = self.web.heads[0]
        self.assertEqual(head, [("GET", "/echo?a=b", "HTTP/1.1"),
                                ("Host", "%s:%d" % self.web.address), ("X-End", "2"),
                                ("Accept-Encoding", "gzip"), ("Via", "1.1 sallyport-agent")])

    def test_urls_without_a_path(self):
        base = self.web.url.encode()
        for request, path in ((b"GET " + base, "/"), (b"GET " + base + b"?q=1", "/?q=1"),
                              (b"OPTIONS " + base, "*"), (b"OPTIONS " + base + b"/", "/"),
                              (b"GET " + base.replace(b"http", b"HTTP"), "/")):
            with self.subTest(request):
                self.raw(request + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                self.assertEqual(self.web.heads[-1][0][1], path)

    def test_an_old_client_gets_an_answer_it_understands_and_the_end(self):
        answer = self.raw(self.get("/bye", version="1.0"))
        self.assertRegex(answer, b"(?s)^HTTP/1.1 200 OK\r\n.*Connection: close\r\n.*\r\n\r\nbye\n$")
        self.assertEqual(self.web.heads[0][0][2], "HTTP/1.0")

    def test_heads_without_bodies_leave_the_connection_in_step(self):
        answer = self.raw(self.get("/size", method="HEAD") + self.get("/304") + self.get("/204") +
                          self.get("/trailers") + self.get("/bye", "Connection: close"))
        self.assertEqual([line for line in answer.split(b"\r\n") if line.startswith(b"HTTP/")],
                         [b"HTTP/1.1 200 OK", b"HTTP/1.1 304 Not Modified",
                          b"HTTP/1.1 204 No Content", b"HTTP/1.1 200 OK", b"HTTP/1.1 200 OK"])
        self.assertIn(b"0\r\nX-Sum: 5050\r\n\r\n", answer)
        self.assertTrue(answer.endswith(b"bye\n"))
        self.assertEqual(self.web.connections, 1)

    def test_a_websocket_is_relayed_both_ways_to_its_end(self):
        sock = self.connect()
        sock.sendall(self.get("/ws", "Connection: keep-alive, Upgrade", "Upgrade: websocket",
                              "Sec-WebSocket-Key: x") + b"early")
        head = receive_until(sock, b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 101 "), head)
        self.assertIn(b"Connection: Upgrade\r\nUpgrade: websocket\r\n", head)
        self.assertEqual(receive(sock, 10), b"helloearly")
        data = os.urandom(3000000)
        threading.Thread(target=sock.sendall, args=(data,)).start()
        self.assertEqual(receive(sock, len(data)), data)
        sock.shutdown(socket.SHUT_WR)
        self.assertEqual(sock.recv(1), b"")
        self.assertIn(("Upgrade", "websocket"), self.web.heads[0])
        self.lab.agent.wait("channel", lambda e: e.how == "done" and e.bytes_up > 3000000)

    def test_an_upgrade_to_http2_is_not_asked_for(self):
        self.raw(self.get("/bye", "Connection: close, Upgrade, HTTP2-Settings", "Upgrade: h2c",
                          "HTTP2-Settings: AAMAAABkAAQAAP__"))
        self.assertEqual([k for k, _ in self.web.heads[0][1:]], ["Host", "Via"])


class PlainEnds(PlainCase):
    """Connections that end when they should, or should not."""

    def test_a_kept_channel_that_the_origin_closed_does_no_harm(self):
        sock = self.connect()
        for _ in range(5):
            sock.sendall(self.get("/bye"))
            self.assertTrue(receive_until(sock, b"bye\n").startswith(b"HTTP/1.1 200"))
        self.assertEqual(self.web.connections, 5)

    def test_a_request_that_met_a_closing_channel_is_sent_again_on_another(self):
        """The origin closes at the very moment that the second request comes."""
        requests = []

        async def closing(reader, writer):
            requests.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbye\n")
            await writer.drain()
            requests.append(await reader.readuntil(b"\r\n\r\n"))
        address = self.origin.start(closing)
        request = b"GET http://%s:%d/ HTTP/1.1\r\nHost: x\r\n\r\n" % (address[0].encode(), address[1])
        sock = self.connect()
        sock.sendall(request)
        self.assertTrue(receive_until(sock, b"bye\n").startswith(b"HTTP/1.1 200"))
        sock.sendall(request)
        self.assertTrue(receive_until(sock, b"bye\n").startswith(b"HTTP/1.1 200"))
        self.assertEqual(len(requests), 3)

    def test_a_post_takes_no_channel_that_may_be_closing(self):
        answer = self.raw(self.get("/echo") +
                          self.get("/echo", "Content-Length: 2", "Connection: close",
                                   method="POST") + b"hi")
        self.assertTrue(answer.endswith(b"hi"))
        self.assertEqual(self.web.connections, 2)

    def test_an_answer_that_is_cut_short_is_cut_short_for_the_application(self):
        for path in ("/cut", "/reset"):
            with self.subTest(path):
                sock = self.connect()
                self.web.gate.clear()
                sock.sendall(self.get(path))
                receive_until(sock, b"not all")
                self.web.gate.set()
                self.assertEqual(read_to_end(sock), b"<reset>")
        answer = self.raw(self.get("/nothing"))
        self.assertRegex(answer, b"^HTTP/1.1 502 ")
        self.assertIn(b"error=connection_terminated", answer)

    def test_an_early_answer_is_passed_on_while_the_body_waits(self):
        sock = self.connect()
        sock.sendall(self.get("/early", "Content-Length: 1000000", "Expect: 100-continue",
                              method="POST"))
        self.assertTrue(receive_until(sock, b"no\n").startswith(b"HTTP/1.1 413"))

    def test_responses_that_can_be_read_in_two_ways_are_502(self):
        ok = b"HTTP/1.1 200 OK\r\n"
        for text in (ok + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                     ok + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
                     ok + b"Content-Length: +1\r\n\r\na",
                     ok + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
                     ok + b"X: a\r\n b\r\n\r\n", ok + b"X : a\r\n\r\n",
                     ok + b"X: a\nY: b\r\n\r\n", ok + b"X: a\0b\r\n\r\n",
                     ok + b"X: " + b"x" * 70000 + b"\r\n\r\n",
                     b"HTTP/1.1 20 OK\r\n\r\n", b"HTTP/2 200\r\n\r\n", b"SSH-2.0-x\r\n\r\n",
                     b"HTTP/1.1 101 Hello\r\nUpgrade: x\r\n\r\n"):
            with self.subTest(text[:60]):
                recorder = self.origin.start(self.replay(text))
                answer = self.raw(b"GET http://%s:%d/ HTTP/1.1\r\nHost: x\r\n\r\n" % (
                    recorder[0].encode(), recorder[1]))
                self.assertRegex(answer, b"^HTTP/1.1 502 ")
                self.assertIn(b"error=http_protocol_error", answer)

    @staticmethod
    def replay(text):
        async def serve(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(text)
            await writer.drain()
            await reader.read(1)
        return serve

    def test_a_slow_reader_slows_the_origin_and_holds_little(self):
        sent = 0

        async def flood(reader, writer):
            nonlocal sent
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            while sent < 100 << 20:
                writer.write(bytes(65536))
                await writer.drain()
                sent += 65536
        address = self.origin.start(flood)
        sock = self.connect()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        before = self.lab.agent.rss_kib()
        sock.sendall(b"GET http://%s:%d/ HTTP/1.1\r\nHost: x\r\n\r\n" % (address[0].encode(),
                                                                         address[1]))
        last = -1
        while last != sent:
            last = sent
            time.sleep(0.5)
        self.assertLess(sent, 60 << 20)
        self.assertLess(self.lab.agent.rss_kib() - before, 10000 * lab.memory_factor())
        total = 0
        while more := sock.recv(1 << 20):
            total += len(more)
        self.assertGreater(total, 100 << 20)

    def test_sigterm_ends_kept_connections_and_lets_a_response_finish(self):
        kept, busy = self.connect(), self.connect()
        kept.sendall(self.get("/echo"))
        receive_until(kept, b"\r\n\r\n")
        gate = threading.Event()

        async def slow(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
            while not gate.is_set():
                await asyncio.sleep(0.01)
            writer.write(b"cd")
            await writer.drain()
            await reader.read(1)
        address = self.origin.start(slow)
        busy.sendall(b"GET http://%s:%d/ HTTP/1.1\r\nHost: x\r\n\r\n" % (address[0].encode(),
                                                                         address[1]))
        receive_until(busy, b"\r\n\r\nab")
        self.lab.agent.signal(15)
        self.lab.agent.wait("draining")
        self.assertEqual(read_to_end(kept), b"")
        gate.set()
        begun = time.monotonic()
        self.assertEqual(read_to_end(busy), b"cd")
        self.assertLess(time.monotonic() - begun, 3 * lab.SLOW)  # not at the end of the drain
        self.assertEqual(self.lab.agent.wait_exit(), 0)
        self.lab.forget(self.lab.agent)


class Smuggling(PlainCase):
    def test_whatever_could_be_read_in_two_ways_is_refused_and_nothing_passed_on(self):
        recorder = Recorder(self.origin)
        url = b"http://%s:%d" % (recorder.address[0].encode(), recorder.address[1])
        line = b"POST " + url + b"/ HTTP/1.1\r\n"
        host = b"Host: x\r\n"
        authority = url[7:]
        table = [
            line + host + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            line + host + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            line + host + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
            line + host + b"Content-Length: 5, 5\r\n\r\nhello",
            line + host + b"Content-Length: +5\r\n\r\nhello",
            line + host + b"Content-Length: 0x5\r\n\r\nhello",
            line + host + b"Content-Length:\r\n\r\n",
            line + host + b"Content-Length: 99999999999999999999\r\n\r\n",
            line + host + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            line + host + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            line + host + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
            line + host + b"Transfer-Encoding: identity\r\n\r\n",
            line + host + b"Transfer-Encoding:\x0bchunked\r\n\r\n",
            line + host + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
            line + host + b"Content-Length : 5\r\n\r\nhello",
            line + host + b"X: a\r\n Content-Length: 5\r\n\r\nhello",
            line + host + b" Content-Length: 5\r\n\r\nhello",
            line + host + b"X: a\nContent-Length: 5\r\n\r\nhello",
            line + host + b"X: a\rContent-Length: 5\r\n\r\nhello",
            line + host + b"X: a\0b\r\n\r\n",
            line.replace(b"\r", b"") + host + b"\r\n",
            line + host + b"Connection: Content-Length\r\nContent-Length: 5\r\n\r\nhello",
            line + host + b"Connection: close, transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n",
            line + host + host + b"\r\n",
            line + b"\r\n",
            b"POST " + url + b"/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"CONNECT " + authority + b" HTTP/1.1\r\nHost: " + authority +
            b"\r\nContent-Length: 5\r\n\r\nhello",
            b"CONNECT " + authority + b" HTTP/1.1\r\nHost: " + authority +
            b"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ]
        for target in (b"http://user@%s/" % authority, b"http://user:pass@%s/" % authority,
                       b"http://@%s/" % authority, b"http://x@%s" % authority,
                       b"http://127.0.0.1:0/", b"http://127.0.0.1:65536/", b"http://127.0.0.1:/",
                       b"http://127.0.0.1:-1/", b"http://127.0.0.1:8 0/", b"http:///x", b"http://",
                       b"http://[fe80::1%25lo]:80/", b"http://[::1%lo]:80/", b"http://::1/",
                       b"http://127.1/", b"http://2130706433/", b"http://0x7f.1/",
                       b"http://" + b"a." * 127 + b"example/", b"http://a..b/", b"http://a b/",
                       b"http://%s/#f" % authority, b"http://%s#@b/" % authority,
                       b"http://%s\\@b/" % authority, b"http:/%s/" % authority,
                       b"http:%s/" % authority, authority, b"http://a\0b/"):
            table.append(b"GET " + target + b" HTTP/1.1\r\n" + host + b"\r\n")
        for request in table:
            with self.subTest(request[:120]):
                answer = self.raw(request)
                self.assertRegex(answer, b"^HTTP/1.1 400 ")
                self.assertIn(b"Proxy-Status: sallyport-agent; error=http_request_error", answer)
                self.assertEqual(answer.count(b"HTTP/1.1 400"), 1)
        for request, status in ((line + b"X: " + b"x" * 66000 + b"\r\n", 431),
                                (b"GET " + url + b"/" + b"x" * 66000, 414),
                                (line.replace(b"1.1", b"2.0") + host + b"\r\n", 505),
                                (b"GET https://%s/ HTTP/1.1\r\n" % authority + host + b"\r\n", 501),
                                (b"GET ftp://%s/ HTTP/1.1\r\n" % authority + host + b"\r\n", 501),
                                (b"GET /a/path HTTP/1.1\r\nHost: a.example\r\n\r\n", 421),
                                (b"OPTIONS * HTTP/1.1\r\nHost: %s\r\n\r\n" % authority, 405)):
            with self.subTest(request[:60]):
                self.assertRegex(self.raw(request), b"^HTTP/1.1 %d " % status)
        self.assertEqual((recorder.connections, recorder.bytes), (0, b""))

    def test_chunks_that_could_be_read_in_two_ways_never_reach_the_origin(self):
        for chunks in (b"5\nhello\r\n0\r\n\r\n", b"5 \r\nhello\r\n0\r\n\r\n", b"0x5\r\nhello",
                       b"+5\r\nhello", b"-5\r\nhello", b";x\r\nhello", b"5;a\nb\r\nhello",
                       b"5\r\nhelloX0\r\n\r\n", b"5\r\nhello\n0\r\n\r\n",
                       b"ffffffffffffffff\r\nhello", b"0\r\n folded\r\n\r\n", b"0\r\nX : y\r\n\r\n",
                       b"0\r\nX: y\n\r\n", b"5;" + b"x" * 2000 + b"\r\nhello"):
            with self.subTest(chunks[:40]):
                recorder = Recorder(self.origin)
                answer = self.raw(b"POST http://%s:%d/ HTTP/1.1\r\nHost: x\r\n"
                                  b"Transfer-Encoding: chunked\r\n\r\n" %
                                  (recorder.address[0].encode(), recorder.address[1]) + chunks +
                                  b"GET http://x.example/smuggled HTTP/1.1\r\nHost: y\r\n\r\n")
                self.assertRegex(answer, b"^HTTP/1.1 400 ")
                self.assertEqual(answer.count(b"HTTP/1.1 400"), 1)
                self.lab.agent.wait("channel", lambda e, r=recorder: e.get("destination", "") ==
                                    lab.format_address(r.address))
                self.assertNotIn(b"smuggled", recorder.bytes)
                self.assertNotIn(b"0\r\n\r\n", recorder.bytes)

    def test_what_is_behind_a_request_is_another_request(self):
        answer = self.raw(self.get("/echo", "Content-Length: 4", method="POST") + b"abcd" +
                          self.get("/echo", "Connection: close", "Transfer-Encoding: chunked",
                                   method="POST") + b"3\r\nxyz\r\n0\r\n\r\n" +
                          b"GET http://192.0.2.1/never HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertEqual(len(self.web.heads), 2)
        self.assertRegex(answer, b"(?s)abcdHTTP/1.1 200 OK.*xyz$")


if __name__ == "__main__":
    lab.main()
