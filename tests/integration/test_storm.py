#!/usr/bin/env python3
"""More handshakes than there should be: limits of a tenant and of a source address, and whose turn it
is."""
import os
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import lab  # noqa: E402
import tls  # noqa: E402


class Case(lab.LabCase):
    def attempt(self, tenant, ctx, address=None):
        """"ok", or what became of it."""
        try:
            return tls.verdict(address or self.lab.address, self.lab.name_of(tenant), ctx)
        except OSError as error:
            return type(error).__name__


class Rates(Case):
    def test_a_tenants_limit_holds_for_it_alone_over_all_workers(self):
        self.lab.tenants[self.lab.a].setdefault("limits", {})["handshakes_per_s"] = 5
        self.lab.start_gateway()
        ctx = {t: tls.context(self.lab.client(t)) for t in (self.lab.a, self.lab.b)}
        began = time.monotonic()
        answers = [self.attempt(self.lab.a, ctx[self.lab.a]) for _ in range(60)]
        took = time.monotonic() - began
        self.assertGreaterEqual(answers.count("ok"), 5)
        self.assertLessEqual(answers.count("ok"), 5 + 5 * took + 1)
        self.assertEqual([self.attempt(self.lab.b, ctx[self.lab.b]) for _ in range(20)],
                         ["ok"] * 20)
        line = self.lab.gateway.wait("limit")
        self.assertIn("limits.handshakes_per_s (5) of tenant %s is reached" % self.lab.a,
                      line.message)
        self.assertLess(len(self.lab.gateway.all("limit")), 30)
        # nothing else is said of those that were turned away
        self.assertEqual(len(self.lab.gateway.all("tunnel")), answers.count("ok") + 20)

    def test_a_source_addresss_limit_is_that_of_one_address(self):
        self.lab.gateway_config.setdefault("limits", {})["handshakes_per_s"] = 3
        self.lab.start_gateway()

        def connect(source):
            sock = socket.socket()
            sock.settimeout(10)
            sock.bind((source, 0))
            sock.connect(self.lab.address)
            return sock

        def is_let_in(source):
            with connect(source) as sock:
                try:
                    sock.sendall(tls.client_hello(tls.host_name(self.lab.name_of(self.lab.a))))
                    return sock.recv(1) != b""
                except ConnectionError:
                    return False
        first = [is_let_in("127.0.0.1") for _ in range(30)]
        self.assertIn(False, first)
        self.assertEqual(first[:3], [True] * 3)
        self.assertTrue(is_let_in("127.0.0.2"))
        self.assertIn("limits.handshakes_per_s (3) of a source address is reached",
                      self.lab.gateway.wait("limit").message)
        self.lab.gateway_config["limits"]["handshakes_per_s"] = 0
        self.lab.reload()
        self.assertEqual([is_let_in("127.0.0.1") for _ in range(10)], [True] * 10)


class Flood(Case):
    def test_a_flood_of_hellos_for_one_tenant_delays_another_and_its_channels_little(self):
        """Hundreds of clients of a that never finish, each a full first flight of work; b's
        handshakes and the echo on an open channel go on."""
        self.lab.gateway_config["workers"] = 1
        self.lab.start_gateway()
        ctx = tls.context(self.lab.client(self.lab.b))
        hello = tls.client_hello(tls.host_name(self.lab.name_of(self.lab.a)))
        over = threading.Event()

        def flood():
            while not over.is_set():
                socks = []
                for _ in range(100):
                    sock = lab.connect(self.lab.address)
                    sock.sendall(hello)
                    socks.append(sock)
                for sock in socks:
                    sock.close()

        calm = self.times(ctx)
        threads = [threading.Thread(target=flood) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            stormy = self.times(ctx)
        finally:
            over.set()
            for thread in threads:
                thread.join()
        # a bound against starvation, not a measurement: the bench measures
        self.assertLess(stormy, 20 * calm + 1)

    def times(self, ctx):
        began = time.monotonic()
        for _ in range(20):
            self.assertEqual(self.attempt(self.lab.b, ctx), "ok")
        return (time.monotonic() - began) / 20


if __name__ == "__main__":
    lab.main()
