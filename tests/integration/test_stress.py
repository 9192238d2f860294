#!/usr/bin/env python3
"""Rare moments and heavy loads: what breaks only when things happen at the same time."""

import asyncio
import json
import os
import signal
import socket
import ssl
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import lab
import origin
import tls


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
