#!/usr/bin/env python3
"""Session tickets: whose they are, when they are given, and that they decide nothing."""

import os
import ssl
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import lab
import tls

VERSIONS = (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2)


class Case(lab.LabCase):
    def setUp(self):
        super().setUp()
        self.lab.gateway_config["tls"] = {"min_version": "1.2"}
        self.name_a, self.name_b = (self.lab.name_of(t) for t in (self.lab.a, self.lab.b))

    def visit(self, name, ctx, session=None):
        """One connection: the answer, its session, whether it was resumed, the gateway's line."""
        mark = self.lab.gateway.mark()
        ticket, reused, peer = None, None, None
        try:
            with tls.Client(self.lab.address, name, ctx, session) as client:
                client.send(tls.PROBE)
                answer = "ok" if client.recv().startswith(b"HTTP/1.1 ") else "closed"
                ticket, reused = client.sock.session, client.sock.session_reused
        except ssl.SSLError as error:
            answer = tls.alert_of(error)
        return answer, ticket, reused, self.lab.gateway.wait("tunnel", since=mark)

    def ticket_of(self, name, ctx):
        answer, ticket, reused, _ = self.visit(name, ctx)
        self.assertEqual((answer, reused), ("ok", False))
        self.assertTrue(ticket and ticket.has_ticket, "no ticket was given")
        return ticket


class Resumption(Case):
    def test_a_ticket_resumes_for_its_own_tenant_on_every_worker(self):
        self.lab.start_gateway()
        cert = self.lab.client(self.lab.a, "alice")
        for version in VERSIONS:
            with self.subTest(version.name):
                ctx = tls.context(cert, version=version)
                ticket = self.ticket_of(self.name_a, ctx)
                for _ in range(8):
                    answer, _, reused, event = self.visit(self.name_a, ctx, ticket)
                    self.assertEqual((answer, reused, event.resumed), ("ok", True, True))
                    # Decided anew, from the chain that the session carries:
                    self.assertEqual((event.action, event.subject, event.fingerprint),
                                     ("allow", "CN=alice", cert.fingerprint()))

    def test_the_ticket_comes_though_nothing_is_asked_for(self):
        """It goes out with the first answer; without one it does not wait for long."""
        self.lab.start_gateway()
        ctx = tls.context(self.lab.client(self.lab.a))
        with tls.Client(self.lab.address, self.name_a, ctx) as client:
            client.sock.settimeout(0.05)
            end = time.monotonic() + 5 * lab.SLOW
            while not (client.sock.session and client.sock.session.has_ticket):
                self.assertLess(time.monotonic(), end, "no ticket came")
                with self.assertRaises(TimeoutError):
                    client.recv()
            self.assertTrue(client.sock.session.has_ticket)

    def test_a_ticket_of_one_tenant_never_resumes_at_another(self):
        self.lab.start_gateway()
        for version in VERSIONS:
            with self.subTest(version.name):
                ctx = tls.context(self.lab.client(self.lab.a), version=version)
                ticket = self.ticket_of(self.name_a, ctx)
                for _ in range(3):
                    answer, _, _, event = self.visit(self.name_b, ctx, ticket)
                    self.assertEqual((answer, event.tenant, event.reason, event.resumed),
                                     ("unknown_ca", self.lab.b, "untrusted_issuer", False))

    def test_not_even_when_both_tenants_trust_the_same_ca_and_show_the_same_certificate(self):
        ca = self.lab.pki.ca("Shared CA")
        for tenant in (self.lab.a, self.lab.b):
            config = self.lab.tenants[tenant]
            config["client_validation"]["trusted_cas"] = [ca.pem]
            config.pop("certificate", None)
            config.pop("private_key", None)
        self.lab.start_gateway()
        for version in VERSIONS:
            with self.subTest(version.name):
                ctx = tls.context(self.lab.pki.leaf("alice", ca), version=version)
                ticket = self.ticket_of(self.name_a, ctx)
                answer, _, reused, event = self.visit(self.name_b, ctx, ticket)
                self.assertEqual((answer, reused, event.resumed, event.tenant),
                                 ("ok", False, False, self.lab.b))

    def test_s_client_with_anothers_ticket_and_no_certificate_is_nobody(self):
        """The attack on a shared ticket key: A's session, shown at B without any certificate."""
        self.lab.start_gateway()
        cert = self.lab.client(self.lab.a)
        session = os.path.join(self.lab.folder, "session")

        def s_client(name, *more):
            return lab.run("openssl", "s_client", "-connect", "%s:%d" % self.lab.address, "-alpn",
                           "http/1.1", "-ign_eof", "-servername", name, *more,
                           input=tls.PROBE.decode())
        for version in ("-tls1_3", "-tls1_2"):
            with self.subTest(version):
                first = s_client(self.name_a, version, "-cert", cert.pem, "-key", cert.key,
                                 "-sess_out", session)
                self.assertIn("HTTP/1.1 405", first.stdout)
                own = s_client(self.name_a, version, "-sess_in", session)
                self.assertIn("HTTP/1.1 405", own.stdout)
                self.assertIn("Reused, TLSv1", own.stdout)
                other = s_client(self.name_b, version, "-sess_in", session)
                self.assertNotIn("HTTP/1.1", other.stdout)
                self.assertNotIn("Reused, TLSv1", other.stdout)
                event = self.lab.gateway.wait("tunnel", lambda e: e.get("tenant") == self.lab.b)
                self.assertEqual((event.action, event.reason), ("block", "no_certificate"))


class DecidedAgain(Case):
    def test_a_certificate_that_expired_since_is_refused_on_resumption(self):
        self.lab.start_gateway()
        for version in VERSIONS:
            with self.subTest(version.name):
                ends = time.time() + 3 * max(lab.SLOW, 1)
                cert = self.lab.client(self.lab.a, not_after=ends)
                ctx = tls.context(cert, version=version)
                ticket = self.ticket_of(self.name_a, ctx)
                self.assertTrue(self.visit(self.name_a, ctx, ticket)[2], "it resumed before")
                lab.until(lambda: time.time() > ends + 1.1, timeout=20, what="the certificate ends")
                answer, _, _, event = self.visit(self.name_a, ctx, ticket)
                self.assertEqual((answer, event.action, event.reason, event.resumed),
                                 ("certificate_expired", "block", "expired", True))

    def test_after_a_reload_the_new_state_decides_about_old_tickets(self):
        changes = {
            "the CA is no longer trusted": (
                lambda t: t["client_validation"].update(trusted_cas=[self.other.pem]),
                "unknown_ca", "untrusted_issuer"),
            "the tenant is disabled": (
                lambda t: t.update(enabled=False), "access_denied", "tenant_disabled"),
        }
        self.other = self.lab.pki.ca("Another CA")
        before = {k: (v.copy() if isinstance(v, dict) else v)
                  for k, v in self.lab.tenants[self.lab.a].items()}
        self.lab.start_gateway()
        cert = self.lab.client(self.lab.a)
        for what, (change, alert, reason) in changes.items():
            for version in VERSIONS:
                with self.subTest(what, version=version.name):
                    ctx = tls.context(cert, version=version)
                    ticket = self.ticket_of(self.name_a, ctx)
                    change(self.lab.tenants[self.lab.a])
                    self.lab.reload()
                    answer, _, _, event = self.visit(self.name_a, ctx, ticket)
                    self.assertEqual((answer, event.action, event.reason),
                                     (alert, "block", reason))
                    self.lab.tenants[self.lab.a] = {
                        k: (v.copy() if isinstance(v, dict) else v) for k, v in before.items()}
                    self.lab.reload()


class Given(Case):
    def tickets_given(self, *client):
        """How many NewSessionTicket messages openssl s_client shows, and its whole output."""
        shown = lab.run("openssl", "s_client", "-connect", "%s:%d" % self.lab.address, "-alpn",
                        "http/1.1", "-ign_eof", "-msg", "-servername", self.name_a, *client,
                        input=tls.PROBE.decode())
        return shown.stdout.count(", NewSessionTicket"), shown.stdout + shown.stderr

    def test_one_ticket_is_given_and_only_after_the_verdict(self):
        self.lab.start_gateway()
        good, stranger = (self.lab.client(self.lab.a),
                          self.lab.pki.leaf("x", self.lab.pki.ca("Stranger")))
        count, shown = self.tickets_given("-tls1_3", "-cert", good.pem, "-key", good.key)
        self.assertIn("HTTP/1.1 405", shown)
        self.assertEqual(count, 1, shown)
        count, shown = self.tickets_given("-tls1_3", "-cert", stranger.pem, "-key", stranger.key)
        self.assertNotIn("HTTP/1.1", shown)
        self.assertEqual(count, 0, shown)

    def test_no_tickets_where_a_certificate_is_optional(self):
        """Neither under on_failure: allow, nor where no_certificate alone is allowed."""
        validation = self.lab.tenants[self.lab.a]["client_validation"]
        self.lab.start_gateway()
        good = self.lab.client(self.lab.a)
        for change in ({"on_failure": "allow", "on": {}},
                       {"on_failure": "block", "on": {"no_certificate": "allow"}}):
            validation.update(change)
            self.lab.reload()
            for version in ("-tls1_3", "-tls1_2"):
                for client in ((), ("-cert", good.pem, "-key", good.key)):
                    with self.subTest(str(change), version=version, certificate=bool(client)):
                        count, shown = self.tickets_given(version, *client)
                        self.assertIn("HTTP/1.1 405", shown)
                        self.assertEqual(count, 0, shown)


if __name__ == "__main__":
    lab.main()
