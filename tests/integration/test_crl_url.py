#!/usr/bin/env python3
"""Revocation lists from URLs: fetched, fetched again, kept; servers that lie, hang and go away."""

import glob
import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import lab
import origin
import tls
import web
from test_crl import HOUR, Authority


# A million of them take openssl some minutes to list; memory is then what README says.
ENTRIES = int(os.environ.get("SALLYPORT_TEST_CRL_ENTRIES", "20000"))


class Case(lab.LabCase):
    def setUp(self):
        super().setUp()
        self.web = web.Server()
        self.addCleanup(self.web.close)
        self.name = self.lab.name_of(self.lab.a)
        self.validation = self.lab.tenants[self.lab.a]["client_validation"]
        self.crl = Authority(self.lab.folder, self.lab.ca[self.lab.a], self.lab.file("made.crl"))
        self.validation["crls"] = [self.web.url("/acme.crl")]

    def publish(self, authority=None, path="/acme.crl", **times):
        """At the URL; the bytes."""
        authority = authority or self.crl
        with open(authority.publish(**{"begin": -1, **times}).path, "rb") as made:
            body = made.read()
        self.web.put(path, body)
        return body

    def ask(self, cert):
        mark = self.lab.gateway.mark()
        answer = tls.verdict(self.lab.address, self.name, tls.context(cert))
        return answer, self.lab.gateway.wait("tunnel", since=mark)

    def good_and_bad(self):
        good, bad = self.lab.client(self.lab.a, "good"), self.lab.client(self.lab.a, "bad")
        self.crl.revoke(bad)
        return good, bad

    def fetched(self, ok, since=0, where=lambda e: True, program=None, timeout=15):
        return (program or self.lab.gateway).wait("crl_fetch", lambda e: e.ok == ok and where(e),
                                                  since, timeout)


class Fetch(Case):
    def test_the_list_is_there_when_the_gateway_is_ready(self):
        good, bad = self.good_and_bad()
        for form in ("PEM", "DER"):
            with self.subTest(form):
                self.publish(form=form)
                self.lab.start_gateway()
                event = self.fetched(True)
                self.assertEqual((event.url, event.entries), (self.validation["crls"][0], 1))
                self.assertRegex(event.issuer, "^CN=Test CA")
                answer, event = self.ask(good)
                self.assertEqual((answer, event.validate_status), ("ok", "valid"))
                self.assertIn(self.web.url("/acme.crl"), str(event.revocation))
                answer, event = self.ask(bad)
                self.assertEqual((answer, event.reason), ("certificate_revoked", "revoked"))
                self.assertIn("says the CRL in " + self.web.url("/acme.crl"), event.detail)
                self.lab.stop(self.lab.gateway)

    def test_a_revoked_certificates_tunnel_is_cut_others_do_not_notice(self):
        echo = origin.Origin()
        self.addCleanup(echo.close)
        target = lab.format_address(echo.start(origin.echo))

        def hold(tenant, cert):
            client = tls.Client(self.lab.address, self.lab.name_of(tenant), tls.context(cert))
            self.addCleanup(client.close)
            self.assertEqual(client.connect(target)[0], 200)
            return client

        def talk(client):
            client.send(b"still here?")
            self.assertEqual(client.recv(), b"still here?")
        good, bad = self.lab.client(self.lab.a, "good"), self.lab.client(self.lab.a, "bad")
        self.publish(begin=-1, end=5)
        self.lab.start_gateway()
        held, stays = hold(self.lab.a, bad), hold(self.lab.a, good)
        other = hold(self.lab.b, self.lab.client(self.lab.b))
        for client in (held, stays, other):
            talk(client)
        mark = self.lab.gateway.mark()
        self.crl.revoke(bad)
        self.publish()
        event = self.lab.gateway.wait("tunnel_closed", since=mark)
        self.assertRegex(event.error, r"^after a reload: revoked: revoked on \S+: keyCompromise")
        reload = self.lab.gateway.wait("reload", since=mark)
        self.assertEqual((reload.ok, reload.cause), (True, "crl"))
        self.assertNotEqual(tls.read_to_end(held.sock)[1], "timeout")
        talk(stays)
        talk(other)
        self.assertEqual(len(self.lab.gateway.all("tunnel_closed", since=mark)), 1)
        self.assertEqual(self.lab.gateway.all("tunnel", lambda e: e.tenant == self.lab.b, mark), [])
        self.assertEqual((self.ask(bad)[0], self.ask(good)[0]), ("certificate_revoked", "ok"))

    def test_a_file_that_cannot_be_used_does_not_hold_up_what_is_new_at_a_url(self):
        other = Authority(self.lab.folder, self.lab.pki.ca("Other CA"), self.lab.file("other.crl"))
        other.publish()
        self.validation["crls"].append("../other.crl")
        good, bad = self.lab.client(self.lab.a, "good"), self.lab.client(self.lab.a, "bad")
        self.publish(begin=-1, end=5)
        self.lab.start_gateway()
        self.assertEqual(self.ask(bad)[0], "ok")
        mark = self.lab.gateway.mark()
        with open(other.path, "w", encoding="ascii") as out:
            out.write("half a file")
        self.assertFalse(self.lab.gateway.wait("reload", since=mark).ok)
        self.crl.revoke(bad)
        self.publish()
        reload = self.lab.gateway.wait("reload", lambda e: e.ok, mark)
        self.assertEqual(reload.cause, "crl")
        self.assertEqual((self.ask(bad)[0], self.ask(good)[0]), ("certificate_revoked", "ok"))

    def test_it_is_asked_for_again_before_it_is_stale_and_only_what_is_new_is_sent(self):
        begin = time.monotonic()
        self.publish(begin=-1, end=6)
        self.lab.start_gateway()
        cert = self.lab.client(self.lab.a)
        requests = self.web.wait_count("/acme.crl", 2)
        self.assertLess(requests[1][2] - begin, 6, "it was stale by then")
        self.assertTrue(requests[1][1].get("If-None-Match"))
        self.publish(begin=-1, end=3600)
        mark = self.lab.gateway.mark()
        self.fetched(True, mark)
        lab.until(lambda: time.monotonic() - begin > 7, what="the end of the first list")
        self.assertEqual(self.ask(cert)[0], "ok")
        self.assertEqual(self.lab.gateway.all("tunnel", lambda e: e.action == "block"), [])
        self.assertLess(self.web.count("/acme.crl"), 9, "at most once a second")

    def test_a_long_list_takes_memory_as_README_says_and_its_last_entry_counts(self):
        bad = self.lab.client(self.lab.a, "bad")
        with open(os.path.join(self.crl.work, "index"), "w", encoding="ascii") as index:
            for number in range(ENTRIES):
                index.write("R\t400101000000Z\t260101000000Z\t%032X\tunknown\t/CN=x\n"
                            % ((0x4a << 120) + number))
        self.crl.revoke(bad)
        self.lab.start_gateway()
        before = self.lab.gateway.rss_kib()
        self.web.put("/acme.crl", b"later")
        size = len(self.publish(form="DER"))
        event = self.fetched(True, timeout=60)
        self.assertEqual(event.entries, ENTRIES + 1)
        self.lab.gateway.wait("reload")
        self.assertEqual(self.ask(bad)[0], "certificate_revoked")
        self.assertEqual(self.ask(self.lab.client(self.lab.a))[0], "ok")
        grown = self.lab.gateway.rss_kib() - before
        print("%d entries: %d bytes fetched, %d KiB more in memory" % (ENTRIES, size, grown))
        # 32 bytes an entry, once; what was needed while it was read may not all be given back yet.
        self.assertLess(grown * 1024, (size + 64 * ENTRIES) * lab.memory_factor() + (16 << 20))

    def test_two_tenants_with_one_url_are_one_fetch_each_by_its_own_cas(self):
        other = self.lab.tenants[self.lab.b]["client_validation"]
        other["crls"] = self.validation["crls"]
        self.publish()
        self.lab.start_gateway()
        self.assertEqual(self.web.count("/acme.crl"), 1)
        self.assertEqual(self.ask(self.lab.client(self.lab.a))[0], "ok")
        mark = self.lab.gateway.mark()
        answer = tls.verdict(self.lab.address, self.lab.name_of(self.lab.b),
                             tls.context(self.lab.client(self.lab.b)))
        event = self.lab.gateway.wait("tunnel", since=mark)
        self.assertEqual((answer, event.reason), ("certificate_unknown", "crl_stale"))
        self.assertIn("is neither from a trusted CA nor from one that the peer sent", event.detail)

    def test_an_intermediates_list_counts_and_a_forged_one_does_not_displace_it(self):
        middle = self.lab.pki.ca("Middle", self.lab.ca[self.lab.a])
        own = Authority(self.lab.folder, middle, self.lab.file("middle.crl"))
        good, bad = self.lab.pki.leaf("good", middle), self.lab.pki.leaf("bad", middle)
        own.revoke(bad)
        self.publish(own, begin=-60, end=8)
        self.lab.start_gateway()
        self.assertEqual(self.ask(good)[0], "ok", "it is proved by the handshake itself")
        self.assertEqual(self.ask(bad)[0], "certificate_revoked")
        forged = Authority(self.lab.folder, self.lab.pki.ca("Middle"), self.lab.file("forged.crl"))
        mark = self.lab.gateway.mark()
        self.publish(forged, begin=-1, end=3600)
        self.fetched(True, mark)
        self.assertEqual((self.ask(good)[0], self.ask(bad)[0]), ("ok", "certificate_revoked"))

    def test_a_url_that_a_reload_adds_does_not_cut_what_is_open(self):
        urls, self.validation["crls"] = self.validation.pop("crls"), []
        self.lab.start_gateway()
        cert = self.lab.client(self.lab.a)
        client = tls.Client(self.lab.address, self.name, tls.context(cert))
        self.addCleanup(client.close)
        client.send(tls.PROBE)
        self.assertTrue(client.recv().startswith(b"HTTP/1.1 405"))
        held = tls.Client(self.lab.address, self.name, tls.context(cert))
        self.addCleanup(held.close)
        self.lab.gateway.wait_count("tunnel", 2)
        self.web.put("/acme.crl", hang=True)
        self.validation["crls"] = urls
        self.lab.save()
        self.lab.hup()
        self.assertEqual(self.ask(cert)[1].reason, "crl_stale")
        held.send(tls.PROBE)
        self.assertTrue(held.recv().startswith(b"HTTP/1.1 405"))
        self.assertEqual(self.lab.gateway.all("tunnel_closed", lambda e: e.get("error") and
                                              "crl" in e.error), [])


class Trouble(Case):
    def test_never_fetched_is_decided_by_policy_and_heals(self):
        self.web.stop()
        cert = self.lab.client(self.lab.a)
        self.lab.start_gateway()
        answer, event = self.ask(cert)
        self.assertEqual((answer, event.alert, event.observed_errors),
                         ("certificate_unknown", "certificate_unknown", ["crl_stale"]))
        self.assertRegex(event.detail, r"^the CRL of %s was never fetched: \S.*refused"
                         % self.web.url("/acme.crl"))
        self.assertGreater(self.fetched(False).retry_ms, 0)
        self.web.start()  # without the list
        self.fetched(False, where=lambda e: "404" in e.error)
        lab.until(lambda: "404" in self.ask(cert)[1].detail, what="the newest reason to be told")
        self.validation["on"] = {"crl_stale": "allow"}
        self.lab.save()
        self.lab.hup()
        answer, event = self.ask(cert)
        self.assertEqual((answer, event.validate_status), ("ok", "unvalidated"))
        self.assertEqual(tls.verdict(self.lab.address, self.lab.name_of(self.lab.b),
                                     tls.context(self.lab.client(self.lab.b))), "ok")
        mark = self.lab.gateway.mark()
        self.publish()
        self.lab.gateway.wait("reload", lambda e: e.get("cause") == "crl", mark, timeout=20)
        answer, event = self.ask(cert)
        self.assertEqual((answer, event.validate_status), ("ok", "valid"))

    def test_a_list_grows_stale_while_the_server_is_down_and_comes_back(self):
        self.publish(begin=-1, end=3)
        self.lab.start_gateway()
        cert = self.lab.client(self.lab.a)
        self.assertEqual(self.ask(cert)[0], "ok")
        self.web.stop()
        self.fetched(False)
        lab.until(lambda: self.ask(cert)[0] == "certificate_unknown", what="a stale list", every=0.3)
        event = self.ask(cert)[1]
        self.assertEqual((event.reason, event.alert), ("crl_stale", "certificate_unknown"))
        self.assertRegex(event.detail, "^the CRL in %s is stale since" % self.web.url("/acme.crl"))
        self.publish()
        self.web.start()
        mark = self.lab.gateway.mark()
        self.fetched(True, mark)
        lab.until(lambda: self.ask(cert)[0] == "ok", what="the new list", timeout=3)

    def test_what_is_no_better_list_never_displaces_a_good_one(self):
        good, bad = self.good_and_bad()
        older = self.publish(begin=-2 * HOUR)
        twin = Authority(self.lab.folder, self.lab.pki.ca("Test CA of " + self.lab.a),
                         self.lab.file("twin.crl"))
        other = Authority(self.lab.folder, self.lab.ca[self.lab.b], self.lab.file("other.crl"))
        good_body = self.publish(begin=-60, end=5)
        self.lab.start_gateway()
        self.assertEqual((self.ask(good)[0], self.ask(bad)[0]), ("ok", "certificate_revoked"))
        bodies = [
            (b"half a file", 200, {}, "no CRL in it"),
            (b"<html><body>Log in to use this network</body></html>", 200,
             {"Content_Type": "text/html"}, "no CRL in it"),
            (b"gone", 404, {}, "404"),
            (b"", 302, {"Location": self.web.url("/elsewhere.crl")}, "302"),
            (twin.publish().path, 200, {}, "did not sign it"),
            (other.publish().path, 200, {}, "there is no CRL of 'CN=Test CA"),
            (older, 200, {}, "older than the one"),
            (good_body[:-20], 200, {}, ""),
        ]
        self.web.put("/elsewhere.crl", older)
        for body, status, headers, says in bodies:
            with self.subTest(says):
                if isinstance(body, str):
                    with open(body, "rb") as made:
                        body = made.read()
                mark = self.lab.gateway.mark()
                self.web.put("/acme.crl", body, status, **headers)
                event = self.fetched(False, mark, lambda e: says in e.error)
                self.assertEqual(event.url, self.web.url("/acme.crl"))
                self.assertEqual(self.ask(bad)[0], "certificate_revoked")
                self.publish(begin=-1, end=4)
                self.fetched(True, mark)
                self.assertEqual(self.ask(good)[0], "ok")
        self.assertEqual(self.web.count("/elsewhere.crl"), 0)

    def test_a_list_from_the_future_is_not_taken(self):
        self.publish(begin=HOUR, end=2 * HOUR)
        self.lab.start_gateway()
        event = self.ask(self.lab.client(self.lab.a))[1]
        self.assertEqual(event.reason, "crl_stale")
        self.assertRegex(event.detail, "never fetched: .*from the future")

    def test_a_server_that_hangs_holds_nothing_up(self):
        self.web.put("/acme.crl", hang=True)
        begin = time.monotonic()
        self.lab.start_gateway()
        self.assertLess(time.monotonic() - begin, 2 + 3 * lab.SLOW)
        cert, took = self.lab.client(self.lab.b), []
        self.web.wait_count("/acme.crl", 1)
        for _ in range(20):
            begin = time.monotonic()
            self.assertEqual(tls.verdict(self.lab.address, self.lab.name_of(self.lab.b),
                                         tls.context(cert)), "ok")
            took.append(time.monotonic() - begin)
        self.assertLess(sorted(took)[10], 0.2 * lab.SLOW)
        self.assertLess(max(took), 1 * lab.SLOW)
        answer, event = self.ask(self.lab.client(self.lab.a))
        self.assertEqual(answer, "certificate_unknown")
        self.assertRegex(event.detail, "was never fetched yet$")


class Kept(Case):
    def setUp(self):
        super().setUp()
        self.folder = self.lab.file("kept")
        os.mkdir(self.folder)
        self.lab.gateway_config["cache_dir"] = "kept"

    def kept(self):
        files = glob.glob(self.folder + "/*")
        self.assertEqual(len(files), 1, files)
        return files[0]

    def test_a_restart_without_the_server_uses_what_was_kept(self):
        good, bad = self.good_and_bad()
        body = self.publish()
        self.lab.start_gateway()
        self.fetched(True)
        # That nothing was kept yet is no failure.
        self.assertEqual(self.lab.gateway.all("crl_fetch", lambda e: not e.ok), [])
        self.assertRegex(self.kept(), r"/crl-[0-9a-f]{32}\.crl$")
        self.assertEqual(os.stat(self.kept()).st_mode & 0o777, 0o600)
        with open(self.kept(), "rb") as kept:
            self.assertEqual(kept.read(), body)
        self.lab.stop(self.lab.gateway)
        self.web.stop()
        begin = time.monotonic()
        self.lab.start_gateway()
        self.assertEqual(self.fetched(True).cached, self.kept())
        self.assertEqual((self.ask(good)[0], self.ask(bad)[0]), ("ok", "certificate_revoked"))
        self.assertLess(time.monotonic() - begin, 3 * lab.SLOW)

    def test_a_file_that_was_tampered_with_is_not_believed(self):
        good, bad = self.good_and_bad()
        body = self.publish(form="DER")
        self.lab.start_gateway()
        self.fetched(True)
        path = self.kept()
        self.lab.stop(self.lab.gateway)
        twin = Authority(self.lab.folder, self.lab.pki.ca("Test CA of " + self.lab.a),
                         self.lab.file("twin.crl")).publish(form="DER")
        with open(twin.path, "rb") as made:
            forged = made.read()
        flipped = bytearray(body)
        flipped[-5] ^= 1
        self.web.stop()
        for name, content in (("forged", forged), ("flipped", bytes(flipped)), ("empty", b""),
                              ("cut", body[:100])):
            with self.subTest(name):
                with open(path, "wb") as out:
                    out.write(content)
                self.lab.start_gateway()
                event = self.fetched(False, where=lambda e: "not believed" in e.error)
                self.assertIn(path, event.error)
                self.assertIsNone(event.get("retry_ms"))
                self.assertEqual(self.ask(good)[1].reason, "crl_stale")
                self.lab.stop(self.lab.gateway)
        self.web.start()
        self.lab.start_gateway()
        self.assertEqual((self.ask(good)[0], self.ask(bad)[0]), ("ok", "certificate_revoked"))
        with open(path, "rb") as kept:
            self.assertEqual(kept.read(), body)

    def test_a_folder_that_cannot_be_written_is_a_line_and_no_more(self):
        good, bad = self.good_and_bad()
        self.publish()
        self.lab.start_gateway()
        path = self.kept()
        self.lab.stop(self.lab.gateway)
        os.unlink(path)
        os.mkdir(path)  # a rename onto it fails, for root too
        self.publish()
        self.lab.start_gateway()
        event = self.lab.gateway.wait("trouble")
        self.assertRegex(event.message, "cannot be kept over a restart: .*cannot be written")
        self.assertEqual((self.ask(good)[0], self.ask(bad)[0]), ("ok", "certificate_revoked"))
        self.assertEqual(glob.glob(self.folder + "/*.new"), [])

    def test_a_folder_that_is_not_there_is_an_error_of_the_configuration(self):
        os.rmdir(self.folder)
        self.lab.save()
        done = lab.run(lab.program("sallyport-gateway"), "--check", "--config",
                       self.lab.file("gateway.json"))
        self.assertEqual(done.returncode, 2)
        self.assertRegex(done.stderr, r"\$\.cache_dir: .*kept: No such file or directory")


class Agent(Case):
    def setUp(self):
        super().setUp()
        del self.validation["crls"]
        self.root = self.lab.pki.ca("Service CA")
        self.cert = self.lab.pki.leaf("gateway", self.root, eku="serverAuth",
                                      dns=[self.lab.agent_config["server_name"]])
        self.lab.tenants[self.lab.a].update(certificate=self.cert.chain, private_key=self.cert.key)
        self.crl = Authority(self.lab.folder, self.root, self.lab.file("service.crl"))
        self.lab.agent_config["server_validation"] = {
            "mode": "pinned", "ca_files": [self.root.pem], "crls": [self.web.url("/service.crl")]}

    def test_a_gateway_that_is_revoked_later_is_left_at_once(self):
        self.publish(path="/service.crl", begin=-1, end=6)
        self.lab.start()
        self.assertIn("/service.crl", str(self.lab.agent.wait("tunnel").revocation))
        mark = self.lab.agent.mark()
        self.publish(path="/service.crl", begin=-1, end=6)
        self.lab.agent.wait("reload", lambda e: e.ok and e.cause == "crl", mark)
        self.assertEqual(self.lab.agent.all("tunnel_closed", since=mark), [],
                         "a newer list alone ends no tunnel")
        self.crl.revoke(self.cert)
        self.publish(path="/service.crl")
        event = self.lab.agent.wait("tunnel", lambda e: e.action == "block", mark, timeout=15)
        self.assertEqual(event.reason, "revoked")
        closed = self.lab.agent.wait("tunnel_closed", since=mark)
        self.assertRegex(closed.error, "CRLs changed: revoked: revoked on ")

    def test_a_newer_list_does_not_judge_an_old_tunnel_by_a_newer_configuration(self):
        server = origin.Origin()
        self.addCleanup(server.close)
        echo = lab.format_address(server.start(origin.echo))
        self.publish(path="/service.crl", begin=-1, end=6)
        self.lab.start()
        app = lab.connect(self.lab.doors[0])
        self.addCleanup(app.close)
        app.sendall(("CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (echo, echo)).encode())
        self.assertIn(b" 200 ", app.recv(4096))
        self.lab.agent_config["server_validation"]["pinned_keys"] = ["sha256:" + 64 * "0"]
        self.lab.save()
        mark = self.lab.agent.mark()
        self.lab.agent.signal(signal.SIGHUP)
        self.lab.agent.wait("tunnel", lambda e: e.action == "block", mark)
        self.publish(path="/service.crl")
        self.lab.agent.wait("reload", lambda e: e.get("cause") == "crl", mark, timeout=15)
        app.sendall(b"still there")
        self.assertEqual(app.recv(4096), b"still there")

    def test_without_the_list_it_refuses_the_gateway_with_the_exact_alert_and_heals(self):
        self.web.stop()
        self.lab.start_gateway()
        self.lab.start_agent(wait_up=False)
        event = self.lab.agent.wait("tunnel")
        self.assertEqual((event.action, event.reason, event.alert),
                         ("block", "crl_stale", "certificate_unknown"))
        self.assertRegex(event.detail, r"^the CRL of http://\S+/service.crl was never fetched: ")
        failed = self.lab.gateway.wait("tunnel", lambda e: "certificate_unknown" in str(e))
        self.assertTrue(failed)
        mark = self.lab.agent.mark()
        self.publish(path="/service.crl")
        self.web.start()
        self.lab.wait_up(mark)

    def test_it_keeps_lists_over_a_restart_and_policy_may_let_pass(self):
        os.mkdir(self.lab.file("kept"))
        self.lab.agent_config["cache_dir"] = "kept"
        self.publish(path="/service.crl")
        self.lab.start()
        self.lab.stop(self.lab.agent)
        self.web.stop()
        self.lab.start_agent()
        self.assertEqual(self.lab.agent.wait("tunnel").validate_status, "valid")
        self.lab.stop(self.lab.agent)
        del self.lab.agent_config["cache_dir"]
        self.lab.agent_config["server_validation"]["on"] = {"crl_stale": "allow"}
        self.lab.start_agent()
        self.assertEqual(self.lab.agent.wait("tunnel").validate_status, "unvalidated")


if __name__ == "__main__":
    lab.main()
