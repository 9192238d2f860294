#!/usr/bin/env python3
"""Under a common server name the client's certificate says whose it is."""
import os
import ssl
import sys
import time
import warnings

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import lab  # noqa: E402
import tls  # noqa: E402

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    TLS12 = ssl.TLSVersion.TLSv1_2


class Case(lab.LabCase):
    def setUp(self):
        super().setUp()
        self.common = self.lab.gateway_config["common"]["server_names"][0]
        self.a, self.b = self.lab.a, self.lab.b

    def validation(self, tenant):
        return self.lab.tenants[tenant]["client_validation"]

    def decided(self, cert, name=None, **more):
        """The client's answer and the gateway's line."""
        mark = self.lab.gateway.mark()
        answer = tls.verdict(self.lab.address, name or self.common,
                             tls.context(cert, **more) if cert else tls.context())
        return answer, self.lab.gateway.wait("tunnel", since=mark)

    def share_a_ca(self):
        shared = self.lab.pki.ca("Shared CA")
        for tenant in (self.a, self.b):
            self.validation(tenant)["trusted_cas"].append(shared.pem)
        return shared


class Found(Case):
    def test_each_client_is_its_own_tenants(self):
        self.lab.gateway_config["tls"] = {"min_version": "1.2"}
        self.lab.start_gateway()
        for version in (None, TLS12):
            for tenant in (self.a, self.b):
                answer, event = self.decided(self.lab.client(tenant), version=version)
                self.assertEqual((answer, event.action, event.tenant, event.sni),
                                 ("ok", "allow", tenant, self.common))

    def test_what_is_wrong_with_a_certificate_does_not_hide_whose_it_is(self):
        self.validation(self.a)["on"] = {"expired": "allow"}
        self.lab.start_gateway()
        rows = ((self.a, "ok", "allow-unvalidated"), (self.b, "certificate_expired", "block"))
        for tenant, wanted, action in rows:
            old = self.lab.client(tenant, not_before=time.time() - 9000,
                                  not_after=time.time() - 3600)
            answer, event = self.decided(old)
            self.assertEqual((answer, event.action, event.tenant, event.reason),
                             (wanted, action, tenant, "expired"))

    def test_a_disabled_tenant_is_found_too(self):
        self.lab.tenants[self.b]["enabled"] = False
        self.lab.start_gateway()
        answer, event = self.decided(self.lab.client(self.b))
        self.assertEqual((answer, event.tenant, event.reason),
                         ("access_denied", self.b, "tenant_disabled"))

    def test_strangers_and_the_nameless_get_the_same_answer(self):
        for tenant in (self.a, self.b):
            self.validation(tenant)["on_failure"] = "allow"
        self.lab.start_gateway()
        stranger = self.lab.pki.leaf("stranger", self.lab.pki.ca("Nobody's CA"))
        broken = self.lab.pki.broken_signature(self.lab.client(self.a))
        for cert in (stranger, broken, None):
            answer, event = self.decided(cert)
            self.assertEqual((answer, event.action, event.reason),
                             ("access_denied", "block", "tenant_unknown"))
            self.assertNotIn("tenant", event)

    def test_no_ticket_is_given_and_none_of_another_name_resumes(self):
        self.lab.start_gateway()
        ctx = tls.context(self.lab.client(self.a))
        client = tls.Client(self.lab.address, self.lab.name_of(self.a), ctx)
        self.assertEqual(client.connect("127.0.0.1:1")[0], 502)  # the ticket has come with it
        session = client.sock.session
        client.sock.close()
        self.assertTrue(session.has_ticket)
        mark = self.lab.gateway.mark()
        again = tls.Client(self.lab.address, self.common, ctx, session=session)
        self.assertEqual(again.connect("127.0.0.1:1")[0], 502)
        self.assertFalse(again.sock.session_reused)
        event = self.lab.gateway.wait("tunnel", since=mark)
        self.assertEqual((event.tenant, event.resumed), (self.a, False))
        self.assertFalse(again.sock.session.has_ticket)
        again.sock.close()


class Match(Case):
    def test_two_tenants_of_one_ca_are_ambiguous_unless_match_tells_them_apart(self):
        shared = self.share_a_ca()
        self.lab.start_gateway()
        one = self.lab.client(self.a, issuer=shared, dns=["dev1.a.example"])
        answer, event = self.decided(one)
        self.assertEqual((answer, event.action, event.reason, event.alert),
                         ("access_denied", "block", "tenant_ambiguous", "access_denied"))
        self.assertIn(self.a, event.detail)
        self.assertIn(self.b, event.detail)
        self.assertNotIn("tenant", event)
        self.validation(self.a)["match"] = {"san_dns": "*.a.example"}
        self.validation(self.b)["match"] = {"san_dns": ["*.b.example", "b.example"]}
        self.lab.reload()
        answer, event = self.decided(one)
        self.assertEqual((answer, event.tenant), ("ok", self.a))
        answer, event = self.decided(self.lab.client(self.b, issuer=shared, dns=["b.example"]))
        self.assertEqual((answer, event.tenant), ("ok", self.b))
        answer, event = self.decided(self.lab.client(self.b, issuer=shared, dns=["c.example"]))
        self.assertEqual((answer, event.reason), ("access_denied", "tenant_unknown"))

    def test_under_the_tenants_own_name_match_keeps_the_cas_other_clients_out(self):
        shared = self.share_a_ca()
        self.validation(self.a)["match"] = {"subject": "*,O=Acme", "san_dns": "*.a.example"}
        self.lab.start_gateway()
        name = self.lab.name_of(self.a)
        rows = (("/O=Acme/CN=one", ["x.a.example"], "ok", []),
                ("/O=Acme/CN=two", ["x.b.example"], "bad_certificate", ["name_mismatch"]),
                ("/O=Globex/CN=three", ["x.a.example"], "bad_certificate", ["name_mismatch"]),
                ("/O=Acme/CN=four", [], "bad_certificate", ["name_mismatch"]))
        for subject, dns, wanted, errors in rows:
            with self.subTest(subject):
                cert = self.lab.pki.leaf("x", shared, subject=subject, dns=dns)
                answer, event = self.decided(cert, name)
                self.assertEqual((answer, event.observed_errors), (wanted, errors))
                if errors:
                    self.assertIn("client_validation.match", event.detail)

    def test_a_tunnel_ends_when_a_reload_gives_its_certificate_to_another(self):
        shared = self.share_a_ca()
        self.validation(self.a)["match"] = {"san_dns": "*.a.example"}
        self.validation(self.b)["match"] = {"san_dns": "*.b.example"}
        self.lab.start_gateway()
        mine = tls.Client(self.lab.address, self.common, tls.context(
            self.lab.client(self.a, issuer=shared, dns=["x.a.example"])))
        other = tls.Client(self.lab.address, self.common, tls.context(
            self.lab.client(self.b, dns=["y.b.example"])))
        up = self.lab.gateway.wait_count("tunnel", 2)
        self.assertEqual({e.tenant for e in up}, {self.a, self.b})
        self.validation(self.a)["match"] = {"san_dns": "*.z.example"}
        self.validation(self.b)["match"] = {"san_dns": ["*.a.example", "*.b.example"]}
        mark = self.lab.gateway.mark()
        self.lab.reload()
        closed = self.lab.gateway.wait("tunnel_closed", since=mark)
        self.assertEqual(closed.tenant, self.a)
        self.assertIn("tenant_unknown: the certificate is another tenant's now", closed.error)
        self.assertEqual(other.connect("127.0.0.1:1")[0], 502)  # it has not noticed
        self.assertEqual(len(self.lab.gateway.all("tunnel_closed", since=mark)), 1)
        for client in (mine, other):
            client.sock.close()


if __name__ == "__main__":
    lab.main()
