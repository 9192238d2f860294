#!/usr/bin/env python3
"""The verdict: every reason, at both ends: what the refused peer is told, and what is logged."""

import os
import re
import socket
import ssl
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import lab
import mint
import tls

DAY = mint.DAY


def client_cases(pki, ca, kin):
    """What can be wrong with a client: reason -> (certificate or None, send the whole chain, alert).

    `ca` is what the tenant trusts; `kin` is a word of its name, as an intermediate of it would have:
    nothing else tells a forgotten intermediate from a stranger."""
    now = time.time()
    intermediate = pki.ca("Clients of " + kin, issuer=ca)
    narrow = pki.ca("Narrow", issuer=ca, permitted_dns="allowed.example")
    stranger = pki.ca("Stranger CA")
    good = pki.leaf("good", ca)
    not_a_ca = pki.leaf("no ca", ca)
    fillers = [pki.leaf("filler %d" % i, ca) for i in range(11)]
    large = pki.leaf("large", ca)
    large.chain = pki.bundle("large.pem", large, *fillers)
    return {
        "no_certificate": (None, True, "certificate_required"),
        "untrusted_issuer": (pki.leaf("stranger", stranger), True, "unknown_ca"),
        "missing_intermediate": (pki.leaf("below", intermediate), False, "unknown_ca"),
        "expired": (pki.leaf("old", ca, not_before=now - 9 * DAY, not_after=now - 3 * DAY),
                    True, "certificate_expired"),
        "not_yet_valid": (pki.leaf("future", ca, not_before=now + DAY, not_after=now + 9 * DAY),
                          True, "certificate_expired"),
        "wrong_purpose": (pki.leaf("server", ca, eku="serverAuth"), True,
                          "unsupported_certificate"),
        "weak_algorithm": (pki.leaf("weak", ca, md="sha1"), True, "bad_certificate"),
        "weak_algorithm, RSA 1024": (pki.leaf("short", ca, key="rsa:1024"), True,
                                     "bad_certificate"),
        "bad_signature": (pki.broken_signature(good), True, "bad_certificate"),
        "constraint_violation": (pki.leaf("outside", narrow, dns=["other.example"]), True,
                                 "bad_certificate"),
        "constraint_violation, issued by a leaf": (pki.leaf("below a leaf", not_a_ca), True,
                                                   "bad_certificate"),
        "chain_too_large": (large, True, "bad_certificate"),
    }


class Clients(lab.LabCase):
    """The gateway about clients."""

    def setUp(self):
        super().setUp()
        self.name = self.lab.name_of(self.lab.a)
        self.tenant = self.lab.tenants[self.lab.a]
        self.ca = self.lab.ca[self.lab.a]

    def decided(self, cert, chain=True, **more):
        mark = self.lab.gateway.mark()
        ctx = tls.context(cert, chain=chain, **more)
        answer, peer = tls.ask(self.lab.address, self.name, ctx)
        return answer, self.lab.gateway.wait("tunnel", lambda e: e.peer == peer, mark)

    def test_a_good_client_passes_and_every_field_of_the_design_is_logged(self):
        self.lab.start_gateway()
        cert = self.lab.client(self.lab.a, "alice")
        answer, event = self.decided(cert)
        self.assertEqual(answer, "ok")
        self.assertEqual(event.level, "info")
        self.assertRegex(event.ts, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        wanted = {"action": "allow", "validate_status": "valid", "observed_errors": [],
                  "tenant": self.lab.a, "sni": self.name, "subject": "CN=alice",
                  "issuer": "CN=Test CA of " + self.lab.a, "fingerprint": cert.fingerprint(),
                  "tls": "TLS1.3", "resumed": False}
        self.assertEqual({k: event.get(k) for k in wanted}, wanted)
        self.assertEqual(int(event.serial, 16), int(cert.field("serial"), 16))
        self.assertRegex(event.peer, r"^127\.0\.0\.1:\d+$")
        self.assertTrue(event.cipher)

    def test_each_reason_is_refused_with_its_own_alert_and_logged(self):
        self.lab.start_gateway()
        for what, (cert, chain, alert) in client_cases(self.lab.pki, self.ca, self.lab.a).items():
            with self.subTest(what):
                reason = what.split(",")[0]
                answer, event = self.decided(cert, chain)
                self.assertEqual(answer, alert)
                self.assertIn(reason, event.observed_errors)
                self.assertEqual((event.action, event.validate_status, event.reason,
                                  event.tenant), ("block", "failed", reason, self.lab.a))
                if cert:
                    self.assertEqual(event.fingerprint, cert.fingerprint())
        self.assertEqual(self.decided(self.lab.client(self.lab.a))[0], "ok")

    def test_each_reason_is_refused_with_its_own_alert_under_tls12(self):
        self.lab.gateway_config["tls"] = {"min_version": "1.2"}
        self.lab.start_gateway()
        old = ssl.TLSVersion.TLSv1_2
        for what, (cert, chain, alert) in client_cases(self.lab.pki, self.ca, self.lab.a).items():
            with self.subTest(what):
                if not cert:
                    alert = "handshake_failure"  # 1.2 has no certificate_required
                answer, event = self.decided(cert, chain, version=old)
                self.assertEqual(answer, alert)
                self.assertEqual((event.action, event.reason), ("block", what.split(",")[0]))
        answer, event = self.decided(self.lab.client(self.lab.a), version=old)
        self.assertEqual((answer, event.tls), ("ok", "TLS1.2"))

    def test_on_failure_allow_lets_each_pass_marked_unvalidated(self):
        self.tenant["client_validation"]["on_failure"] = "allow"
        self.lab.start_gateway()
        for what, (cert, chain, _) in client_cases(self.lab.pki, self.ca, self.lab.a).items():
            with self.subTest(what):
                answer, event = self.decided(cert, chain)
                self.assertEqual((answer, event.action, event.validate_status),
                                 ("ok", "allow-unvalidated", "unvalidated"))
                self.assertIn(what.split(",")[0], event.observed_errors)
                self.assertIn("on_failure", event.rule)

    def test_on_overrides_on_failure_one_reason_at_a_time(self):
        now = time.time()
        old = self.lab.client(self.lab.a, "old", not_before=now - 9 * DAY, not_after=now - DAY)
        old_server = self.lab.client(self.lab.a, "os", not_before=now - 9 * DAY,
                                     not_after=now - DAY, eku="serverAuth")
        cases = [
            ("block", {"expired": "allow"}, old, "ok", "allow-unvalidated", "on.expired"),
            ("block", {"wrong_purpose": "allow"}, old, "certificate_expired", "block",
             "on_failure"),
            ("allow", {"expired": "block"}, old, "certificate_expired", "block", "on.expired"),
            # Both reasons must be allowed: one that blocks is enough.
            ("block", {"expired": "allow"}, old_server, "unsupported_certificate", "block",
             "on_failure"),
            ("block", {"expired": "allow", "wrong_purpose": "allow"}, old_server, "ok",
             "allow-unvalidated", "on."),
        ]
        self.lab.start_gateway()
        for on_failure, overrides, cert, answer, action, rule in cases:
            with self.subTest(on_failure=on_failure, on=overrides):
                self.tenant["client_validation"].update(on_failure=on_failure, on=overrides)
                self.lab.reload()
                got, event = self.decided(cert)
                self.assertEqual((got, event.action), (answer, action))
                self.assertIn(rule, event.rule)
                self.assertIn(self.lab.a, event.rule)

    def test_all_that_is_wrong_is_observed_not_only_the_first(self):
        now = time.time()
        stranger = self.lab.pki.ca("Stranger")
        cert = self.lab.pki.leaf("all wrong", stranger, eku="serverAuth", not_before=now - 9 * DAY,
                                 not_after=now - DAY)
        self.lab.start_gateway()
        answer, event = self.decided(cert)
        self.assertEqual(answer, "unknown_ca")
        self.assertEqual(set(event.observed_errors),
                         {"untrusted_issuer", "expired", "wrong_purpose"})

    def test_a_client_of_another_tenant_is_refused(self):
        self.lab.start_gateway()
        answer, event = self.decided(self.lab.client(self.lab.b, "bob"))
        self.assertEqual((answer, event.reason, event.tenant),
                         ("unknown_ca", "untrusted_issuer", self.lab.a))

    def test_a_disabled_tenant_is_refused_whatever_on_failure_says(self):
        self.tenant["enabled"] = False
        self.tenant["client_validation"]["on_failure"] = "allow"
        self.lab.start_gateway()
        answer, event = self.decided(self.lab.client(self.lab.a))
        self.assertEqual((answer, event.action, event.reason),
                         ("access_denied", "block", "tenant_disabled"))

    def test_on_failure_allow_does_not_make_a_common_name_a_tenant(self):
        for tenant in self.lab.tenants.values():
            tenant["client_validation"]["on_failure"] = "allow"
        self.lab.start_gateway()
        mark = self.lab.gateway.mark()
        answer = tls.verdict(self.lab.address,
                             self.lab.gateway_config["common"]["server_names"][0],
                             tls.context(self.lab.pki.leaf("x", self.lab.pki.ca("No tenant's"))))
        event = self.lab.gateway.wait("tunnel", since=mark)
        self.assertEqual((answer, event.reason), ("access_denied", "tenant_unknown"))

    def test_filler_certificates_lend_no_identity(self):
        """A self-signed leaf with somebody's good certificate behind it is not that somebody."""
        good = self.lab.client(self.lab.a, "victim")
        self.lab.start_gateway()
        for name, answers in (("intruder", ("unknown_ca",)),
                              ("victim", ("unknown_ca", "bad_certificate"))):
            with self.subTest(name):
                own = self.lab.pki.leaf(name, None)
                own.chain = self.lab.pki.bundle("filled.pem", own, good)
                answer, event = self.decided(own)
                self.assertIn(answer, answers)
                self.assertEqual(event.action, "block")
                self.assertEqual(event.fingerprint, own.fingerprint())

    def test_text_from_a_certificate_is_escaped_in_the_log(self):
        hostile = '/CN=x" , "action":"allow\\\\ \u2028 é/O=line\r\nbreak'
        cert = self.lab.client(self.lab.a, subject=hostile)
        self.lab.start_gateway()
        answer, event = self.decided(cert)
        self.assertEqual((answer, event.action), ("ok", "allow"))
        self.assertIn('"action"', event.subject.replace("\\", ""))
        self.assertEqual(self.lab.gateway.complaints(), [], "a line was broken")

    def test_nothing_is_relayed_before_the_verdict(self):
        """A client that is about to be refused sends its CONNECT along: no origin ever hears it."""
        heard = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(heard.close)
        self.lab.start_gateway()
        stranger = self.lab.pki.leaf("stranger", self.lab.pki.ca("Stranger"))
        target = "%s:%d" % heard.getsockname()
        mark = self.lab.gateway.mark()
        try:
            with tls.Client(self.lab.address, self.name, tls.context(stranger)) as client:
                client.send(("CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\nsecret" % (target, target))
                            .encode())
                self.assertEqual(client.recv(), b"", "an answer before the verdict")
        except (ssl.SSLError, ConnectionResetError):
            pass
        self.assertEqual(self.lab.gateway.wait("tunnel", since=mark).action, "block")
        # One that passes goes through the same listener afterwards: had the other been dialled, it
        # would be first in the queue.
        with tls.Client(self.lab.address, self.name, tls.context(self.lab.client(self.lab.a))) as c:
            self.assertEqual(c.connect(target)[0], 200)
            heard.settimeout(5)
            first, _ = heard.accept()
            with first:
                first.settimeout(5)
                c.send(b"mine")
                self.assertEqual(first.recv(100), b"mine")
        self.assertEqual(len(self.lab.gateway.all("channel", since=mark)) or 1, 1)


class OtherClients(lab.LabCase):
    """The alerts as other TLS libraries name them."""

    def setUp(self):
        super().setUp()
        self.name = self.lab.name_of(self.lab.a)
        self.cases = client_cases(self.lab.pki, self.lab.ca[self.lab.a], self.lab.a)
        self.lab.start_gateway()

    def test_openssl_s_client_sees_the_exact_alert(self):
        wanted = {"no_certificate": r"SSL alert number 116",
                  "untrusted_issuer": r"SSL alert number 48",
                  "expired": r"SSL alert number 45",
                  "wrong_purpose": r"SSL alert number 43",
                  "bad_signature": r"SSL alert number 42"}
        for what, pattern in wanted.items():
            with self.subTest(what):
                cert = self.cases[what][0]
                own = ["-cert", cert.pem, "-key", cert.key] if cert else []
                # Input stays open until the alert is in: s_client ends by itself on it.
                ours, theirs = socket.socketpair()
                with ours, theirs:
                    shown = lab.run("openssl", "s_client", "-connect",
                                    "%s:%d" % self.lab.address, "-servername", self.name, *own,
                                    stdin=theirs)
                self.assertRegex(shown.stdout + shown.stderr, pattern)

    def test_gnutls_cli_sees_the_exact_alert(self):
        wanted = {"no_certificate": r"[Cc]ertificate (is|was) required|\[116\]",
                  "untrusted_issuer": r"\[48\]", "expired": r"\[45\]", "wrong_purpose": r"\[43\]"}
        for what, pattern in wanted.items():
            with self.subTest(what):
                cert = self.cases[what][0]
                own = ["--x509certfile", cert.pem, "--x509keyfile", cert.key] if cert else []
                shown = lab.run("gnutls-cli", "--insecure", "--port", self.lab.address[1],
                                "--sni-hostname", self.name, *own, "127.0.0.1",
                                input="OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
                self.assertRegex(shown.stdout + shown.stderr, pattern)


class FakeGateway:
    """A TLS server with a certificate of the test's choice: what the agent says to it is kept."""

    def __init__(self, cert, chain=True):
        self.ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ctx.set_ciphers("DEFAULT:@SECLEVEL=0")
        self.ctx.load_cert_chain(cert.chain if chain else cert.pem, cert.key)
        self.ctx.set_alpn_protocols(["h2"])
        self.answers = []
        self.changed = threading.Condition()
        self.server = socket.create_server(("127.0.0.1", 0))
        self.address = self.server.getsockname()[:2]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            try:
                raw, _ = self.server.accept()
            except OSError:
                return
            raw.settimeout(10 * lab.SLOW)
            try:
                with self.ctx.wrap_socket(raw, server_side=True) as sock:
                    answer = "data" if sock.recv(100) else "closed"
            except ssl.SSLError as error:
                answer = tls.alert_of(error)
            except OSError as error:
                answer = type(error).__name__
            with self.changed:
                self.answers.append(answer)
                self.changed.notify_all()

    def first_answer(self):
        with self.changed:
            if not self.changed.wait_for(lambda: self.answers, 10 * lab.SLOW):
                raise AssertionError("the agent never came")
            return self.answers[0]

    def close(self):
        self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()


class Gateways(lab.LabCase):
    """The agent about gateways."""

    def setUp(self):
        super().setUp()
        self.name = self.lab.agent_config["server_name"]
        self.ca = self.lab.pki.ca("Ladybird Root CA")
        self.lab.agent_config["server_validation"] = {
            "mode": "pinned", "ca_files": [self.ca.pem], "on_failure": "block"}
        self.lab.agent_config["tunnels"] = 1

    def against(self, cert, chain=True):
        """The agent meets a gateway with this certificate: what it said, and what it logged."""
        fake = FakeGateway(cert, chain)
        self.addCleanup(fake.close)
        self.lab.address = fake.address
        agent = self.lab.start_agent(wait_up=False)
        event = agent.wait("tunnel")
        return fake.first_answer(), event

    def test_each_reason_is_refused_with_its_own_alert_and_logged(self):
        now = time.time()
        pki, ca, name = self.lab.pki, self.ca, self.name

        def server(issuer=ca, dns=name, eku="serverAuth", **more):
            return pki.leaf("gateway", issuer, eku=eku, dns=[dns], **more)

        good = server()
        intermediate = pki.ca("Ladybird Issuing CA", issuer=ca)
        cases = {
            "untrusted_issuer": (server(pki.ca("Stranger")), True, "unknown_ca"),
            "missing_intermediate": (server(intermediate), False, "unknown_ca"),
            "expired": (server(not_before=now - 9 * DAY, not_after=now - DAY), True,
                        "certificate_expired"),
            "not_yet_valid": (server(not_before=now + DAY, not_after=now + 9 * DAY), True,
                              "certificate_expired"),
            "wrong_purpose": (server(eku="clientAuth"), True, "unsupported_certificate"),
            "weak_algorithm": (server(md="sha1"), True, "bad_certificate"),
            "bad_signature": (pki.broken_signature(good), True, "bad_certificate"),
            "name_mismatch": (server(dns="other.example"), True, "bad_certificate"),
        }
        for reason, (cert, chain, alert) in cases.items():
            with self.subTest(reason):
                answer, event = self.against(cert, chain)
                self.assertEqual(answer, alert)
                self.assertEqual((event.action, event.validate_status, event.reason),
                                 ("block", "failed", reason))
                self.assertIn(reason, event.observed_errors)
                self.assertEqual(event.fingerprint, cert.fingerprint())
                self.lab.stop(self.lab.agent)
        with self.subTest("a good one passes"):
            answer, event = self.against(good)
            self.assertEqual((answer, event.action), ("data", "allow"))

    def test_on_failure_allow_goes_on_unvalidated(self):
        self.lab.agent_config["server_validation"]["on_failure"] = "allow"
        stranger = self.lab.pki.leaf("gateway", self.lab.pki.ca("Stranger"), eku="serverAuth",
                                     dns=["other.example"])
        answer, event = self.against(stranger)
        self.assertEqual(answer, "data")
        self.assertEqual((event.action, event.validate_status),
                         ("allow-unvalidated", "unvalidated"))
        self.assertEqual(set(event.observed_errors), {"untrusted_issuer", "name_mismatch"})

    def test_pinned_trusts_the_listed_files_only_and_trust_store_adds_the_systems(self):
        """The device's store is stood in for by SSL_CERT_FILE-free means: a listed CA serves both
        modes, and the laboratory's unlisted one serves none."""
        good = self.lab.pki.leaf("gateway", self.ca, eku="serverAuth", dns=[self.name])
        self.lab.agent_config["server_validation"]["mode"] = "trust_store"
        answer, event = self.against(good)
        self.assertEqual((answer, event.action), ("data", "allow"))
        self.lab.stop(self.lab.agent)
        stranger = self.lab.pki.leaf("gateway", self.lab.pki.ca("Stranger"), eku="serverAuth",
                                     dns=[self.name])
        answer, event = self.against(stranger)
        self.assertEqual((answer, event.reason), ("unknown_ca", "untrusted_issuer"))

    def test_a_gateway_that_does_not_speak_tls_is_not_tls(self):
        server = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(server.close)

        def plain():
            sock, _ = server.accept()
            with sock:
                sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                sock.recv(1000)
        threading.Thread(target=plain, daemon=True).start()
        self.lab.address = server.getsockname()[:2]
        agent = self.lab.start_agent(wait_up=False)
        event = agent.wait("tunnel")
        self.assertEqual((event.action, event.reason), ("block", "not_tls"))


class Sentences(lab.LabCase):
    """What the agent makes of a gateway's refusal."""

    def test_the_agent_turns_the_alert_into_a_sentence(self):
        cases = client_cases(self.lab.pki, self.lab.ca[self.lab.a], self.lab.a)
        self.lab.start_gateway()
        for what, subject, pattern in (("untrusted_issuer", "stranger", r"(?i)CA|issue"),
                                       ("expired", "old", r"(?i)expired|not valid"),
                                       ("wrong_purpose", "server", r"(?i)certificate")):
            with self.subTest(what):
                cert = cases[what][0]
                self.lab.agent_config["identity"] = {"certificate": cert.chain,
                                                     "private_key": cert.key}
                self.lab.agent_config["tunnels"] = 1
                agent = self.lab.start_agent(wait_up=False)
                refused = agent.wait("tunnel_failed", lambda e: "alert" in e)
                self.assertEqual(refused.alert, cases[what][2])
                self.assertRegex(refused.explanation, r"gateway")
                self.assertRegex(refused.explanation, pattern)
                self.assertGreaterEqual(len(re.findall(r"\w+", refused.explanation)), 5)
                self.assertEqual(refused.our_subject, "CN=" + subject)
                self.lab.stop(agent)

    def test_the_agent_explains_an_unknown_server_name(self):
        self.lab.agent_config["server_name"] = "nobody.example"
        self.lab.start_gateway()
        agent = self.lab.start_agent(wait_up=False)
        refused = agent.wait("tunnel_failed", lambda e: "alert" in e)
        self.assertEqual(refused.alert, "unrecognized_name")
        self.assertRegex(refused.explanation, r"name")


if __name__ == "__main__":
    lab.main()
