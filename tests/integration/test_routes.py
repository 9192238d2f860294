#!/usr/bin/env python3
"""Routes: through the tunnel, directly, or not at all; at every door, with bytes that are checked."""

import asyncio
import hashlib
import json
import os
import signal
import socket
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import lab
import origin

MUCH = 100 * 1000 * 1000


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def read_to_end(sock):
    """All that comes, and how it ended."""
    data = b""
    try:
        while more := sock.recv(65536):
            data += more
        return data, "end"
    except ConnectionResetError:
        return data, "reset"


def receive(sock, count):
    data = b""
    while len(data) < count:
        more = sock.recv(count - len(data))
        if not more:
            raise AssertionError("the end after %r" % data)
        data += more
    return data


class Recorder:
    """An origin that counts connections, and says hello."""

    def __init__(self, own):
        self.connections = 0
        self.address = own.start(self._serve)

    async def _serve(self, reader, writer):
        self.connections += 1
        await reader.read(65536)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n")
        await writer.drain()
        await reader.read(65536)


class Case(lab.LabCase):
    doors = [{"type": "http", "listen": "127.0.0.1:0", "name": "web"}]
    routes = []

    def setUp(self):
        super().setUp()
        self.lab.agent_config["doors"] = [dict(door) for door in self.doors]
        self.lab.agent_config["routes"] = list(self.routes)
        self.lab.tenants[self.lab.a]["egress"]["allow"].append("localhost:*")
        self.origin = origin.Origin()
        self.addCleanup(self.origin.close)

    def connect(self, index=0):
        sock = lab.connect(self.lab.doors[index])
        self.addCleanup(sock.close)
        return sock

    def ask(self, address, index=0):
        """CONNECT to an address: the socket, and the answer's head."""
        sock = self.connect(index)
        to = lab.format_address(address).encode()
        sock.sendall(b"CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (to, to))
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += receive(sock, 1)
        return sock, head.decode("latin-1")

    def open(self, address, index=0):
        sock, head = self.ask(address, index)
        self.assertIn(" 200 ", head)
        return sock

    def check_echo(self, sock, text=b"is anybody there?"):
        sock.sendall(text)
        self.assertEqual(receive(sock, len(text)), text)

    def curl(self, *args):
        return lab.run("curl", "--silent", "--show-error", "--max-time", str(int(20 * lab.SLOW)),
                       *args)

    def rule(self, index):
        return "%s: $.routes[%d]" % (self.lab.file("agent.json"), index)

    def reload(self):
        self.lab.save()
        mark = self.lab.agent.mark()
        self.lab.agent.signal(signal.SIGHUP)
        self.assertTrue(self.lab.agent.wait("reload", since=mark).ok)


class EveryDoor(Case):
    """localhost goes by the tunnel, 127.0.0.1 directly, ::1 not at all: what is told apart here is
    the name that the application used."""
    routes = [{"host": "localhost", "via": "tunnel"},
              {"cidr": "::1", "via": "block"},
              {"door": "fixed", "via": "direct"},
              {"door": "shut", "via": "block"}]

    def setUp(self):
        super().setUp()
        self.nginx = origin.Nginx(self.lab.pki)
        self.addCleanup(self.nginx.close)
        to = lab.format_address(self.nginx.http)
        self.lab.agent_config["doors"] = [
            {"type": "http", "listen": "127.0.0.1:0"},
            {"type": "socks5", "listen": "127.0.0.1:0"},
            {"type": "mixed", "listen": "127.0.0.1:0"},
            {"type": "forward", "listen": "127.0.0.1:0", "to": to},
            {"type": "forward", "listen": "127.0.0.1:0", "to": to, "name": "fixed"},
            {"type": "forward", "listen": "127.0.0.1:0", "to": to, "name": "shut"}]
        self.lab.start()

    def check_way(self, way, rule, args, host):
        here, there = self.lab.agent.mark(), self.lab.gateway.mark()
        done = self.curl(*args, "http://%s:%d/hello" % (host, self.nginx.http[1]))
        self.assertEqual(done.stdout, "hello from the origin\n", done.stderr)
        line = self.lab.agent.wait("channel", since=here)
        self.assertEqual((line.via, line.rule, line.how), (way, rule, "done"))
        self.assertEqual(line.bytes_down > len(done.stdout), True)
        if way == "tunnel":
            self.lab.gateway.wait("channel", since=there)
        else:
            self.assertEqual(self.lab.gateway.all("channel", since=there), [])

    def proxies(self):
        http, socks, mixed = ["%s:%d" % door for door in self.lab.doors[:3]]
        return [("--proxy", "http://" + http),
                ("--proxy", "http://" + http, "--proxytunnel"),
                ("--proxy", "socks5h://" + socks),
                ("--proxy", "http://" + mixed),
                ("--proxy", "socks5h://" + mixed)]

    def test_the_tunnel_and_the_direct_way_at_doors_where_the_application_names_the_place(self):
        for args in self.proxies():
            with self.subTest(args):
                self.check_way("tunnel", self.rule(0), args, "localhost")
                self.check_way("direct", "built in: loopback", args, "127.0.0.1")

    def test_what_is_blocked_is_refused_in_the_words_of_the_door(self):
        port = self.nginx.http[1]
        for args, status in zip(self.proxies(), (None, "403", 97, None, 97)):
            with self.subTest(args):
                mark = self.lab.agent.mark()
                done = self.curl("--include", *args, "http://[::1]:%d/hello" % port)
                if status == 97:
                    self.assertEqual(done.returncode, 97)
                    self.assertIn("(2)", done.stderr)  # the reply code
                elif status:
                    self.assertNotEqual(done.returncode, 0)
                    self.assertIn(status, done.stderr + done.stdout)
                else:
                    self.assertIn("HTTP/1.1 403 ", done.stdout)
                    self.assertIn("error=http_request_denied", done.stdout)
                    self.assertIn("$.routes[1]", done.stdout)
                line = self.lab.agent.wait("channel", since=mark)
                self.assertEqual((line.how, line.via, line.rule, line.status, line.error),
                                 ("refused", "block", self.rule(1), 403, "http_request_denied"))

    def test_forward_doors_go_where_the_route_of_their_name_says_and_else_by_the_tunnel(self):
        def url(index):
            return "http://%s:%d/hello" % self.lab.doors[index]
        for index, way, rule in ((3, "tunnel", "built in: everything else"),
                                 (4, "direct", self.rule(2))):
            mark = self.lab.agent.mark()
            self.assertEqual(self.curl(url(index)).stdout, "hello from the origin\n")
            line = self.lab.agent.wait("channel", since=mark)
            self.assertEqual((line.via, line.rule, line.door), (way, rule, "forward"))
        mark = self.lab.agent.mark()
        try:
            self.assertEqual(read_to_end(self.connect(5)), (b"", "reset"))
        except ConnectionResetError:
            pass  # the reset was faster than connect() here
        line = self.lab.agent.wait("channel", since=mark)
        self.assertEqual((line.via, line.status), ("block", 403))


class Users(Case):
    doors = [{"type": "socks5", "listen": "127.0.0.1:0", "users_file": "users"}]
    routes = [{"user": "alice", "via": "direct"}, {"user": ["bob", "carol"], "via": "block"},
              {"via": "tunnel"}]

    def test_the_login_says_which_route_it_is(self):
        path = self.lab.file("users")
        with open(path, "w", encoding="ascii") as out:
            out.write("alice:a\nbob:b\ndave:d\n")
        os.chmod(path, 0o600)
        self.lab.start()
        echo = self.origin.start(origin.echo)
        for user, code, way in ((b"alice", 0, "direct"), (b"bob", 2, "block"),
                                (b"dave", 0, "tunnel")):
            mark = self.lab.agent.mark()
            with lab.connect(self.lab.doors[0]) as sock:
                sock.sendall(b"\x05\x01\x02\x01" + bytes([len(user)]) + user + b"\x01" + user[:1] +
                             b"\x05\x01\x00\x01" + socket.inet_aton(echo[0]) +
                             struct.pack(">H", echo[1]))
                self.assertEqual(receive(sock, 14)[:6], b"\x05\x02\x01\x00\x05" + bytes([code]))
            line = self.lab.agent.wait("channel", since=mark)
            self.assertEqual((line.user, line.via), (user.decode(), way))


class Direct(Case):
    """By the rule that is built in, and without a gateway: nothing of it is needed."""

    def setUp(self):
        super().setUp()
        self.lab.address = ("127.0.0.1", free_port())
        self.lab.start_agent(wait_up=False)

    def wait_line(self, how):
        line = self.lab.agent.wait("channel")
        self.assertEqual((line.how, line.via), (how, "direct"), line)
        return line

    def test_the_application_ends_first_and_is_answered(self):
        sock = self.open(self.origin.start(origin.late_answer))
        data = os.urandom(300000)
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        self.assertEqual(read_to_end(sock), (hashlib.sha256(data).hexdigest().encode(), "end"))
        line = self.wait_line("done")
        self.assertEqual((line.bytes_up, line.bytes_down), (len(data), 64))

    def test_the_destination_ends_first_and_reads_on(self):
        origin.early_end_heard.clear()
        sock = self.open(self.origin.start(origin.early_end))
        self.assertEqual(read_to_end(sock), (b"no more from me\n", "end"))
        data = os.urandom(300000)
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        self.wait_line("done")
        lab.until(lambda: origin.early_end_heard, what="the destination's end")
        self.assertEqual(origin.early_end_heard, [hashlib.sha256(data).hexdigest()])

    def test_a_reset_of_the_destination_is_one_for_the_application(self):
        sock = self.open(self.origin.start(origin.reset_after_a_line))
        sock.sendall(b"a line\n")
        self.assertEqual(receive(sock, 16), b"and now a reset\n")
        sock.sendall(b"another\n")
        self.assertEqual(read_to_end(sock), (b"", "reset"))
        self.wait_line("remote_reset")

    def test_a_reset_of_the_application_is_one_for_the_destination(self):
        seen = []
        sock = self.open(self.origin.start(origin.expecting_reset(seen)))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        lab.until(lambda: seen, what="the reset")
        self.assertEqual(seen, ["reset"])
        self.wait_line("local_reset")

    def test_an_agent_that_dies_resets_both(self):
        seen = []
        sock = self.open(self.origin.start(origin.expecting_reset(seen)))
        self.lab.agent.kill()
        self.lab.forget(self.lab.agent)
        self.assertEqual(read_to_end(sock)[1], "reset")
        lab.until(lambda: seen, what="the reset")
        self.assertEqual(seen, ["reset"])

    def test_a_hundred_megabytes_both_ways_arrive_as_they_were_sent(self):
        target = lab.format_address(self.origin.start(origin.duplex))

        async def go():
            reader, writer, head = await origin.open_connect(self.lab.doors[0], target)
            self.assertIn(" 200 ", head)
            await asyncio.wait_for(origin.duplex_client(reader, writer, MUCH, MUCH), 100 * lab.SLOW)
            writer.close()
        asyncio.run(go())
        line = self.wait_line("done")
        self.assertEqual(line.bytes_up, MUCH + 48)
        self.assertEqual(line.bytes_down, MUCH + 64)

    def test_a_reader_that_stops_stops_its_writer_and_costs_little(self):
        sock = self.open(self.origin.start(origin.source))
        before = self.lab.agent.rss_kib()
        receive(sock, 1)
        other = self.open(self.origin.start(origin.echo))
        for _ in range(50):
            self.check_echo(other, os.urandom(60000))  # meanwhile the other one is filled up
        grown = self.lab.agent.rss_kib() - before
        self.assertLess(grown, 4096 * lab.memory_factor())
        receive(sock, 3000000)

    def test_what_cannot_be_reached_is_told_truthfully(self):
        port = free_port()
        done = self.curl("--include", "--proxy", "http://%s:%d" % self.lab.doors[0],
                         "http://127.0.0.1:%d/" % port)
        self.assertIn("HTTP/1.1 502 ", done.stdout)
        self.assertIn("Proxy-Status: sallyport-agent; error=connection_refused", done.stdout)
        self.assertIn("not through the tunnel", done.stdout)
        line = self.wait_line("refused")
        self.assertEqual((line.status, line.error, line.rule),
                         (502, "connection_refused", "built in: loopback"))
        self.assertIn("127.0.0.1:%d" % port, line.detail)

    def test_a_destination_that_does_not_answer_is_a_time_out(self):
        with socket.socket() as full:  # a queue that is full answers no more
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            fillers = []
            for _ in range(3):
                filler = socket.socket()
                self.addCleanup(filler.close)
                filler.setblocking(False)
                filler.connect_ex(full.getsockname())
                fillers.append(filler)
            sock, head = self.connect(), b""
            sock.settimeout(30 * lab.SLOW)
            to = lab.format_address(full.getsockname()).encode()
            sock.sendall(b"CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (to, to))
            head, _ = read_to_end(sock)
            self.assertIn(b"HTTP/1.1 504 ", head)
            self.assertIn(b"error=connection_timeout", head)
            self.assertEqual(self.wait_line("refused").status, 504)

    def test_no_descriptor_stays_behind(self):
        echo = self.origin.start(origin.echo)
        closed = free_port()
        self.check_echo(self.open(echo))  # stays
        before = self.lab.agent.open_files()
        for _ in range(150):
            with self.open(echo) as sock:
                self.check_echo(sock)
            sock, head = self.ask(("127.0.0.1", closed))
            sock.close()
            self.assertIn(" 502 ", head)
        lab.until(lambda: len(self.lab.agent.all("channel")) == 300 and
                  self.lab.agent.open_files() <= before, timeout=20,
                  what="as many descriptors as before 300 channels")

    def test_the_end_of_the_agent_lets_a_channel_finish(self):
        sock = self.open(self.origin.start(origin.echo))
        self.lab.agent.signal(signal.SIGTERM)
        self.lab.agent.wait("draining")
        self.check_echo(sock)
        sock.shutdown(socket.SHUT_WR)
        self.assertEqual(read_to_end(sock), (b"", "end"))
        self.wait_line("done")
        self.lab.stop(self.lab.agent)


class Reload(Case):
    def test_routes_change_for_new_channels_and_open_ones_stay(self):
        # A door at a port of the kernel's choice is another one after each reload.
        self.lab.agent_config["doors"][0]["listen"] = "127.0.0.1:%d" % free_port()
        self.lab.agent_config["routes"] = [{"via": "direct"}]
        self.lab.start()
        echo = self.origin.start(origin.echo)
        hello, other = Recorder(self.origin), Recorder(self.origin)
        first = self.open(echo)
        keeping = self.connect()

        def get(address):
            keeping.sendall(b"GET http://%s:%d/ HTTP/1.1\r\nHost: %s:%d\r\n\r\n" % (
                address[0].encode(), address[1], address[0].encode(), address[1]))
            data = b""
            while not data.endswith(b"\r\n\r\nhello\n"):
                data += receive(keeping, 1)

        get(hello.address)
        self.lab.agent_config["routes"] = [{"via": "tunnel"}]
        mark = self.lab.agent.mark()
        self.reload()
        self.check_echo(first)
        second = self.open(echo)
        self.check_echo(second)
        second.close()
        line = self.lab.agent.wait("channel", lambda e: e.destination == "%s:%d" % echo, mark)
        self.assertEqual(line.via, "tunnel")
        get(other.address)  # the connection is an old one, its channel is new
        keeping.close()
        line = self.lab.agent.wait("channel",
                                   lambda e: e.destination == "%s:%d" % other.address, mark)
        self.assertEqual((line.via, line.rule), ("tunnel", self.rule(0)))
        self.check_echo(first)
        first.close()
        line = self.lab.agent.wait("channel", lambda e: e.destination == "%s:%d" % echo
                                   and e.via == "direct", mark)
        self.assertEqual((line.how, line.rule), ("done", self.rule(0)))

    def test_bad_routes_change_nothing(self):
        self.lab.agent_config["doors"][0]["listen"] = "127.0.0.1:%d" % free_port()
        self.lab.agent_config["routes"] = [{"via": "direct"}]
        self.lab.start()
        self.lab.agent_config["routes"] = [{"via": "tunnel", "door": "nowhere"}]
        self.lab.save()
        mark = self.lab.agent.mark()
        self.lab.agent.signal(signal.SIGHUP)
        event = self.lab.agent.wait("reload", since=mark)
        self.assertFalse(event.ok)
        self.assertIn("$.routes[0].door", event.error)
        self.open(self.origin.start(origin.echo)).close()
        self.assertEqual(self.lab.agent.wait("channel", since=mark).via, "direct")


class Question(Case):
    """sallyport-agent route"""
    routes = [{"host": "*.example", "port": [443, "8000-8099"], "via": "direct"},
              {"door": "web", "user": "joe", "via": "block"},
              {"cidr": "10.0.0.0/8", "via": "direct"}]

    def ask_route(self, *args):
        self.lab.agent_config["gateways"] = ["127.0.0.1:1"]
        self.lab.save()
        return lab.run(lab.program("sallyport-agent"), "route", *args)

    def test_the_rule_is_named_and_the_way(self):
        config = ("--config", self.lab.file("agent.json"))
        for args, way, rule in (
                (("a.example:443",), "direct", self.rule(0)),
                (("A.Example.:8050",), "direct", self.rule(0)),
                (("a.example:80",), "tunnel", "built in: everything else"),
                (("--door", "web", "--user", "joe", "a.example:80"), "block", self.rule(1)),
                (("--user", "joe", "a.example:80"), "tunnel", "built in: everything else"),
                (("10.1.2.3:22",), "direct", self.rule(2)),
                (("[::1]:22",), "direct", "built in: loopback"),
                (("localhost:22",), "direct", "built in: localhost")):
            with self.subTest(args):
                done = self.ask_route(*config, *args)
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                self.assertTrue(done.stdout.endswith(": %s (%s)\n" % (way, rule)), done.stdout)
                said = json.loads(self.ask_route(*config, "--json", *args).stdout)
                self.assertEqual((said["via"], said["rule"]), (way, rule))
        self.assertIn("usage:", self.ask_route("--help").stdout)

    def test_wrong_usage_and_configuration_are_status_2(self):
        config = ("--config", self.lab.file("agent.json"))
        for args, said in (((), "--config"), (config, "HOST:PORT"),
                           ((*config, "a:1", "b:1"), "HOST:PORT"),
                           ((*config, "a.example"), "a.example"),
                           ((*config, "a.example:0"), "a.example:0"),
                           ((*config, "--door", "nowhere", "a.example:1"), "nowhere"),
                           ((*config, "--sideways", "a.example:1"), "--sideways"),
                           ((*config, "--door"), "--door"),
                           ((*config, *config, "a.example:1"), "twice"),
                           (("--config", "/nonexistent", "a.example:1"), "/nonexistent")):
            with self.subTest(args):
                done = self.ask_route(*args)
                self.assertEqual((done.returncode, done.stdout), (2, ""))
                self.assertIn(said, done.stderr)
                self.assertEqual(done.stderr.count("\n"), 1)


if __name__ == "__main__":
    lab.main()
