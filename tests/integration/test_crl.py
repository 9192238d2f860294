#!/usr/bin/env python3
"""Revocation lists: `openssl ca -gencrl` as the authority, files that change while tunnels run."""

import os
import ssl
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import lab
import origin
import tls

HOUR = 3600


class Authority:
    """The revocation list of a CA of the laboratory, kept by openssl."""

    def __init__(self, folder, ca, path):
        self.ca, self.path = ca, path
        self.work = tempfile.mkdtemp(dir=folder)
        self.config = os.path.join(self.work, "ca.cnf")
        for name, text in (("index", ""), ("number", "01\n"), ("ca.cnf",
                           "[ca]\ndefault_ca=d\n[d]\ndatabase=%s/index\ncrlnumber=%s/number\n"
                           "default_md=sha256\nunique_subject=no\n" % (self.work, self.work))):
            with open(os.path.join(self.work, name), "w", encoding="ascii") as out:
                out.write(text)

    def _ca(self, *more):
        subprocess.run(["openssl", "ca", "-batch", "-config", self.config, "-cert", self.ca.pem,
                        "-keyfile", self.ca.key, *more], check=True, capture_output=True)

    def revoke(self, cert, why="keyCompromise"):
        self._ca("-revoke", cert.pem, "-crl_reason", why)

    def publish(self, begin=-HOUR, end=24 * HOUR, form="PEM"):
        """The list as it is now, put in place by a rename as README advises."""
        def stamp(offset):
            return time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + offset))
        made = self.path + ".new"
        self._ca("-gencrl", "-crl_lastupdate", stamp(begin), "-crl_nextupdate", stamp(end), "-out",
                 made)
        if form == "DER":
            subprocess.run(["openssl", "crl", "-in", made, "-outform", "DER", "-out", made + "2"],
                           check=True)
            os.rename(made + "2", made)
        os.rename(made, self.path)
        return self


class Case(lab.LabCase):
    def setUp(self):
        super().setUp()
        self.name = self.lab.name_of(self.lab.a)
        self.validation = self.lab.tenants[self.lab.a]["client_validation"]
        self.crl = self.authority(self.lab.ca[self.lab.a], "acme.crl")
        self.validation["crls"] = ["../acme.crl"]

    def authority(self, ca, name):
        return Authority(self.lab.folder, ca, self.lab.file(name))

    def ask(self, cert, **more):
        """The client's answer and the gateway's line."""
        mark = self.lab.gateway.mark()
        answer = tls.verdict(self.lab.address, self.name, tls.context(cert, **more))
        return answer, self.lab.gateway.wait("tunnel", since=mark)


class Handshake(Case):
    def test_a_revoked_certificate_is_refused_and_says_when_and_why(self):
        good, bad = self.lab.client(self.lab.a, "good"), self.lab.client(self.lab.a, "bad")
        self.crl.revoke(bad)
        for form in ("PEM", "DER"):
            with self.subTest(form):
                self.crl.publish(form=form)
                self.lab.start_gateway()
                answer, event = self.ask(good)
                self.assertEqual((answer, event.action, list(event.revocation)),
                                 ("ok", "allow", ["crl"]))
                crl = event.revocation["crl"]
                self.assertTrue(crl["source"].endswith("acme.crl"))
                self.assertLess(crl["this_update"], crl["next_update"])
                answer, event = self.ask(bad)
                self.assertEqual((answer, event.action, event.reason, event.alert),
                                 ("certificate_revoked", "block", "revoked",
                                  "certificate_revoked"))
                self.assertRegex(event.detail, r"^revoked on \d{4}-\d\d-\d\dT\S+Z: keyCompromise, "
                                 r"says the CRL in \S*acme\.crl$")
                self.lab.stop(self.lab.gateway)

    def test_on_failure_allow_does_not_let_a_revoked_one_pass(self):
        bad = self.lab.client(self.lab.a, "bad", not_after=time.time() - HOUR,
                              not_before=time.time() - 9 * HOUR)
        self.crl.revoke(bad)
        self.crl.publish()
        self.validation["on_failure"] = "allow"
        self.lab.start_gateway()
        answer, event = self.ask(bad)
        self.assertEqual((answer, event.observed_errors),
                         ("certificate_revoked", ["revoked", "expired"]))

    def test_a_revoked_intermediate_takes_its_clients_with_it(self):
        root = self.lab.ca[self.lab.a]
        middle, other = self.lab.pki.ca("Middle", root), self.lab.pki.ca("Other", root)
        below = self.authority(other, "other.crl")
        leaf = self.lab.pki.leaf("below", other)
        below.revoke(leaf, "superseded")
        below.publish()
        self.crl.revoke(middle, "CACompromise")
        self.crl.publish()
        self.validation["crls"].append("../other.crl")
        self.lab.start_gateway()
        answer, event = self.ask(self.lab.pki.leaf("one", middle))
        self.assertEqual(answer, "certificate_revoked")
        self.assertRegex(event.detail, r"^'CN=Middle': revoked on \S+: cACompromise")
        answer, event = self.ask(leaf)  # by the list of an intermediate that it sent itself
        self.assertEqual(answer, "certificate_revoked")
        self.assertRegex(event.revocation["crl"]["source"], r"other\.crl$")
        self.assertEqual(self.ask(self.lab.pki.leaf("two", other))[0], "ok")

    def test_a_stale_list_is_decided_by_policy_and_says_what_to_do(self):
        good, bad = self.lab.client(self.lab.a, "good"), self.lab.client(self.lab.a, "bad")
        self.crl.revoke(bad)
        self.crl.publish(begin=-5 * 24 * HOUR, end=-3 * 24 * HOUR - HOUR)
        for decision, answers in (("block", "certificate_unknown"), ("allow", "ok")):
            with self.subTest(decision):
                self.validation["on"] = {"crl_stale": decision}
                self.lab.start_gateway()
                answer, event = self.ask(good)
                self.assertEqual((answer, event.reason, event.observed_errors),
                                 (answers, "crl_stale", ["crl_stale"]))
                self.assertRegex(event.detail, r"^the CRL in \S*acme\.crl is stale since "
                                 r"\d{4}-\S+Z \(3 days\): put a newer one of 'CN=Test CA of .*' in "
                                 r"its place$")
                self.assertEqual(event.rule.split(": ")[-1], "$.client_validation.on.crl_stale")
                self.assertEqual(self.ask(bad)[0], "certificate_revoked")
                warning = self.lab.gateway.wait("configuration")
                self.assertRegex(warning.message, r"\.crls\[0\]: the CRL of .* is stale since 3 day")
                self.lab.stop(self.lab.gateway)

    def test_a_list_from_the_future_is_no_list_to_rely_on(self):
        self.crl.publish(begin=2 * HOUR, end=9 * HOUR)
        self.lab.start_gateway()
        answer, event = self.ask(self.lab.client(self.lab.a))
        self.assertEqual((answer, event.reason), ("certificate_unknown", "crl_stale"))
        self.assertRegex(event.detail, r"from the future .*clock")

    def test_a_list_with_the_name_of_an_intermediate_that_did_not_sign_it_is_none(self):
        middle = self.lab.pki.ca("Middle", self.lab.ca[self.lab.a])
        forged = self.authority(self.lab.pki.ca("Middle"), "forged.crl")
        leaf = self.lab.pki.leaf("alice", middle)
        forged.revoke(leaf)
        forged.publish()
        self.crl.publish()
        self.validation["crls"].append("../forged.crl")
        self.lab.start_gateway()
        answer, event = self.ask(leaf)
        self.assertEqual((answer, event.observed_errors), ("certificate_unknown", ["crl_stale"]))
        self.assertRegex(event.detail, r"forged\.crl has the name of 'CN=Middle', who did not")

    def test_one_tenants_list_says_nothing_about_anothers_clients(self):
        ca = self.lab.pki.ca("Shared CA")
        for tenant in (self.lab.a, self.lab.b):
            self.lab.tenants[tenant]["client_validation"]["trusted_cas"] = [ca.pem]
        shared = self.authority(ca, "acme.crl")
        cert = self.lab.pki.leaf("alice", ca)
        shared.revoke(cert)
        shared.publish()
        self.lab.start_gateway()
        self.assertEqual(self.ask(cert)[0], "certificate_revoked")
        self.assertEqual(tls.verdict(self.lab.address, self.lab.name_of(self.lab.b),
                                     tls.context(cert)), "ok")


class Change(Case):
    def setUp(self):
        super().setUp()
        self.origin = origin.Origin()
        self.addCleanup(self.origin.close)
        self.echo = lab.format_address(self.origin.start(origin.echo))
        self.crl.publish()

    def hold(self, tenant, cert):
        client = tls.Client(self.lab.address, self.lab.name_of(tenant), tls.context(cert))
        self.addCleanup(client.close)
        self.assertEqual(client.connect(self.echo)[0], 200)
        self.talk(client)
        return client

    def talk(self, client):
        client.send(b"still here?")
        self.assertEqual(client.recv(), b"still here?")

    def test_an_open_tunnel_of_a_certificate_that_is_revoked_is_closed_others_never_notice(self):
        self.lab.start_gateway()
        good, bad = self.lab.client(self.lab.a, "good"), self.lab.client(self.lab.a, "bad")
        gone, stays = self.hold(self.lab.a, bad), self.hold(self.lab.a, good)
        other = self.hold(self.lab.b, self.lab.client(self.lab.b))
        self.crl.revoke(bad)
        mark, begin = self.lab.gateway.mark(), time.monotonic()
        self.crl.publish()
        event = self.lab.gateway.wait("tunnel_closed", since=mark)
        self.assertLess(time.monotonic() - begin, 2.5 * lab.SLOW)
        self.assertRegex(event.error, r"^after a reload: revoked: revoked on \S+: keyCompromise")
        reload = self.lab.gateway.wait("reload", since=mark)
        self.assertEqual((reload.ok, reload.cause), (True, "crl"))
        self.assertNotEqual(tls.read_to_end(gone.sock)[1], "timeout")
        self.talk(stays)
        self.talk(other)
        self.assertEqual(len(self.lab.gateway.all("tunnel_closed", since=mark)), 1)
        decided = self.lab.gateway.all("tunnel", lambda e: e.tenant == self.lab.b, mark)
        self.assertEqual(decided, [], "the other tenant was decided again")
        self.assertEqual(self.ask(bad)[0], "certificate_revoked")
        self.assertEqual(self.ask(good)[0], "ok")

    def test_the_agent_is_told_why_its_tunnels_end(self):
        cert = self.lab.client(self.lab.a, "device")
        self.lab.agent_config["identity"] = {"certificate": cert.chain, "private_key": cert.key}
        self.lab.start()
        self.crl.revoke(cert)
        mark = self.lab.agent.mark()
        self.crl.publish()
        self.lab.agent.wait("tunnel_closed", since=mark)
        failed = self.lab.agent.wait("tunnel_failed", since=mark)
        self.assertEqual(failed.alert, "certificate_revoked")

    def test_a_file_that_cannot_be_used_changes_nothing_and_is_complained_about_once(self):
        self.lab.start_gateway()
        good, bad = self.lab.client(self.lab.a, "good"), self.lab.client(self.lab.a, "bad")
        self.crl.revoke(bad)
        self.crl.publish()
        self.lab.gateway.wait("reload")
        mark = self.lab.gateway.mark()
        with open(self.crl.path, "w", encoding="ascii") as out:
            out.write("half a file")
        event = self.lab.gateway.wait("reload", since=mark)
        self.assertEqual((event.ok, event.cause), (False, "crl"))
        self.assertRegex(event.error, r"\.crls\[0\]: .*acme\.crl: no CRL in it")
        self.assertEqual((self.ask(bad)[0], self.ask(good)[0]), ("certificate_revoked", "ok"))
        self.assertEqual(self.lab.hup(expect_ok=False).get("cause"), None)
        mark = self.lab.gateway.mark()
        self.crl.publish()
        event = self.lab.gateway.wait("reload", since=mark)
        self.assertTrue(event.ok, event)
        self.assertEqual(len(self.lab.gateway.all("reload", lambda e: not e.ok)), 2)

    def test_a_ticket_does_not_outlive_the_revocation(self):
        self.lab.gateway_config["tls"] = {"min_version": "1.2"}
        for how in ("timer", "sighup"):
            for version in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2):
                with self.subTest(version=version.name, how=how):
                    self.crl.publish()
                    self.lab.start_gateway()
                    cert = self.lab.client(self.lab.a, "bad")
                    ctx = tls.context(cert, version=version)
                    session, reused = self.visit(ctx)
                    self.assertFalse(reused)
                    self.assertTrue(self.visit(ctx, session)[1], "the ticket was good before")
                    self.crl.revoke(cert)
                    mark = self.lab.gateway.mark()
                    self.crl.publish()
                    if how == "sighup":
                        self.lab.hup()
                    self.lab.gateway.wait("reload", since=mark)
                    mark = self.lab.gateway.mark()
                    with self.assertRaises(ssl.SSLError) as caught:
                        self.visit(ctx, session)
                    self.assertEqual(tls.alert_of(caught.exception), "certificate_revoked")
                    event = self.lab.gateway.wait("tunnel", since=mark)
                    self.assertEqual((event.reason, event.resumed), ("revoked", False))
                    self.lab.stop(self.lab.gateway)

    def visit(self, ctx, session=None):
        with tls.Client(self.lab.address, self.name, ctx, session) as client:
            client.send(tls.PROBE)
            self.assertTrue(client.recv().startswith(b"HTTP/1.1 "))
            return client.sock.session, client.sock.session_reused


class Agent(lab.LabCase):
    def test_the_agent_refuses_a_gateway_whose_certificate_is_revoked(self):
        root = self.lab.pki.ca("Service CA")
        cert = self.lab.pki.leaf("gateway", root, eku="serverAuth",
                                 dns=[self.lab.agent_config["server_name"]])
        self.lab.tenants[self.lab.a].update(certificate=cert.chain, private_key=cert.key)
        crl = Authority(self.lab.folder, root, self.lab.file("service.crl")).publish()
        self.lab.agent_config["server_validation"] = {
            "mode": "pinned", "ca_files": [root.pem], "crls": ["service.crl"]}
        self.lab.start()
        self.assertEqual(list(self.lab.agent.wait("tunnel").revocation), ["crl"])
        crl.revoke(cert)
        crl.publish()
        mark = self.lab.agent.mark()
        self.lab.agent.signal(lab.signal.SIGHUP)
        event = self.lab.agent.wait("tunnel", lambda e: e.action == "block", since=mark)
        self.assertEqual(event.reason, "revoked")


if __name__ == "__main__":
    lab.main()
