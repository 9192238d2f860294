"""Many applications at the doors: ten thousand that hold their connection and say nothing, or half of
something; and channels by the ten thousand through each kind of door, after which nothing is left.

SALLYPORT_TEST_CONNECTIONS and SALLYPORT_TEST_CHANNELS_TOTAL (for each kind of door) set the sizes.
"""

import asyncio
import os
import socket
import statistics
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import lab
import origin

CONNECTIONS = int(os.environ.get("SALLYPORT_TEST_CONNECTIONS", "10000"))
CHANNELS = int(os.environ.get("SALLYPORT_TEST_CHANNELS_TOTAL", "2000"))
HELLO = b"\x05\x01\x00"


def receive(sock, count):
    data = b""
    while len(data) < count:
        more = sock.recv(count - len(data))
        if not more:
            raise AssertionError("the end after %r" % data)
        data += more
    return data


def receive_head(sock):
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        data += receive(sock, 1)
    return data


async def echo(reader, writer):
    """Whose clients may be gone at any moment."""
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        pass


class Case(lab.LabCase):
    def setUp(self):
        super().setUp()
        self.origin = origin.Origin()
        self.addCleanup(self.origin.close)
        self.echo = self.origin.start(echo)
        target = lab.format_address(self.echo)
        self.head = ("CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (target, target)).encode()
        self.lab.agent_config["log"]["level"] = "info"
        self.lab.gateway_config["log"]["level"] = "info"


class Crowd(Case):
    def talk(self, sock):
        """How long an echo takes."""
        begun = time.monotonic()
        sock.sendall(b"is anybody there?")
        self.assertEqual(receive(sock, 17), b"is anybody there?")
        return time.monotonic() - begun

    def open_channel(self, address):
        sock = lab.connect(address)
        self.addCleanup(sock.close)
        sock.sendall(self.head)
        self.assertTrue(receive_head(sock).startswith(b"HTTP/1.1 200 "))
        return sock

    def kept_connection(self, address):
        """One that has had an answer, and waits for its next request."""
        async def serve(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        target = lab.format_address(self.origin.start(serve))
        sock = lab.connect(address)
        self.addCleanup(sock.close)
        sock.sendall(("GET http://%s/ HTTP/1.1\r\nHost: %s\r\n\r\n" % (target, target)).encode())
        self.assertTrue(receive_head(sock).startswith(b"HTTP/1.1 204 "))
        return sock

    def crowd(self, address, talkers):
        """So many that say nothing, or not enough; times of echoes meanwhile."""
        pieces = (b"", b"\x05", HELLO, self.head[:-1], b"GET http://x.example/ HT")
        times = []
        for i in range(CONNECTIONS):
            sock = socket.create_connection(address)
            self.held.append(sock)
            sock.sendall(pieces[i % len(pieces)])
            if i % 50 == 0:
                times.append(self.talk(talkers[i // 50 % len(talkers)]))
        return times

    def setUp(self):
        super().setUp()
        self.held = []
        self.lab.agent_config["doors"] = [{"type": "mixed", "listen": "127.0.0.1:0"}]

    def tearDown(self):
        for sock in self.held:
            sock.close()

    def test_those_who_hold_their_connections_starve_no_open_channel_and_no_newcomer(self):
        self.lab.agent_config["limits"] = {"connections": CONNECTIONS + 100}
        self.lab.start()
        door = self.lab.doors[0]
        talkers = [self.open_channel(door) for _ in range(5)]
        kept = self.kept_connection(door)
        before = [self.talk(talkers[i % 5]) for i in range(100)]
        times = self.crowd(door, talkers)
        self.assertLess(max(times), 1 * lab.SLOW)
        self.assertLess(statistics.median(times), statistics.median(before) * 10 + 0.05 * lab.SLOW)
        self.talk(self.open_channel(door))
        kept.sendall(self.head)
        self.assertTrue(receive_head(kept).startswith(b"HTTP/1.1 200 "))
        self.talk(kept)
        self.assertEqual(self.lab.agent.all("limit"), [])
        for sock in self.held:
            sock.close()
        lab.until(lambda: self.lab.agent.open_files() < 100, what="descriptors closed", timeout=30)
        self.talk(talkers[0])

    def test_past_the_limit_newcomers_are_told_and_who_is_in_asks_on(self):
        limit = max(CONNECTIONS // 3, 100)
        self.lab.agent_config["limits"] = {"connections": limit}
        self.lab.start()
        door = self.lab.doors[0]
        talkers = [self.open_channel(door) for _ in range(5)]
        kept = self.kept_connection(door)
        self.assertLess(max(self.crowd(door, talkers)), 1 * lab.SLOW)
        self.assertIn("limits.connections (%d) is reached" % limit,
                      self.lab.agent.wait("limit").message)
        kept.sendall(self.head)
        self.assertTrue(receive_head(kept).startswith(b"HTTP/1.1 200 "))
        self.talk(kept)
        self.assertLess(len(self.lab.agent.all("limit")), 100 * lab.SLOW)


class Descriptors(Case):
    """Nothing is left of channels that were done, cut by either side, refused, or never asked for."""

    AT_ONCE = 32

    async def http(self, address):
        reader, writer = await self.open(address)
        writer.write(self.head)
        await reader.readuntil(b"\r\n\r\n")
        return reader, writer

    async def socks(self, address):
        reader, writer = await self.open(address)
        writer.write(HELLO + b"\x05\x01\x00\x01" + socket.inet_aton(self.echo[0]) +
                     struct.pack(">H", self.echo[1]))
        await reader.readexactly(12)
        return reader, writer

    async def forward(self, address):
        return await self.open(address)

    @staticmethod
    async def open(address):
        if isinstance(address, str):
            return await asyncio.open_unix_connection(address)
        return await asyncio.open_connection(*address)

    @staticmethod
    async def plain(address, target):
        """A request of its own connection, the way out is closed by the origin."""
        reader, writer = await Descriptors.open(address)
        writer.write(b"GET http://%s/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % target)
        if not (await reader.read(-1)).endswith(b"\r\n\r\nhi"):
            raise AssertionError("no answer")
        writer.close()

    async def one(self, ask, address, number):
        reader, writer = await ask(address)
        writer.write(b"x" * 100)
        if number % 4 == 1:  # cut by the application
            await reader.readexactly(1)
            writer.transport.abort()
            return
        if number % 4 == 2:  # gone before it is answered
            writer.transport.abort()
            return
        writer.write_eof()
        if len(await reader.read(-1)) != 100:
            raise AssertionError("the echo is not whole")
        writer.close()

    def through(self, count, make):
        async def guarded(gate, number):
            async with gate:
                await make(number)

        async def go():
            gate = asyncio.Semaphore(self.AT_ONCE)
            for start in range(0, count, 1000):
                await asyncio.gather(*[guarded(gate, i)
                                       for i in range(start, min(start + 1000, count))])
        self.origin.call(asyncio.wait_for(go(), 1800 * lab.SLOW), timeout=1810 * lab.SLOW)

    def settled(self, files):
        lab.until(lambda: self.lab.agent.open_files() <= files[0] + 2 and
                  self.lab.gateway.open_files() <= files[1] + 2, timeout=30,
                  what="descriptors closed: there were %r, there are %d, %d"
                  % (files, self.lab.agent.open_files(), self.lab.gateway.open_files()))

    def test_none_is_left_by_any_kind_of_door(self):
        async def answer(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhi")
        web = lab.format_address(self.origin.start(answer)).encode()
        to = lab.format_address(self.echo)
        self.lab.agent_config["doors"] = [
            {"type": "http", "listen": "127.0.0.1:0"}, {"type": "socks5", "listen": "127.0.0.1:0"},
            {"type": "mixed", "listen": "127.0.0.1:0", "allow_users": [str(os.geteuid())]},
            {"type": "forward", "listen": "127.0.0.1:0", "to": to},
            {"type": "http", "listen": "unix:a.sock"}, {"type": "forward", "listen": "unix:b.sock",
                                                       "to": to}]
        self.lab.start()
        doors = self.lab.doors
        kinds = [(lambda n, a=a, ask=ask: self.one(ask, a, n)) for ask, a in
                 ((self.http, doors[0]), (self.socks, doors[1]), (self.http, doors[2]),
                  (self.socks, doors[2]), (self.forward, doors[3]), (self.http, doors[4]),
                  (self.forward, doors[5]))]
        kinds.append(lambda _: self.plain(doors[0], web))
        for make in kinds:  # what is opened once, and stays
            self.through(20, make)
        files = lab.until(self.quiet, what="a number that stays", every=0.3)
        for make in kinds:
            self.through(CHANNELS, make)
            self.settled(files)
        self.assertEqual(self.lab.agent.all("trouble"), [])

    def quiet(self):
        files = self.lab.agent.open_files(), self.lab.gateway.open_files()
        time.sleep(0.2)
        again = self.lab.agent.open_files(), self.lab.gateway.open_files()
        return files if files == again else None


if __name__ == "__main__":
    lab.main()
