#!/usr/bin/env python3
"""OCSP at the gateway: what a tenant's responder says about its clients."""
import os
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import lab  # noqa: E402
import tls  # noqa: E402
from responder import Responder  # noqa: E402


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

    def test_revoked_is_refused_at_both_ends(self):
        bad = self.lab.client(self.lab.a, "bad")
        self.responder.revoke(bad)
        self.lab.start_gateway()
        for version in ("TLSv1_3",):
            answer, event = self.ask(bad)
            self.assertEqual((answer, event.action, event.reason, event.alert),
                             ("certificate_revoked", "block", "revoked", "certificate_revoked"))
            self.assertRegex(event.detail, "^revoked on .*: keyCompromise, says the OCSP response "
                             "of http://127")


if __name__ == "__main__":
    lab.main()
