#!/usr/bin/env python3
"""The doors of the agent, with the clients that people use: socks5, mixed, http."""

import os
import shutil
import socket
import struct
import sys
import threading
import time
import unittest

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
        self.assertNotIn("secret", "\n".join(self.lab.agent.lines))

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


if __name__ == "__main__":
    lab.main()
