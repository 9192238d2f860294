#!/usr/bin/env python3
"""OCSP at the gateway: what a tenant's responder says about its clients."""
import os
import re
import socket
import ssl
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import dns
import lab
import ocsp_der
import tls
from responder import Responder

UNKNOWN = "whether it is revoked is not known: "


class Case(lab.LabCase):
    def setUp(self):
        super().setUp()
        self.name = self.lab.name_of(self.lab.a)
        self.validation = self.lab.tenants[self.lab.a]["client_validation"]
        self.responder = self.make_responder()
        self.ocsp = self.validation["ocsp"] = {"mode": "hard", "responder": self.responder.url}

    def make_responder(self, **more):
        responder = Responder(self.lab.folder, more.pop("ca", self.lab.ca[self.lab.a]), **more)
        self.addCleanup(responder.close)
        return responder

    def known(self, name="good", **spec):
        cert = self.lab.client(self.lab.a, name, **spec)
        self.responder.know(cert)
        return cert

    def ask(self, cert, **more):
        """The client's answer and the gateway's line."""
        mark = self.lab.gateway.mark()
        answer = tls.verdict(self.lab.address, self.name, tls.context(cert, **more))
        return answer, self.lab.gateway.wait("tunnel", since=mark)


class Answers(Case):
    def test_good_passes_and_says_who_said_so(self):
        good = self.known()
        self.lab.start_gateway()
        for _ in range(3):
            answer, event = self.ask(good)
            self.assertEqual((answer, event.action, event.observed_errors), ("ok", "allow", []))
            said = event.revocation["ocsp"]
            self.assertEqual(said["responder"], self.responder.url)
            self.assertRegex(said["response_hash"], "^sha256:[0-9a-f]{64}$")
            self.assertLess(said["this_update"], said["next_update"])
            self.assertIn("Test CA", said["signer"])
        self.assertEqual(self.responder.asked, 1)

    def test_revoked_is_refused_at_both_ends_whatever_the_mode_and_the_policy(self):
        self.validation["on_failure"] = "allow"
        for mode in ("hard", "soft"):
            self.ocsp["mode"] = mode
            self.lab.start_gateway()
            bad = self.lab.client(self.lab.a, "bad")
            self.responder.revoke(bad)
            answer, event = self.ask(bad)
            self.assertEqual((answer, event.action, event.reason, event.alert),
                             ("certificate_revoked", "block", "revoked", "certificate_revoked"))
            self.assertRegex(event.detail, "^revoked on .*: keyCompromise, says the OCSP response "
                             "of http://127")
            self.lab.stop(self.lab.gateway)

    def test_off_asks_nobody(self):
        self.ocsp["mode"] = "off"
        bad = self.lab.client(self.lab.a, "bad")
        self.responder.revoke(bad)
        self.lab.start_gateway()
        answer, event = self.ask(bad)
        self.assertEqual((answer, event.action, event.get("revocation")), ("ok", "allow", None))
        self.assertEqual(self.responder.asked, 0)

    def test_tls_1_2_waits_for_the_answer_too(self):
        self.lab.gateway_config["tls"] = {"min_version": "1.2"}
        good, bad = self.known(), self.lab.client(self.lab.a, "bad")
        self.responder.revoke(bad)
        nobody = self.lab.client(self.lab.a, "nobody")
        self.lab.start_gateway()
        for cert, wanted, reason in ((good, "ok", None), (bad, "certificate_revoked", "revoked"),
                                     (nobody, "certificate_unknown", "revocation_unknown")):
            for _ in range(2):
                answer, event = self.ask(cert, version=ssl.TLSVersion.TLSv1_2)
                self.assertEqual((answer, event.get("reason"), event.tls),
                                 (wanted, reason, "TLS1.2"))
        self.assertGreaterEqual(self.responder.asked, 3)

    def test_openssl_itself_answers(self):
        good, bad = self.known(), self.lab.client(self.lab.a, "bad")
        self.responder.revoke(bad)
        ca = self.lab.ca[self.lab.a]
        server = subprocess.Popen(
            ["openssl", "ocsp", "-port", "0", "-index", self.responder.index, "-CA", ca.pem,
             "-rsigner", ca.pem, "-rkey", ca.key, "-nmin", "5"], stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True)
        self.addCleanup(server.stdout.close)
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        port = None
        while not port:
            line = server.stdout.readline()
            self.assertTrue(line, "openssl ocsp has ended")
            port = re.search(r"ACCEPT .*:(\d+)", line)
        self.ocsp["responder"] = "http://127.0.0.1:%s/" % port.group(1)
        self.lab.start_gateway()
        self.assertEqual(self.ask(good)[0], "ok")
        self.assertEqual(self.ask(bad)[0], "certificate_revoked")

    def test_a_ticket_does_not_outlive_the_answer(self):
        self.lab.gateway_config["tls"] = {"min_version": "1.2"}
        self.ocsp.update(max_age_s=2, nonce=True)
        self.lab.start_gateway()
        for version in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2):
            with self.subTest(version.name):
                cert = self.known("device")
                ctx = tls.context(cert, version=version)
                first = self.lab.gateway.mark()
                with tls.Client(self.lab.address, self.name, ctx) as client:
                    client.send(tls.PROBE)
                    self.assertTrue(client.recv().startswith(b"HTTP/1.1 "))
                    ticket = client.sock.session
                self.lab.gateway.wait("tunnel_closed", since=first)
                mark = self.lab.gateway.mark()
                with tls.Client(self.lab.address, self.name, ctx, ticket) as client:
                    client.send(tls.PROBE)
                    self.assertTrue(client.recv().startswith(b"HTTP/1.1 "))
                self.assertTrue(self.lab.gateway.wait("tunnel", since=mark).resumed)
                self.lab.gateway.wait("tunnel_closed", since=mark)
                self.responder.revoke(cert)

                def refused():
                    nonlocal event, answer
                    mark = self.lab.gateway.mark()
                    try:
                        with tls.Client(self.lab.address, self.name, ctx, ticket) as client:
                            client.send(tls.PROBE)
                            answer = "ok" if client.recv() else "closed"
                    except ssl.SSLError as error:
                        answer = tls.alert_of(error)
                    event = self.lab.gateway.wait("tunnel", since=mark)
                    return answer != "ok"
                event = answer = None
                lab.until(refused, timeout=10, every=0.3, what="the revocation is noticed")
                self.assertEqual((answer, event.resumed, event.reason),
                                 ("certificate_revoked", True, "revoked"))


class NoAnswer(Case):
    """Whatever is no good answer is none, and says why."""

    def troubles(self):
        """What is wrong, the responder's mode and body, and the end of the detail."""
        self.other = self.make_responder()
        at = re.escape(self.responder.url)
        return (
            ("unknown", "good", None, at + ": the responder does not know the certificate"),
            ("503", "error", None, at + ": answered 503"),
            ("hang", "hang", None, at + r": no answer within \d+ ms"),
            ("drip", "drip", None, at + r": the answer was not complete within \d+ ms"),
            ("redirect", "redirect", self.other.url, at + r": redirects to \S+ \(302\), which is "
             "not followed"),
            ("garbage", "body", b"garbage", at + ": it is malformed: its beginning"),
            ("huge", "body", b"0" * 65537, at + ": more than 65536 bytes"),
            ("empty", "body", b"", at + ": it is malformed: its beginning"),
        )

    def each(self, check):
        self.ocsp["timeout_ms"] = int(1000 * lab.SLOW)
        troubles = self.troubles()
        self.lab.start_gateway()
        for what, mode, body, detail in troubles:
            with self.subTest(what):
                self.responder.mode, self.responder.body = mode, body
                asked = self.responder.asked
                cert = self.lab.client(self.lab.a, what)
                begun = time.monotonic()
                check(*self.ask(cert), "^" + UNKNOWN + detail)
                self.assertLess(time.monotonic() - begun, 3 * lab.SLOW)
                self.assertEqual(self.responder.asked, asked + 1)
        self.assertEqual(self.other.asked, 0)

    def test_hard_blocks(self):
        def check(answer, event, detail):
            self.assertEqual((answer, event.action, event.reason, event.alert),
                             ("certificate_unknown", "block", "revocation_unknown",
                              "certificate_unknown"))
            self.assertRegex(event.detail, detail)
            self.assertRegex(event.rule, r"client_validation\.on_failure")
            self.assertEqual(event.revocation["ocsp"]["responder"], self.responder.url)
        self.each(check)

    def test_hard_lets_the_policy_decide(self):
        self.validation["on"] = {"revocation_unknown": "allow"}

        def check(answer, event, detail):
            self.assertEqual((answer, event.action, event.reason, event.observed_errors),
                             ("ok", "allow-unvalidated", "revocation_unknown",
                              ["revocation_unknown"]))
            self.assertRegex(event.detail, detail)
            self.assertRegex(event.rule, r"client_validation\.on\.revocation_unknown$")
        self.each(check)

    def test_soft_passes_and_says_so(self):
        self.ocsp["mode"] = "soft"
        self.validation["on"] = {"revocation_unknown": "block"}  # it is not asked

        def check(answer, event, detail):
            self.assertEqual((answer, event.action, event.validate_status, event.observed_errors),
                             ("ok", "allow", "valid", ["revocation_unknown"]))
            self.assertRegex(event.detail, detail)
            self.assertRegex(event.rule, r"client_validation\.ocsp\.mode \(soft\)$")
        self.each(check)

    def test_nobody_there(self):
        names = dns.Server({})
        self.addCleanup(names.close)
        self.lab.gateway_config["resolver"] = {"servers": [names.address]}
        with socket.create_server(("127.0.0.1", 0)) as server:
            closed = server.getsockname()[1]
        for url, detail in (("http://127.0.0.1:%d/" % closed, "127.0.0.1:%d.*refused" % closed),
                            ("http://ocsp.example/x", "ocsp.example: no such name")):
            for mode, wanted in (("hard", "certificate_unknown"), ("soft", "ok")):
                with self.subTest(url, mode=mode):
                    self.ocsp.update(mode=mode, responder=url)
                    self.lab.start_gateway()
                    answer, event = self.ask(self.lab.client(self.lab.a))
                    self.assertEqual((answer, event.observed_errors),
                                     (wanted, ["revocation_unknown"]))
                    self.assertRegex(event.detail, detail)
                    said = self.lab.gateway.wait("ocsp")
                    self.assertEqual((said.ok, said.tenant, said.responder),
                                     (False, self.lab.a, url))
                    self.assertRegex(said.error, detail)
                    self.lab.stop(self.lab.gateway)


class Forged(Case):
    """Answers that somebody else gave, or about something else, or at another time."""

    def setUp(self):
        super().setUp()
        self.ca = self.lab.ca[self.lab.a]
        self.responder.mode = "body"

    def check(self, make, detail, wanted="certificate_unknown"):
        self.responder.body = make
        answer, event = self.ask(self.known("device"))
        self.assertEqual((answer, event.action), (wanted, "allow" if wanted == "ok" else "block"),
                         event.get("detail"))
        if detail:
            self.assertRegex(event.detail, detail)

    def by_hand(self, *entries, signer=None):
        """entries: functions of the CertID that is asked about."""
        def make(request):
            cert_id, extensions = ocsp_der.question(request)
            return ocsp_der.response(signer or self.ca, [e(cert_id) for e in entries], extensions)
        return make

    def test_what_is_no_answer_to_the_question(self):
        entry, other = ocsp_der.entry, ocsp_der.other_serial
        stranger = self.make_responder(ca=self.lab.ca[self.lab.b])
        self.lab.start_gateway()
        for what, make, detail, *wanted in (
                ("as it should be", self.by_hand(entry), None, "ok"),
                ("another serial", self.by_hand(lambda i: entry(other(i))),
                 "is about another certificate"),
                ("another CA", stranger.respond, "was not issued by"),
                ("another CA's signature", self.by_hand(entry, signer=self.lab.ca[self.lab.b]),
                 "sign|issuer"),
                ("from the future", self.by_hand(lambda i: entry(i, begin=3600, end=7200)),
                 "future"),
                ("stale", self.by_hand(lambda i: entry(i, begin=-7200, end=-3600)), "stale"),
                ("too old", self.by_hand(lambda i: entry(i, begin=-86400 - 3600, end=3600)),
                 "stale|old"),
                ("the second entry is ours", self.by_hand(
                    lambda i: entry(other(i), ocsp_der.revoked(time.time() - 60)), entry), None,
                 "ok"),
                ("the second entry says revoked", self.by_hand(
                    lambda i: entry(other(i)),
                    lambda i: entry(i, ocsp_der.revoked(time.time() - 60))), "^revoked on",
                 "certificate_revoked"),
                ("good and revoked", self.by_hand(
                    entry, lambda i: entry(i, ocsp_der.revoked(time.time() - 60))), None,
                 "certificate_revoked")):
            with self.subTest(what):
                self.check(make, detail, *wanted)

    def test_who_may_sign(self):
        leaf = self.lab.pki.leaf
        signers = (
            ("delegated", leaf("Responder", self.ca, eku="OCSPSigning"), "ok"),
            ("without the purpose", leaf("Responder", self.ca), "certificate_unknown"),
            ("another CA's delegate", leaf("Responder", self.lab.ca[self.lab.b],
                                           eku="OCSPSigning"), "certificate_unknown"))
        self.lab.start_gateway()
        for what, signer, wanted in signers:
            with self.subTest(what):
                self.responder.signer = signer
                self.check(self.responder.respond, None, wanted)

    def test_a_replayed_answer_counts_only_where_no_nonce_is_wanted(self):
        cert = self.known("device")
        old = self.responder.response_for(cert)
        self.responder.revoke(cert)
        self.responder.body = old
        for nonce, wanted in ((True, "certificate_unknown"), (False, "ok")):
            self.ocsp["nonce"] = nonce
            self.lab.start_gateway()
            answer, event = self.ask(cert)
            self.assertEqual(answer, wanted)
            if nonce:
                self.assertIn("nonce", event.detail)
            self.lab.stop(self.lab.gateway)

    def test_without_a_nonce_age_is_the_bound(self):
        self.ocsp.update(nonce=False, max_age_s=30)
        self.lab.start_gateway()
        self.check(self.by_hand(lambda i: ocsp_der.entry(i, begin=-20)), None, "ok")
        self.check(self.by_hand(lambda i: ocsp_der.entry(i, begin=-40)), "stale|old")
        self.check(self.by_hand(lambda i: ocsp_der.entry(i, end=None)), None, "ok")


class FromTheCertificate(Case):
    def test_a_certificate_cannot_send_the_gateway_to_its_own_network(self):
        del self.ocsp["responder"]
        port = self.responder.server.server_port
        self.lab.start_gateway()
        for url, why in (("http://127.0.0.1:%d/ocsp" % port, "127.0.0.1 is a loopback address"),
                         ("http://localhost:%d/ocsp" % port, "is a loopback address"),
                         ("http://[::1]:%d/ocsp" % port, "::1 is a loopback address"),
                         ("http://[::ffff:127.0.0.1]:%d/ocsp" % port, "loopback"),
                         ("http://2130706433:%d/ocsp" % port, ""),
                         ("http://169.254.169.254/latest", "169.254.169.254 is a metadata address"),
                         ("http://10.0.0.1/ocsp", "10.0.0.1 is a private address"),
                         ("file:///etc/passwd", "names no OCSP responder"),
                         (None, "names no OCSP responder")):
            with self.subTest(url):
                cert = self.known("device", ocsp_uri=url)
                answer, event = self.ask(cert)
                self.assertEqual((answer, event.reason), ("certificate_unknown",
                                                          "revocation_unknown"))
                self.assertIn(why, event.detail)
        self.assertEqual(self.responder.asked, 0)

    def test_the_administrator_may_write_the_same_url(self):
        cert = self.known("device", ocsp_uri="http://127.0.0.1:9/never")
        self.lab.start_gateway()
        self.assertEqual(self.ask(cert)[0], "ok")
        self.assertEqual(self.responder.asked, 1)

    def test_nobody_is_asked_for_a_stranger(self):
        cert = self.lab.pki.leaf("x", self.lab.pki.ca("Stranger"), ocsp_uri=self.responder.url)
        self.validation["on_failure"] = "allow"
        self.lab.start_gateway()
        answer, event = self.ask(cert)
        self.assertEqual((answer, event.observed_errors),
                         ("ok", ["untrusted_issuer", "revocation_unknown"]))
        self.assertEqual(self.responder.asked, 0)


class Settings(Case):
    def test_a_time_limit_that_no_handshake_would_see_is_warned_of(self):
        self.ocsp["timeout_ms"] = 6000
        self.lab.start_gateway()
        warning = self.lab.gateway.wait("configuration")
        self.assertRegex(warning.message, r"ocsp\.timeout_ms: 6000 is not less than "
                         r"limits\.handshake_ms \(5000\)")


if __name__ == "__main__":
    lab.main()
