#!/usr/bin/env python3
"""Policy: exceptions that end, egress of unvalidated tunnels, rules for chains, the shadow."""

import hashlib
import os
import ssl
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import lab
import mint
import origin
import tls
from test_verdict import FakeGateway

DAY = mint.DAY


def moment(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def exception(cert, reason, until, **more):
    return {"fingerprint": cert.fingerprint(), "reason": reason, "until": moment(until), **more}


def key_digest(cert):
    """As openssl sees the key, not as we do."""
    pem = subprocess.run(["openssl", "x509", "-in", cert.pem, "-noout", "-pubkey"],
                         stdout=subprocess.PIPE, check=True).stdout
    der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"], input=pem,
                         stdout=subprocess.PIPE, check=True).stdout
    return "sha256:" + hashlib.sha256(der).hexdigest()


class Case(lab.LabCase):
    def setUp(self):
        super().setUp()
        self.name = self.lab.name_of(self.lab.a)
        self.tenant = self.lab.tenants[self.lab.a]
        self.validation = self.tenant["client_validation"]

    def old(self, name="old", **more):
        now = time.time()
        return self.lab.client(self.lab.a, name, not_before=now - 9 * DAY, not_after=now - DAY,
                               **more)

    def decided(self, cert, chain=True):
        mark = self.lab.gateway.mark()
        answer, peer = tls.ask(self.lab.address, self.name, tls.context(cert, chain=chain))
        return answer, self.lab.gateway.wait("tunnel", lambda e: e.peer == peer, mark)


class Exceptions(Case):
    def test_an_exception_is_for_one_certificate_and_one_reason(self):
        one, other = self.old("one"), self.old("other")
        both = self.old("both", eku="serverAuth")
        until = time.time() + DAY
        self.validation["exceptions"] = [
            exception(both, "expired", until),
            exception(one, "expired", until, note="renewal is under way")]
        self.lab.start_gateway()
        answer, event = self.decided(one)
        self.assertEqual((answer, event.action, event.validate_status, event.reason),
                         ("ok", "allow-unvalidated", "unvalidated", "expired"))
        self.assertEqual(event.rule, self.lab.tenant_file(self.lab.a) +
                         ": $.client_validation.exceptions[1]")
        answer, event = self.decided(other)
        self.assertEqual((answer, event.action), ("certificate_expired", "block"))
        answer, event = self.decided(both)
        self.assertEqual((answer, event.reason), ("unsupported_certificate", "wrong_purpose"))

    def test_an_exception_beats_a_block_of_its_own_reason(self):
        cert = self.old()
        self.validation["on"] = {"expired": "block"}
        self.validation["exceptions"] = [exception(cert, "expired", time.time() + DAY)]
        self.lab.start_gateway()
        self.assertEqual(self.decided(cert)[0], "ok")

    def test_an_exception_ends_by_itself_and_so_does_what_it_let_in(self):
        cert = self.old()
        echo = origin.Origin()
        self.addCleanup(echo.close)
        target = lab.format_address(echo.start(origin.echo))
        until = int(time.time() + 5 * lab.SLOW)
        self.validation["exceptions"] = [exception(cert, "expired", until)]
        self.lab.start_gateway()
        with tls.Client(self.lab.address, self.name, tls.context(cert)) as client:
            self.assertEqual(client.connect(target)[0], 200)
            self.assertEqual(self.decided(cert)[0], "ok")
            ended = lab.until(lambda: self.decided(cert)[0] != "ok" and self.decided(cert),
                              15, "the exception's end")
            self.assertGreaterEqual(time.time(), until)
            self.assertEqual((ended[0], ended[1].rule.split(": ")[-1]),
                             ("certificate_expired", "$.client_validation.on_failure"))
            closed = self.lab.gateway.wait("tunnel_closed", lambda e: "expired" in e.get("error", ""))
            self.assertRegex(closed.error, "^while it was open: expired")
            with self.assertRaises(ssl.SSLError) as told:
                client.sock.recv(1)
            self.assertEqual(tls.alert_of(told.exception), "certificate_expired")

    def test_one_that_has_ended_is_a_warning_and_does_nothing(self):
        cert = self.old()
        self.validation["exceptions"] = [exception(cert, "expired", time.time() - DAY)]
        self.lab.start_gateway()
        warning = self.lab.gateway.wait("configuration", lambda e: "exceptions[0]" in e.message)
        self.assertRegex(warning.message, "does nothing any more")
        self.assertEqual(self.decided(cert)[0], "certificate_expired")


class Egress(Case):
    def setUp(self):
        super().setUp()
        self.origin = origin.Origin()
        self.addCleanup(self.origin.close)
        self.usual = lab.format_address(self.origin.start(origin.echo))
        self.narrow = lab.format_address(self.origin.start(origin.echo))
        self.validation["on"] = {"expired": "allow"}

    def status(self, cert, target):
        mark = self.lab.gateway.mark()
        with tls.Client(self.lab.address, self.name, tls.context(cert)) as client:
            status = client.connect(target)[0]
        return status, self.lab.gateway.wait("channel", since=mark)

    def test_unvalidated_tunnels_reach_what_their_own_list_names(self):
        self.tenant["egress"] = {"allow": [self.usual], "unvalidated": [self.narrow]}
        self.lab.start_gateway()
        good, old = self.lab.client(self.lab.a), self.old()
        for cert, target, wanted, unvalidated in ((good, self.usual, 200, None),
                                                  (good, self.narrow, 403, None),
                                                  (old, self.usual, 403, True),
                                                  (old, self.narrow, 200, True)):
            with self.subTest(cert=cert.pem, target=target):
                status, event = self.status(cert, target)
                self.assertEqual((status, event.get("unvalidated")), (wanted, unvalidated))

    def test_without_a_list_of_their_own_they_have_the_usual_one_and_an_empty_one_is_nothing(self):
        self.tenant["egress"] = {"allow": [self.usual]}
        self.lab.start_gateway()
        old = self.old()
        self.assertEqual(self.status(old, self.usual)[0], 200)
        self.tenant["egress"]["unvalidated"] = []
        self.lab.reload()
        self.assertEqual(self.status(old, self.usual)[0], 403)
        self.assertEqual(self.status(self.lab.client(self.lab.a), self.usual)[0], 200)


class Chains(Case):
    def test_max_chain_counts_what_was_presented(self):
        middle = self.lab.pki.ca("Middle CA", issuer=self.lab.ca[self.lab.a])
        cert = self.lab.client(self.lab.a, "below", issuer=middle)
        self.validation["max_chain"] = 2
        self.lab.start_gateway()
        self.assertEqual(self.decided(cert)[0], "ok")
        self.validation["max_chain"] = 1
        self.lab.reload()
        answer, event = self.decided(cert)
        self.assertEqual((answer, event.reason, event.observed_errors),
                         ("bad_certificate", "chain_too_large", ["chain_too_large"]))
        self.assertEqual(self.decided(self.lab.client(self.lab.a))[0], "ok")

    def test_min_key_bits_is_about_rsa_keys(self):
        rsa = self.lab.client(self.lab.a, "rsa", key="rsa:2048")
        self.validation["min_key_bits"] = 2048
        self.lab.start_gateway()
        self.assertEqual(self.decided(rsa)[0], "ok")
        self.validation["min_key_bits"] = 3072
        self.lab.reload()
        answer, event = self.decided(rsa)
        self.assertEqual((answer, event.reason), ("bad_certificate", "weak_algorithm"))
        self.assertRegex(event.detail, "2048 bits, 3072 are the least")
        self.assertEqual(self.decided(self.lab.client(self.lab.a, "curve"))[0], "ok")


class Shadow(Case):
    def test_it_is_told_where_it_differs_and_acts_on_nothing(self):
        source = self.lab.tenant_file(self.lab.a) + ": $.client_validation.shadow"
        good, old = self.lab.client(self.lab.a), self.old()
        no_eku = self.lab.client(self.lab.a, "no eku", eku=None)
        rsa = self.lab.client(self.lab.a, "rsa", key="rsa:2048")
        cases = [  # live, shadow, certificate, answer, shadow's word, reason, rule
            ({}, {}, old, "certificate_expired", None, None, None),
            ({}, {}, good, "ok", None, None, None),
            ({}, {"on_failure": "allow"}, old, "certificate_expired", "would_allow", "expired",
             source + ".on_failure"),
            ({"on_failure": "allow"}, {}, old, "ok", "would_block", "expired",
             source + ".on_failure"),
            ({}, {"exceptions": [exception(old, "expired", time.time() + DAY)]}, old,
             "certificate_expired", "would_allow", "expired", source + ".exceptions[0]"),
            ({}, {"require_eku": False}, no_eku, "unsupported_certificate", "would_allow", None,
             None),
            ({"require_eku": False}, {}, no_eku, "ok", "would_block", "wrong_purpose",
             source + ".on_failure"),
            ({}, {"min_key_bits": 3072}, rsa, "ok", "would_block", "weak_algorithm",
             source + ".on_failure"),
            ({"min_key_bits": 3072}, {}, rsa, "bad_certificate", "would_allow", None, None),
        ]
        plain = dict(self.validation)
        self.lab.start_gateway()
        for live, shadow, cert, answer, word, reason, rule in cases:
            with self.subTest(live=live, shadow=shadow):
                self.tenant["client_validation"] = {**plain, **live, "shadow": shadow}
                self.lab.reload()
                got, event = self.decided(cert)
                self.assertEqual((got, event.get("shadow"), event.get("shadow_reason")),
                                 (answer, word, reason))
                if rule:
                    self.assertTrue(event.shadow_rule.startswith(rule), event.shadow_rule)
                else:
                    self.assertNotIn("shadow_rule", event)
        self.lab.reload()  # counted since the start, over all generations
        counted = self.lab.gateway.all("shadow", lambda e: e.tenant == self.lab.a)[-1]
        words = [case[4] for case in cases]
        self.assertEqual((counted.would_block, counted.would_allow),
                         (words.count("would_block"), words.count("would_allow")))


class Agent(lab.LabCase):
    """The same engine at the other end."""

    def setUp(self):
        super().setUp()
        self.name = self.lab.agent_config["server_name"]
        self.ca = self.lab.pki.ca("Ladybird Root CA")
        self.validation = {"mode": "pinned", "ca_files": [self.ca.pem], "on_failure": "block"}
        self.lab.agent_config["server_validation"] = self.validation
        self.lab.agent_config["tunnels"] = 1

    def server(self, issuer=None, **more):
        return self.lab.pki.leaf("gateway", issuer or self.ca, eku="serverAuth", dns=[self.name],
                                 **more)

    def against(self, cert):
        """The agent's decision about a gateway with this certificate."""
        fake = FakeGateway(cert)
        try:
            self.lab.address = fake.address
            agent = self.lab.start_agent(wait_up=False)
            event = agent.wait("tunnel")
            answer = fake.first_answer()
            self.lab.stop(agent)
        finally:
            fake.close()
        return answer, event

    def test_a_pinned_key_must_be_on_the_gateways_path(self):
        middle = self.lab.pki.ca("Ladybird Issuing CA", issuer=self.ca)
        cert = self.server(middle)
        other = self.lab.pki.leaf("other", self.ca)
        for what, pins, answer in (("leaf", [key_digest(cert)], "data"),
                                   ("upper case", [key_digest(cert).upper()
                                                   .replace("SHA256", "sha256")], "data"),
                                   ("intermediate", [key_digest(middle)], "data"),
                                   ("root", [key_digest(other), key_digest(self.ca)], "data"),
                                   ("none", [key_digest(other)], "unknown_ca")):
            with self.subTest(what):
                self.validation["pinned_keys"] = pins
                got, event = self.against(cert)
                self.assertEqual(got, answer)
                if answer != "data":
                    self.assertEqual((event.action, event.observed_errors),
                                     ("block", ["untrusted_issuer"]))
                    self.assertIn("no pinned key matches: found " + key_digest(cert),
                                  event.detail)
                else:
                    self.assertEqual(event.action, "allow")

    def test_a_pinned_certificate_that_is_only_sent_along_does_not_help(self):
        cert, stranger = self.server(), self.lab.pki.leaf("pinned", self.ca)
        cert.chain = self.lab.pki.bundle("along.pem", cert, stranger)
        self.validation["pinned_keys"] = [key_digest(stranger)]
        answer, event = self.against(cert)
        self.assertEqual((answer, event.reason), ("unknown_ca", "untrusted_issuer"))

    def test_exceptions_and_rules_for_chains_hold_for_gateways_too(self):
        now = time.time()
        old = self.server(not_before=now - 9 * DAY, not_after=now - DAY)
        self.validation["exceptions"] = [exception(old, "expired", now + DAY)]
        answer, event = self.against(old)
        self.assertEqual((answer, event.action), ("data", "allow-unvalidated"))
        self.assertRegex(event.rule, r"agent\.json: \$\.server_validation\.exceptions\[0\]$")
        del self.validation["exceptions"]
        self.assertEqual(self.against(old)[0], "certificate_expired")
        self.validation.update(min_key_bits=3072, max_chain=1)
        answer, event = self.against(self.server(key="rsa:2048"))
        self.assertEqual((answer, event.reason), ("bad_certificate", "weak_algorithm"))
        answer, event = self.against(self.server(self.lab.pki.ca("Middle", issuer=self.ca)))
        self.assertEqual((answer, event.reason), ("bad_certificate", "chain_too_large"))


if __name__ == "__main__":
    lab.main()
