#!/usr/bin/env python3
"""OCSP stapling both ways: what the gateway and the agent staple, and what they make of it."""

import os
import shutil
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import lab
import tls
import web
from resign import resign
from responder import Responder
from test_crl import Authority


class Signer(Responder):
    """One whose answers can last for seconds only."""

    seconds = None  # (from, to), in seconds from now
    most = now = 0  # questions at a time

    def respond(self, request, minutes=None, more=()):
        answer = super().respond(request, minutes, more)
        return resign(answer, self.signer.key, *self.seconds) if self.seconds else answer

    def _serve(self, handler, body):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            super()._serve(handler, body)
        finally:
            with self.lock:
                self.now -= 1


def broken(response):
    """Of one without certificates: the same with one bit of the signature turned over."""
    return response[:-1] + bytes([response[-1] ^ 1])


class Case(lab.LabCase):
    """Both tenants and the common name are served one certificate of a CA of the test's own."""

    def setUp(self):
        super().setUp()
        self.name = self.lab.name_of(self.lab.a)
        self.service = self.lab.pki.ca("Test Service CA")
        self.names = [n for t in self.lab.tenants.values() for n in t["server_names"]]
        self.names += self.lab.gateway_config["common"]["server_names"]
        self.pem, self.key = self.lab.file("ours.pem"), self.lab.file("ours.key")
        self.server = self.serve(self.server_leaf())
        for holder in (self.lab.gateway_config["common"], self.lab.tenants[self.lab.a]):
            holder["certificate"], holder["private_key"] = self.pem, self.key
        self.responder = self.make_responder(self.service)
        self.responder.know(self.server)
        self.lab.gateway_config["stapling"] = {"responder": self.responder.url}
        self.validation = self.lab.agent_config["server_validation"]
        self.validation["ca_files"] = [self.service.pem]
        self.lab.agent_config["tunnels"] = 1

    def make_responder(self, ca, **more):
        responder = Signer(self.lab.folder, ca, **more)
        self.addCleanup(responder.close)
        return responder

    def server_leaf(self, name="server", **more):
        return self.lab.pki.leaf(name, more.pop("issuer", self.service), eku="serverAuth",
                                 dns=self.names, **more)

    def serve(self, cert, issuer=True):
        """From the next load on."""
        bundle = self.lab.pki.bundle("bundle.pem", cert, *([cert.issuer] if issuer else []))
        shutil.copy(bundle, self.pem)
        shutil.copy(cert.key, self.key)
        os.chmod(self.key, 0o600)
        return cert

    def said(self, ok, since=0, program=None, timeout=15):
        """The next word about stapling."""
        return (program or self.lab.gateway).wait("staple", lambda e: e.ok == ok, since, timeout)

    def s_client(self, version="tls1_3"):
        """What openssl s_client says of the staple."""
        client = self.lab.client(self.lab.a)
        done = lab.run("openssl", "s_client", "-connect", lab.format_address(self.lab.address),
                       "-servername", self.name, "-status", "-" + version, "-cert", client.pem,
                       "-key", client.key)
        return done.stdout

    def stapled(self, version="1.3", name=None):
        """The response that the gateway staples; b"": none."""
        client = self.lab.client(self.lab.a)
        with tempfile.TemporaryDirectory(dir=self.lab.folder) as folder:
            path = os.path.join(folder, "response")
            lab.run("gnutls-cli", "--insecure", "--save-ocsp=" + path, "--sni-hostname=" + (name or self.name),
                    "--priority=NORMAL:-VERS-ALL:+VERS-TLS" + version, "--port",
                    self.lab.address[1], "--x509certfile=" + client.pem,
                    "--x509keyfile=" + client.key, self.lab.address[0])
            if not os.path.exists(path):
                return b""
            with open(path, "rb") as file:
                return file.read()

    def openssl_says(self, response, cert):
        path = self.lab.write("response.der", response)
        done = lab.run("openssl", "ocsp", "-respin", path, "-issuer", cert.issuer.pem, "-cert",
                       cert.pem, "-CAfile", cert.issuer.pem, "-no_nonce")
        return done.stdout + done.stderr


class OfTheGateway(Case):
    def test_its_staple_is_sent_in_both_versions_and_openssl_finds_it_good(self):
        self.lab.gateway_config["tls"] = {"min_version": "1.2"}
        self.lab.start_gateway()
        event = self.said(True)
        self.assertEqual((event.level, event.subject, event.responder, event.fingerprint),
                         ("info", "CN=server", self.responder.url, self.server.fingerprint()))
        self.assertRegex(event.expires, r"^20\d\d-\d\d-\d\dT")
        for version in ("1.2", "1.3"):
            with self.subTest(version):
                verdict = self.openssl_says(self.stapled(version), self.server)
                self.assertIn("Response verify OK", verdict)
                self.assertIn("%s: good" % self.server.pem, verdict)
                text = self.s_client("tls" + version.replace(".", "_"))
                self.assertIn("OCSP Response Status: successful", text)
                self.assertIn("Cert Status: good", text)
        self.assertEqual(self.responder.asked, 1, "one certificate, one question")
        self.assertEqual(len(self.lab.gateway.all("staple")), 1)

    def test_it_is_renewed_before_it_ends_without_a_word(self):
        self.responder.seconds = (-1, 6)
        self.lab.start_gateway()
        self.said(True)
        first = self.stapled()
        self.responder.wait_asked(4, timeout=30)
        verdict = self.openssl_says(self.stapled(), self.server)
        self.assertIn("%s: good" % self.server.pem, verdict)
        self.assertNotIn("expired", verdict)
        self.assertNotEqual(self.stapled(), first)
        self.assertEqual(len(self.lab.gateway.all("staple")), 1)

    def test_a_staple_that_has_ended_is_not_sent_any_more(self):
        self.responder.seconds = (-1, 5)
        self.lab.start_gateway()
        self.said(True)
        self.responder.mode = "error"
        mark = self.lab.gateway.mark()
        event = self.said(False, mark)
        self.assertIn("503", event.error)
        self.assertIn("expires", event)
        self.assertTrue(self.stapled())
        event = self.lab.gateway.wait("staple", lambda e: "has ended" in e.get("error", ""), mark)
        self.assertEqual(self.stapled(), b"")
        self.assertIn("no response sent", self.s_client())
        self.responder.wait_asked(self.responder.asked + 2, timeout=30)
        self.assertEqual(len(self.lab.gateway.all("staple")), 3, "each change once")
        self.responder.mode = "good"
        self.responder.seconds = None
        self.said(True, self.lab.gateway.mark(), timeout=40)
        self.assertTrue(self.stapled())

    def test_nothing_but_a_good_answer_is_stapled(self):
        stranger = self.make_responder(self.lab.pki.ca("Somebody else"))
        other = self.server_leaf("other")
        self.responder.know(other)
        changed = broken(self.responder.response_for(self.server, more=["-resp_no_certs"]))
        self.responder.seconds = (-100, -10)
        past = self.responder.response_for(self.server)
        self.responder.seconds = (3600, 7200)
        future = self.responder.response_for(self.server)
        self.responder.seconds = None
        stranger.know(self.server)
        foreign = stranger.respond(self._request(self.server))
        unending = self.responder.response_for(self.server)
        for what, body, error in (
                ("garbage", b"\x30\x03oops", "malformed"),
                ("empty", b"", "malformed"),
                ("a web page", b"<html>welcome</html>", "malformed"),
                ("foreign", foreign, "was not issued by"),
                ("of another certificate", self.responder.response_for(other), "another certificate"),
                ("past", past, "stale since"),
                ("from the future", future, "from the future"),
                ("changed", changed, "signature"),
                ("huge", unending + b"\0" * 70000, "bytes")):
            with self.subTest(what):
                self.responder.mode, self.responder.body = "body", body
                self.lab.start_gateway()
                event = self.said(False)
                self.assertEqual(event.level, "warning")
                self.assertIn(error, event.error)
                self.assertEqual(self.stapled(), b"")
                self.lab.stop(self.lab.gateway)

    def _request(self, cert):
        path = self.lab.file("request.der")
        done = lab.run("openssl", "ocsp", "-issuer", cert.issuer.pem, "-cert", cert.pem,
                       "-no_nonce", "-reqout", path)
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(path, "rb") as file:
            return file.read()

    def test_unknown_is_not_good(self):
        self.responder.forget(self.server)
        self.lab.start_gateway()
        self.assertIn("does not know the certificate", self.said(False).error)
        self.assertEqual(self.stapled(), b"")

    def test_a_revoked_certificate_is_an_error_and_its_staple_is_withdrawn_at_once(self):
        self.responder.seconds = (-5, 600)
        replayed = self.responder.response_for(self.server)
        self.responder.seconds = (-1, 6)
        self.lab.start_gateway()
        self.said(True)
        self.assertTrue(self.stapled())
        mark = self.lab.gateway.mark()
        self.responder.revoke(self.server)
        event = self.said(False, mark)
        self.assertEqual((event.level, event.error), ("error", "our own certificate is revoked"))
        self.assertNotIn("expires", event)
        self.assertEqual(self.stapled(), b"")
        self.responder.wait_asked(self.responder.asked + 2, timeout=20)
        self.responder.body = replayed
        self.responder.mode = "body"
        self.responder.wait_asked(self.responder.asked + 2, timeout=30)
        self.assertEqual(self.stapled(), b"", "an older one that says good is no news")
        self.assertEqual(len(self.lab.gateway.all("staple", since=mark)), 1)
        self.responder.know(self.server)
        self.responder.mode = "good"
        self.said(True, mark, timeout=40)

    def test_the_certificates_own_url_must_be_a_public_one(self):
        leaf = self.serve(self.server_leaf(extra=["authorityInfoAccess=OCSP;URI:"
                                                  + self.responder.url]))
        self.responder.know(leaf)
        del self.lab.gateway_config["stapling"]
        self.lab.start_gateway()
        event = self.said(False)
        self.assertEqual(event.responder, self.responder.url)
        self.assertIn("127.0.0.1", event.error)
        self.assertEqual(self.responder.asked, 0)

    def test_without_the_issuer_or_a_responder_nobody_is_asked(self):
        self.serve(self.server, issuer=False)
        self.lab.start_gateway()
        event = self.said(False)
        self.assertIn("does not have the certificate of its issuer", event.error)
        mark = self.lab.gateway.mark()
        self.lab.reload()
        self.assertEqual(self.lab.gateway.all("staple", since=mark), [], "said once")
        self.serve(self.server)
        self.lab.reload()
        self.said(True, mark)
        mark = self.lab.gateway.mark()
        del self.lab.gateway_config["stapling"]["responder"]
        self.serve(self.server_leaf("no responder"))
        self.lab.reload()
        self.assertEqual(self.stapled(), b"")
        self.assertEqual(self.lab.gateway.all("staple", since=mark), [])
        self.assertEqual(self.responder.asked, 1)

    def test_a_reload_keeps_the_staple_of_the_same_certificate_and_asks_for_a_new_one(self):
        self.lab.start_gateway()
        self.said(True)
        first = self.stapled()
        self.responder.mode = "error"
        mark = self.lab.gateway.mark()
        self.lab.reload()  # another object for the same file
        self.assertEqual(self.stapled(), first)
        self.assertEqual(self.responder.asked, 1)
        renewed = self.serve(self.server_leaf("renewed"))
        self.responder.know(renewed)
        self.lab.reload()
        self.said(False, mark)
        self.assertEqual(self.stapled(), b"", "the other one's is not this one's")
        self.responder.mode = "good"
        self.assertEqual(self.said(True, mark).subject, "CN=renewed")
        self.assertIn("%s: good" % renewed.pem, self.openssl_says(self.stapled(), renewed))

    def test_a_reload_can_end_it(self):
        own = self.server_leaf("own")
        self.responder.know(own)
        self.lab.tenants[self.lab.a].update(
            certificate=self.lab.pki.bundle("own.pem", own, self.service), private_key=own.key)
        common = self.lab.gateway_config["common"]["server_names"][0]
        for enabled in (True, False, True):
            self.lab.gateway_config["stapling"]["enabled"] = enabled
            mark = self.lab.gateway.mark() if self.lab.gateway else 0
            if self.lab.gateway:
                self.lab.reload()
            else:
                self.lab.start_gateway()
            if enabled:
                self.lab.gateway.wait_count("staple", 2, lambda e: e.ok, mark)
            for name in (self.name, common):
                self.assertEqual(bool(self.stapled(name=name)), enabled, name)

    def test_many_certificates_are_asked_for_a_few_at_a_time(self):
        count = 14
        for i in range(count):
            leaf = self.lab.pki.leaf("t%d" % i, self.service, eku="serverAuth",
                                     dns=["t%d.example" % i])
            self.responder.know(leaf)
            self.lab.tenants["t%d" % i] = {
                "server_names": ["t%d.example" % i],
                "certificate": self.lab.pki.bundle("t%d.pem" % i, leaf, self.service),
                "private_key": leaf.key,
                "client_validation": {"trusted_cas": [self.lab.ca[self.lab.a].pem]}}
        self.responder.mode = "hold"
        self.lab.start_gateway()
        self.responder.wait_asked(4)
        self.assertEqual(tls.verdict(self.lab.address, self.name,
                                     tls.context(self.lab.client(self.lab.a))), "ok")
        # Now, while all are held: later the next question may come before its thread has left here.
        most = self.responder.most
        self.responder.release.set()
        events = self.lab.gateway.wait_count("staple", count + 1, timeout=30)
        self.assertEqual({e.ok for e in events}, {True})
        self.assertEqual(self.responder.asked, count + 1)
        self.assertEqual(most, 4)


class OfTheClient(Case):
    """The tenant insists on an answer about its clients."""

    def setUp(self):
        super().setUp()
        del self.lab.gateway_config["stapling"]
        self.ca = self.lab.ca[self.lab.a]
        self.good = self.lab.client(self.lab.a, "good")
        self.asked = self.make_responder(self.ca)    # by the gateway
        self.told = self.make_responder(self.ca)     # by the agent
        self.told.know(self.good)
        self.asked.know(self.good)
        self.lab.tenants[self.lab.a]["client_validation"]["ocsp"] = {
            "mode": "hard", "responder": self.asked.url}
        self.identify(self.good)
        self.lab.agent_config["stapling"] = {"responder": self.told.url}

    def identify(self, cert):
        self.lab.agent_config["identity"] = {
            "certificate": self.lab.pki.bundle("agent.pem", cert, self.ca),
            "private_key": cert.key}

    def client(self, cert, staple):
        """A client that staples these bytes: what it heard, and the gateway's line."""
        mark = self.lab.gateway.mark()
        program = os.path.join(lab.build_folder(), "tests", "integration", "staple-client")
        done = lab.run(program, self.lab.address[1], self.name, cert.chain, cert.key,
                       self.lab.write("staple", staple))
        return done.stdout.strip(), self.lab.gateway.wait("tunnel", since=mark)

    def test_the_agents_staple_is_accepted_in_place_of_asking(self):
        self.asked.mode = "error"
        self.lab.start_gateway()
        self.lab.start_agent(wait_up=False)
        self.assertEqual(self.said(True, program=self.lab.agent).subject, "CN=good")
        event = self.lab.gateway.wait("tunnel", lambda e: e.action == "allow", timeout=20)
        self.assertEqual((event.validate_status, event.observed_errors), ("valid", []))
        said = event.revocation["ocsp"]
        self.assertEqual((said["stapled"], said["responder"]), (True, "staple"))
        self.lab.wait_up()

    def test_a_certificate_that_is_renewed_on_the_disk_gets_a_staple_of_its_own(self):
        self.asked.mode = "error"
        pem, key = self.lab.file("renewed.pem"), self.lab.file("renewed.key")
        shutil.copy(self.lab.agent_config["identity"]["certificate"], pem)
        shutil.copy(self.good.key, key)
        self.lab.agent_config["identity"] = {"certificate": pem, "private_key": key}
        self.lab.start_gateway()
        self.lab.start_agent()
        newer = self.lab.client(self.lab.a, "newer")
        self.told.know(newer)
        mark, gateway_mark = self.lab.agent.mark(), self.lab.gateway.mark()
        shutil.copy(newer.key, key)
        shutil.copy(self.lab.pki.bundle("newer.pem", newer, self.ca), pem)
        self.assertEqual(self.said(True, mark, self.lab.agent).subject, "CN=newer")
        event = self.lab.gateway.wait("tunnel", lambda e: e.action == "allow" and
                                      e.subject == "CN=newer", gateway_mark, timeout=30)
        self.assertTrue(event.revocation["ocsp"]["stapled"])

    def test_nobody_is_asked_where_the_staple_came_first(self):
        self.asked.mode = "error"
        staple = self.told.response_for(self.good)
        self.lab.start_gateway()
        for _ in range(2):
            word, event = self.client(self.good, staple)
            self.assertEqual((word, event.action), ("ok", "allow"))
            self.assertTrue(event.revocation["ocsp"]["stapled"])
        self.assertEqual(self.asked.asked, 0)

    def test_the_agents_own_url_may_be_private_but_not_local(self):
        leaf = self.lab.client(self.lab.a, "aia", extra=["authorityInfoAccess=OCSP;URI:"
                                                         + self.told.url])
        self.identify(leaf)
        self.asked.know(leaf)
        del self.lab.agent_config["stapling"]
        self.lab.start()
        event = self.said(False, program=self.lab.agent)
        self.assertIn("127.0.0.1", event.error)
        self.assertEqual((event.level, self.told.asked), ("warning", 0))

    def test_the_agent_does_not_wait_for_its_staple_and_can_be_told_not_to_have_one(self):
        self.told.mode = "hang"
        self.lab.start()
        self.assertEqual(self.lab.agent.all("staple"), [])
        self.lab.stop(self.lab.agent)
        self.told.mode = "good"
        self.lab.agent_config["stapling"]["enabled"] = False
        before = self.told.asked
        self.lab.start_agent()
        self.assertEqual(self.told.asked, before)

    def lies(self):
        bad = self.lab.client(self.lab.a, "bad")
        self.asked.revoke(bad)
        stranger = self.make_responder(self.lab.pki.ca("Somebody else"))
        stranger.ca, stranger.signer = self.ca, stranger.ca  # signed by a stranger
        stranger.know(bad)
        self.told.know(self.good)
        unknown = self.told.response_for(bad)
        self.told.know(bad)
        changed = broken(self.told.response_for(bad, more=["-resp_no_certs"]))
        self.told.seconds = (-100, -10)
        past = self.told.response_for(bad)
        self.told.seconds = None
        return bad, (("garbage", b"\x30\x80nonsense"), ("one byte", b"\0"),
                     ("past", past), ("unknown", unknown),
                     ("foreign", stranger.response_for(bad)),
                     ("of another", self.told.response_for(self.good)),
                     ("changed", changed),
                     ("huge", os.urandom(60000)))

    def test_a_staple_that_does_not_count_never_passes_by_itself(self):
        bad, lies = self.lies()
        for what, staple in lies:
            with self.subTest(what):
                self.lab.start_gateway()
                before = self.asked.asked
                word, event = self.client(bad, staple)
                self.assertEqual((word, event.reason), ("certificate_revoked", "revoked"))
                self.assertNotIn("stapled", event.revocation["ocsp"])
                self.assertEqual(self.asked.asked, before + 1, "it was asked instead")
                self.lab.stop(self.lab.gateway)
        self.asked.mode = "error"
        self.lab.start_gateway()
        for what, staple in lies:
            with self.subTest(what + ", and nobody to ask"):
                word, event = self.client(bad, staple)
                self.assertEqual((word, event.reason),
                                 ("certificate_unknown", "revocation_unknown"))

    def test_a_staple_that_says_revoked_is_believed(self):
        bad = self.lab.client(self.lab.a, "bad")
        self.told.revoke(bad)
        self.asked.know(bad)
        self.lab.start_gateway()
        word, event = self.client(bad, self.told.response_for(bad))
        self.assertEqual((word, event.reason), ("certificate_revoked", "revoked"))
        self.assertTrue(event.revocation["ocsp"]["stapled"])
        self.assertEqual(self.asked.asked, 0)


class FalseGateway:
    """openssl s_server: staples a file, whatever it says."""

    def __init__(self, cert, staple):
        with lab.socket.create_server(("127.0.0.1", 0)) as free:
            self.address = free.getsockname()
        self.process = subprocess.Popen(
            ["openssl", "s_server", "-accept", lab.format_address(self.address), "-cert", cert.pem,
             "-key", cert.key, "-alpn", "h2", "-Verify", "1", "-verify_quiet", "-quiet"]
            + (["-status_file", staple] if staple else []),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.said = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.said.append(line.decode("utf-8", "replace"))

    def heard(self, text):
        return lab.until(lambda: any(text in line for line in self.said),
                         what="%r in %s" % (text, self.said))

    def close(self):
        self.process.kill()
        self.process.wait()
        self.reader.join(5)
        self.process.stdin.close()
        self.process.stdout.close()


class AtTheAgent(Case):
    """What the agent makes of the gateway's staple."""

    def meet(self, staple, cert=None):
        """A false gateway that staples this; the agent's decision."""
        path = self.lab.write("staple", staple) if staple else None
        gateway = FalseGateway(cert or self.server, path)
        self.addCleanup(gateway.close)
        self.lab.address = gateway.address
        self.lab.start_agent(wait_up=False)
        try:
            return gateway, self.lab.agent.wait("tunnel")
        finally:
            self.lab.stop(self.lab.agent)

    def answer(self, cert=None, seconds=None, revoked=False):
        cert = cert or self.server
        (self.responder.revoke if revoked else self.responder.know)(cert)
        self.responder.seconds = seconds
        return self.responder.response_for(cert)

    def test_a_staple_that_says_revoked_ends_it_at_both_ends(self):
        gateway, event = self.meet(self.answer(revoked=True))
        self.assertEqual((event.action, event.reason, event.alert),
                         ("block", "revoked", "certificate_revoked"))
        self.assertRegex(event.detail, "^revoked on .*: keyCompromise, says the stapled OCSP "
                         "response of CN=Test Service CA")
        self.assertTrue(event.revocation["ocsp"]["stapled"])
        gateway.heard("certificate revoked")

    def test_revoked_is_not_looked_at_where_staples_are_ignored(self):
        self.validation["staple"] = "ignore"
        _, event = self.meet(self.answer(revoked=True))
        self.assertEqual((event.action, event.observed_errors), ("allow", []))
        self.assertNotIn("revocation", event)

    def test_a_good_one_is_evidence(self):
        for mode in ("use", "require"):
            with self.subTest(mode):
                self.validation["staple"] = mode
                _, event = self.meet(self.answer(seconds=(-3600, 600)))
                self.assertEqual((event.action, event.observed_errors), ("allow", []))
                self.assertTrue(event.revocation["ocsp"]["stapled"])
                self.assertIn("CN=Test Service CA", event.revocation["ocsp"]["signer"])
                self.assertNotIn("detail", event)

    def test_a_delegate_who_is_revoked_himself_says_nothing_good(self):
        delegate = self.lab.pki.leaf("Responder", self.service, eku="OCSPSigning")
        crl = Authority(self.lab.folder, self.service, self.lab.file("service.crl"))
        self.validation.update(staple="require", crls=["service.crl"])
        self.responder.signer = delegate
        staple = self.answer()
        crl.publish()
        _, event = self.meet(staple)
        self.assertEqual((event.action, event.observed_errors), ("allow", []))
        crl.revoke(delegate)
        crl.publish()
        _, event = self.meet(staple)
        self.assertEqual((event.action, event.reason), ("block", "revocation_unknown"))
        self.assertRegex(event.detail, "the certificate of its signer '.*Responder.*' was revoked "
                         "on .*: keyCompromise, says .*service.crl")

    def bad_staples(self):
        stranger = self.make_responder(self.lab.pki.ca("Somebody else"))
        stranger.ca, stranger.signer = self.service, stranger.ca
        stranger.know(self.server)
        self.responder.forget(self.server)
        unknown = self.responder.response_for(self.server)
        return (("none", b"", "the gateway stapled no OCSP response"),
                ("past", self.answer(seconds=(-100, -10)), "stale since"),
                ("future", self.answer(seconds=(3600, 7200)), "from the future"),
                ("unknown", unknown, "does not know the certificate"),
                ("foreign", stranger.response_for(self.server), "was not issued by"),
                ("of another", self.answer(self.server_leaf("other")), "another certificate"))

    def test_one_that_does_not_count_is_held_against_it_only_where_one_is_required(self):
        for what, staple, why in self.bad_staples():
            with self.subTest(what):
                self.validation["staple"] = "use"
                _, event = self.meet(staple)
                self.assertEqual((event.action, event.validate_status, event.observed_errors),
                                 ("allow", "valid", []))
                self.assertNotIn("revocation", event)
                if staple:
                    self.assertIn("the stapled OCSP response does not count", event.detail)
                    self.assertIn(why, event.detail)
                else:
                    self.assertNotIn("detail", event)
                self.validation["staple"] = "require"
                gateway, event = self.meet(staple)
                self.assertEqual((event.action, event.reason, event.alert),
                                 ("block", "revocation_unknown", "certificate_unknown"))
                self.assertIn("whether it is revoked is not known", event.detail)
                self.assertIn(why, event.detail)
                gateway.heard("certificate unknown")
        self.validation["on"] = {"revocation_unknown": "allow"}
        _, event = self.meet(b"")
        self.assertEqual((event.action, event.rule[-22:]),
                         ("allow-unvalidated", ".on.revocation_unknown"))

    def test_a_certificate_that_must_staple_is_taken_at_its_word(self):
        leaf = self.server_leaf("must", extra=["tlsfeature=status_request"])
        _, event = self.meet(b"", leaf)
        self.assertEqual((event.action, event.reason), ("block", "revocation_unknown"))
        self.assertIn("must-staple", event.detail)
        _, event = self.meet(self.answer(leaf, seconds=(-100, -10)), leaf)
        self.assertEqual((event.action, event.reason), ("block", "revocation_unknown"))
        self.assertIn("stale since", event.detail)
        self.assertIn("must-staple", event.detail)
        _, event = self.meet(self.answer(leaf), leaf)
        self.assertEqual((event.action, event.observed_errors), ("allow", []))
        self.validation["staple"] = "ignore"
        _, event = self.meet(b"", leaf)
        self.assertEqual(event.action, "allow")

    def test_agent_and_gateway_of_ours_agree(self):
        self.validation["staple"] = "require"
        self.lab.start_gateway()
        self.said(True)
        self.lab.start_agent()
        event = self.lab.agent.wait("tunnel")
        self.assertEqual((event.action, event.observed_errors), ("allow", []))
        self.assertTrue(event.revocation["ocsp"]["stapled"])

    def test_an_open_tunnel_is_decided_again_by_the_staple_it_came_with(self):
        server = web.Server()
        self.addCleanup(server.close)
        crl = Authority(self.lab.folder, self.service, self.lab.file("made.crl"))

        def publish(end):
            with open(crl.publish(begin=-1, end=end).path, "rb") as made:
                server.put("/service.crl", made.read())
        publish(6)
        self.validation["staple"] = "require"
        self.validation["crls"] = [server.url("/service.crl")]
        self.lab.start_gateway()
        self.said(True)
        self.lab.start_agent()
        mark = self.lab.agent.mark()
        crl.revoke(self.server_leaf("another"))
        publish(3600)
        self.lab.agent.wait("reload", lambda e: e.ok and e.cause == "crl", mark)
        self.assertEqual(self.lab.agent.all("tunnel_closed", since=mark), [])
        self.assertEqual(self.lab.agent.all("tunnel", since=mark), [])


if __name__ == "__main__":
    lab.main()
