#!/usr/bin/env python3
"""Rare moments and heavy loads: what breaks only when things happen at the same time."""

import asyncio
import os
import random
import signal
import socket
import ssl
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import lab
import h2raw
import origin
import tls

CHANNELS = int(os.environ.get("SALLYPORT_TEST_STORM", "1200"))


class Case(lab.LabCase):
    def setUp(self):
        super().setUp()
        self.origin = origin.Origin()
        self.addCleanup(self.origin.close)

    def client(self, tenant=None):
        """A client of the gateway itself, which reports an end without close_notify."""
        tenant = tenant or self.lab.a
        ctx = tls.context(self.lab.client(tenant))
        raw = lab.connect(self.lab.address)
        client = tls.Client.__new__(tls.Client)
        client.sock = ctx.wrap_socket(raw, server_hostname=self.lab.name_of(tenant),
                                      suppress_ragged_eofs=False)
        self.addCleanup(client.close)
        return client

    def channel(self, target, tenant=None):
        client = self.client(tenant)
        status, head = client.connect(lab.format_address(target))
        self.assertEqual(status, 200, head)
        return client


class StalledHandshake:
    """A TLS client that stops after its ClientHello until it is told to go on."""

    def __init__(self, address, name, ctx):
        self.raw = lab.connect(address)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = ctx.wrap_bio(self.incoming, self.outgoing, server_hostname=name)
        self._step()
        self.flight = self.raw.recv(65536)  # the gateway has chosen the tenant now

    def _step(self):
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        self.raw.sendall(self.outgoing.read())

    def go_on(self):
        """The end of the handshake, and what comes of a probe: "ok", an alert, "end", "reset"."""
        self.incoming.write(self.flight)
        self._step()
        self.tls.write(tls.PROBE)
        try:
            self.raw.sendall(self.outgoing.read())
            while True:
                try:
                    return "ok" if self.tls.read(100).startswith(b"HTTP/1.1 ") else "end"
                except ssl.SSLWantReadError:
                    more = self.raw.recv(65536)
                    if not more:
                        return "end"
                    self.incoming.write(more)
        except ssl.SSLError as error:
            return tls.alert_of(error)
        except ConnectionError:
            return "reset"
        finally:
            self.raw.close()


class ReloadInAHandshake(Case):
    def stalled(self):
        return StalledHandshake(self.lab.address, self.lab.name_of(self.lab.a),
                                tls.context(self.lab.client(self.lab.a)))

    def test_a_handshake_that_a_reload_overtakes_ends_in_an_open_tunnel(self):
        self.lab.start_gateway()
        stalled = self.stalled()
        self.lab.reload()
        self.assertEqual(stalled.go_on(), "ok")

    def test_a_handshake_that_two_reloads_overtake_is_decided_by_the_last(self):
        self.lab.start_gateway()
        for _ in range(5):
            stalled = self.stalled()
            policy = self.lab.tenants[self.lab.a]["client_validation"]
            policy["trusted_cas"].remove(self.lab.ca[self.lab.a].pem)
            self.lab.reload()
            self.lab.hup()
            self.assertNotEqual(stalled.go_on(), "ok")
            policy["trusted_cas"].append(self.lab.ca[self.lab.a].pem)
            self.lab.reload()

    def test_a_handshake_outlives_its_tenant_being_taken_away_and_put_back(self):
        self.lab.start_gateway()
        stalled = self.stalled()
        tenant = self.lab.tenants.pop(self.lab.a)
        os.remove(self.lab.tenant_file(self.lab.a))
        self.lab.reload()
        self.lab.tenants[self.lab.a] = tenant
        self.lab.reload()
        self.assertEqual(stalled.go_on(), "ok")
        closed = self.lab.gateway.wait("tunnel_closed")
        self.assertEqual(closed.tenant, self.lab.a)
        self.assertEqual(self.stalled().go_on(), "ok")


class Truncation(Case):
    """A cut transfer never looks like a whole one (over HTTP/1.1, where TLS's end is the channel's)."""

    def test_a_channel_that_a_reload_cuts_does_not_end_in_close_notify(self):
        self.lab.start_gateway()
        client = self.channel(self.origin.start(origin.silent))
        self.lab.tenants[self.lab.a]["enabled"] = False
        self.lab.reload()
        self.assertEqual(tls.read_to_end(client.sock)[1], "access_denied")

    def test_a_channel_that_the_end_of_the_gateway_cuts_does_not_end_in_close_notify(self):
        self.lab.gateway_config.setdefault("limits", {})["drain_ms"] = 100
        self.lab.start_gateway()
        client = self.channel(self.origin.start(origin.silent))
        self.lab.gateway.signal(signal.SIGTERM)
        self.assertEqual(tls.read_to_end(client.sock)[1], "internal_error")
        client.close()
        self.assertEqual(self.lab.gateway.wait_exit(), 0)
        self.lab.forget(self.lab.gateway)

    def test_an_upload_that_ends_without_close_notify_is_a_reset_at_the_origin(self):
        seen = []

        async def ends_first(reader, writer):
            writer.write(b"no more from me\n")
            writer.write_eof()
            try:
                while await reader.read(65536):
                    pass
                seen.append("end")
            except ConnectionResetError:
                seen.append("reset")

        self.lab.start_gateway()
        client = self.channel(self.origin.start(ends_first))
        self.assertEqual(tls.read_to_end(client.sock), (b"no more from me\n", "end"))
        client.send(b"half of what I")
        client.close()
        lab.until(lambda: seen, what="the origin sees the end")
        self.assertEqual(seen, ["reset"])


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Reset(Case):
    def test_bytes_and_a_reset_that_come_together_from_the_origin_end_one_channel_only(self):
        self.lab.start_gateway()
        with socket.create_server(("127.0.0.1", 0)) as server:
            client = self.channel(server.getsockname())
            far, _ = server.accept()
            # While the gateway stands still both arrive, to be found by it at the same moment.
            self.lab.gateway.signal(signal.SIGSTOP)
            far.sendall(b"some bytes")
            reset(far)
            self.lab.gateway.signal(signal.SIGCONT)
            self.assertNotEqual(tls.read_to_end(client.sock)[1], "end")
            self.assertEqual(self.lab.gateway.wait("channel").how, "local_reset")
            self.channel(server.getsockname())


    def test_a_gateway_or_an_agent_that_is_killed_resets_its_channels_both_ways(self):
        self.lab.start_gateway()
        for victim in ("gateway", "agent"):
            with self.subTest(victim), socket.create_server(("127.0.0.1", 0)) as server:
                self.lab.start_agent()
                near = lab.connect(self.lab.doors[0])
                self.addCleanup(near.close)
                target = lab.format_address(server.getsockname()).encode()
                near.sendall(b"CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (target, target))
                self.assertTrue(near.recv(4096).startswith(b"HTTP/1.1 200"))
                far, _ = server.accept()
                self.addCleanup(far.close)
                near.sendall(b"half of ")
                self.assertEqual(far.recv(100), b"half of ")
                program = getattr(self.lab, victim)
                program.kill()
                self.lab.forget(program)
                for end in (near, far):
                    self.assertEqual(tls.read_to_end(end), (b"", "reset"))
                if victim == "gateway":
                    self.lab.stop(self.lab.agent)
                    self.lab.start_gateway()


class Storm:
    """Applications of every kind at the same time. Whatever happens to a channel, a byte that
    arrives is the one that was sent there, and an end that looks clean comes after the last one."""

    HEAD = struct.Struct(">cQQ")  # kind, size, reset after so many bytes (0: never)
    PERIOD = 65521
    BYTES = os.urandom(PERIOD) * 3
    SIZES = (10, 1000, 100000, 1000000)

    def __init__(self):
        self.wrong = []  # what must never be
        self.excused = False  # connections may break: a program is being killed

    @classmethod
    def piece(cls, at, length):
        at %= cls.PERIOD
        return cls.BYTES[at:at + min(length, 65536)]

    @staticmethod
    def reset(writer):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                                   struct.pack("ii", 1, 0))
        writer.transport.abort()

    async def send(self, writer, size, cut):
        at = 0
        while at < size:
            data = self.piece(at, (min(cut, size) if cut else size) - at)
            writer.write(data)
            await writer.drain()
            at += len(data)
            if cut and at >= cut:
                self.reset(writer)
                raise ConnectionResetError("our own")
        writer.write_eof()

    async def receive(self, reader, size, slow=False):
        at = 0
        while data := await reader.read(65536):
            while data:
                good = self.piece(at, len(data))
                if not data.startswith(good):
                    self.wrong.append("another byte after %d" % at)
                    return
                at += len(good)
                data = data[len(good):]
            if slow:
                await asyncio.sleep(random.random() * 0.02)
        if at != size:
            self.wrong.append("a clean end after %d of %d bytes" % (at, size))

    async def serve(self, reader, writer):
        kind, size, cut = self.HEAD.unpack(await reader.readexactly(self.HEAD.size))
        jobs = []
        if kind in b"UB":
            jobs.append(self.receive(reader, size))
        if kind in b"DB":
            jobs.append(self.send(writer, size, cut if kind == b"D" else 0))
        await asyncio.gather(*jobs)
        if kind == b"U":
            writer.write(b"all")

    async def talk(self, reader, writer, kind, size, cut):
        slow = random.random() < 0.1
        writer.write(self.HEAD.pack(kind, size, cut))
        if kind == b"U":
            await self.send(writer, size, cut)
            if await reader.read(-1) != b"all":
                self.wrong.append("the answer to an upload is lost")
        elif kind == b"D":
            await self.receive(reader, size, slow)
        else:
            await asyncio.gather(self.send(writer, size, 0), self.receive(reader, size, slow))

    async def one(self, lab_, target, dead_end):
        kind = random.choice((b"D", b"U", b"B", b"X"))
        size = int(random.choice(self.SIZES) * random.random()) + 1
        cut = random.randint(1, size) if kind != b"B" and random.random() < 0.25 else 0
        to = lab.format_address(dead_end if kind == b"X" else target).encode()
        writer = None
        try:
            reader, writer = await asyncio.open_connection(*lab_.doors[0])
            writer.write(b"CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (to, to))
            if kind == b"X":  # gives up while it is dialled
                await asyncio.sleep(random.random() * 0.2)
                return
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise ConnectionError(head)
            await self.talk(reader, writer, kind, size, cut)
        except (OSError, asyncio.IncompleteReadError) as error:
            if not cut and not self.excused:
                self.wrong.append("%s of %d bytes: %r" % (kind, size, error))
        finally:
            if writer:
                writer.close()

    async def rage(self, lab_, count, at_once, target, dead_end):
        gate = asyncio.Semaphore(at_once)

        async def gated():
            async with gate:
                try:
                    await asyncio.wait_for(self.one(lab_, target, dead_end), 60 * lab.SLOW)
                except asyncio.TimeoutError:
                    self.wrong.append("a channel stands still")
        await asyncio.gather(*[gated() for _ in range(count)])


class DeadEnd:
    """An address where nobody ever answers: the queue of those who wait to be accepted is full."""

    def __init__(self):
        self.server = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.address = self.server.getsockname()
        self.waiting = [socket.socket() for _ in range(3)]
        for sock in self.waiting:
            sock.setblocking(False)
            sock.connect_ex(self.address)

    def close(self):
        for sock in (self.server, *self.waiting):
            sock.close()


class Storms(Case):
    def setUp(self):
        super().setUp()
        self.storm = Storm()
        self.target = self.origin.start(self.storm.serve)
        self.dead_end = DeadEnd()
        self.addCleanup(self.dead_end.close)
        self.lab.agent_config["tunnels"] = 1
        self.lab.gateway_config.setdefault("limits", {})["dial_ms"] = 500
        self.lab.start()

    def rage(self, meanwhile=None, count=CHANNELS):
        """A storm; `meanwhile` is called over and over until it has passed."""
        files = self.lab.gateway.open_files(), self.lab.agent.open_files()
        future = asyncio.run_coroutine_threadsafe(
            self.storm.rage(self.lab, count, 200, self.target, self.dead_end.address),
            self.origin.loop)
        while meanwhile and not future.done():
            meanwhile()
        future.result(200 * lab.SLOW)
        self.assertEqual(self.storm.wrong, [])
        for program, was in zip((self.lab.gateway, self.lab.agent), files):
            lab.until(lambda p=program, w=was: p.open_files() <= w + 2,
                      what="%s closes what it opened" % program.name)

    def test_nothing_is_lost_mixed_up_cut_in_silence_or_left_open(self):
        self.rage()
        self.assertEqual(len(self.lab.gateway.all("tunnel")), 1)

    def test_reloads_as_fast_as_they_can_disturb_nobody(self):
        turns = [0]

        def meanwhile():
            turns[0] += 1
            policy = self.lab.tenants[self.lab.a]["client_validation"]
            policy["on"] = {"expired": ("allow", "block")[turns[0] % 2]}
            self.lab.tenants[self.lab.b]["enabled"] = bool(turns[0] % 3)
            self.lab.reload()
        self.rage(meanwhile)
        self.assertEqual(len(self.lab.agent.all("tunnel")), 1)

    def test_a_gateway_that_is_killed_and_comes_back_cuts_nothing_in_silence(self):
        self.storm.excused = True

        def meanwhile():
            time.sleep(random.random())
            self.lab.gateway.kill()
            self.lab.forget(self.lab.gateway)
            self.lab.gateway_config["listen"] = [lab.format_address(self.lab.address)]
            self.lab.start_gateway()
        self.rage(meanwhile)
        self.assertTrue(self.lab.agent.all("tunnel_closed", lambda e: e.cut > 0))


class Cancelled(Case):
    def test_thousands_of_channels_cancelled_while_they_are_dialled_leave_nothing(self):
        dead_end = DeadEnd()
        self.addCleanup(dead_end.close)
        self.lab.tenants[self.lab.a]["limits"] = {"tunnels": 10, "channels": 20000}
        self.lab.start_gateway()
        files = self.lab.gateway.open_files()
        ctx = tls.context(self.lab.client(self.lab.a), ("h2",))
        client = tls.Client(self.lab.address, self.lab.name_of(self.lab.a), ctx)
        self.addCleanup(client.close)
        h2 = h2raw.Connection(client)
        fields = h2raw.connect_fields(lab.format_address(dead_end.address))
        cancel = struct.pack(">I", 8)
        for at_once in (True, False):  # in the same breath, and after the dialling has begun
            first = 1 if at_once else 4001
            ids = range(first, first + 4000, 2)
            opened = [h2raw.frame(h2raw.HEADERS, h2raw.END_HEADERS, i, fields) for i in ids]
            resets = [h2raw.frame(h2raw.RST_STREAM, 0, i, cancel) for i in ids]
            if at_once:
                h2.send(*[f for pair in zip(opened, resets) for f in pair])
            else:
                h2.send(*opened)
                lab.until(lambda: self.lab.gateway.open_files() > files + 1900, what="it dials")
                h2.send(*resets)
            h2.send(h2raw.frame(h2raw.PING, 0, 0, b"question"))
            h2.wait(h2raw.PING)
        ended = self.lab.gateway.wait_count("channel", 4000)
        self.assertEqual({e.how for e in ended}, {"remote_reset"})
        lab.until(lambda: self.lab.gateway.open_files() <= files + 1, what="sockets are closed")


class TheEnd(Case):
    def test_peers_that_do_not_answer_hold_the_end_up_once_and_not_once_a_worker(self):
        self.lab.gateway_config["workers"] = 8
        self.lab.gateway_config.setdefault("limits", {})["drain_ms"] = 100
        self.lab.start_gateway()
        with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
            held = [self.channel(server.getsockname()) for _ in range(32)]
            begun = time.monotonic()
            self.lab.stop(self.lab.gateway)  # nobody of them closes
            self.assertLess(time.monotonic() - begun, 4 * lab.SLOW)
            self.assertEqual(len(held), 32)


if __name__ == "__main__":
    lab.main()
