#!/usr/bin/env python3
"""`sallyport-gateway explain`: what it says is what a real gateway does with the same chain."""

import json
import os
import re
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import lab
import mint
import tls
import web
from responder import Responder
from test_crl import Authority
from test_verdict import client_cases

DAY = mint.DAY
HOUR = mint.HOUR
GATEWAY = lab.program("sallyport-gateway")
# What must be the same in a line of the log and in what explain says.
SAME = ("action", "validate_status", "observed_errors", "reason", "rule", "alert", "detail",
        "tenant", "sni", "subject", "issuer", "serial", "fingerprint", "chain", "path",
        "not_before", "not_after", "shadow", "shadow_reason", "shadow_rule")


def moment(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


class Case(lab.LabCase):
    def setUp(self):
        super().setUp()
        self.name = self.lab.name_of(self.lab.a)
        self.tenant = self.lab.tenants[self.lab.a]
        self.validation = self.tenant["client_validation"]

    def run_explain(self, *args, **more):
        return lab.run(GATEWAY, "explain", *args, **more)

    def explain(self, *args, config=True, status=None, **more):
        """The object that --json prints; its status fits its action."""
        where = ("--config", self.lab.file("gateway.json")) if config else ()
        done = self.run_explain(*where, *args, "--json", **more)
        self.assertIn(done.returncode, (0, 1), done.stderr)
        said = lab.Event(json.loads(done.stdout))
        if "action" in said:
            self.assertEqual(done.returncode, 1 if said.action == "block" else 0)
        if status is not None:
            self.assertEqual(done.returncode, status)
        return said

    def refused(self, *args, **more):
        """Status 2, nothing on standard output; what was said."""
        done = self.run_explain(*args, **more)
        self.assertEqual((done.returncode, done.stdout), (2, ""), done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1)
        return done.stderr

    def decided(self, cert, chain=True, name=None):
        mark = self.lab.gateway.mark()
        answer, peer = tls.ask(self.lab.address, name or self.name, tls.context(cert, chain=chain))
        return answer, self.lab.gateway.wait("tunnel", lambda e: e.peer == peer, mark)

    def sent(self, cert, chain=True):
        return "none" if cert is None else cert.chain if chain else cert.pem

    def compare(self, cert, chain=True, name=None, without=(), more=()):
        """The gateway's line and explain's answer about the same client agree."""
        _, event = self.decided(cert, chain, name)
        said = self.explain("--sni", name or self.name, "--chain", self.sent(cert, chain), *more)
        keys = [k for k in SAME if k not in without]
        self.assertEqual({k: said.get(k) for k in keys}, {k: event.get(k) for k in keys})
        return event, said


class SameCode(Case):
    def cases(self):
        cases = {what: (cert, chain) for what, (cert, chain, _) in
                 client_cases(self.lab.pki, self.lab.ca[self.lab.a], self.lab.a).items()}
        cases["valid"] = (self.lab.client(self.lab.a), True)
        middle = self.lab.pki.ca("Middle", issuer=self.lab.ca[self.lab.a])
        cases["valid, an intermediate"] = (self.lab.pki.leaf("below", middle), True)
        cases["another tenant's"] = (self.lab.client(self.lab.b), True)
        return cases

    def test_each_reason_as_the_gateway_logs_it(self):
        self.lab.start_gateway()
        for what, (cert, chain) in self.cases().items():
            with self.subTest(what):
                event, said = self.compare(cert, chain)
                reason = what.split(",")[0]
                if reason == "valid":
                    self.assertEqual((said.action, said.reasons), ("allow", []))
                elif reason in event.observed_errors:
                    self.assertEqual(said.reasons[0]["outcome"], "block")
                    self.assertIn(reason, [r["reason"] for r in said.reasons])
                    self.assertGreater(len(said.reasons[0]["advice"]), 10)

    def test_each_reason_under_another_policy(self):
        cases = self.cases()
        old = cases["expired"][0]
        self.validation["on_failure"] = "allow"
        self.validation["on"] = {"wrong_purpose": "block"}
        self.validation["require_eku"] = False
        self.validation["exceptions"] = [{"fingerprint": old.fingerprint(), "reason": "expired",
                                          "until": moment(time.time() + DAY)}]
        self.validation["shadow"] = {"on_failure": "block", "max_chain": 1}
        self.lab.start_gateway()
        for what, (cert, chain) in cases.items():
            with self.subTest(what):
                event, said = self.compare(cert, chain)
                if what == "expired":
                    self.assertIn("exceptions[0]", said.rule)
                    self.assertLess(said.holds_until, moment(time.time() + DAY + 1))
                if what == "valid, an intermediate":
                    self.assertEqual(said.shadow, "would_block")

    def test_patterns_and_a_disabled_tenant(self):
        self.validation["match"] = {"san_dns": "*.devices.example"}
        self.lab.start_gateway()
        fits = self.lab.client(self.lab.a, "fits", dns=["x.devices.example"])
        self.assertEqual(self.compare(fits)[1].action, "allow")
        self.assertEqual(self.compare(self.lab.client(self.lab.a))[1].reason, "name_mismatch")
        self.tenant["enabled"] = False
        self.lab.reload()
        self.assertEqual(self.compare(fits)[1].reason, "tenant_disabled")

    def test_revocation_lists(self):
        crl = Authority(self.lab.folder, self.lab.ca[self.lab.a], self.lab.file("acme.crl"))
        good, bad = self.lab.client(self.lab.a, "good"), self.lab.client(self.lab.a, "bad")
        crl.revoke(bad)
        crl.publish()
        self.validation["crls"] = ["../acme.crl"]
        self.lab.start_gateway()
        event, said = self.compare(good)
        self.assertEqual((said.action, said.revocation), ("allow", event.revocation))
        event, said = self.compare(bad)
        self.assertEqual((said.reason, said.revocation), ("revoked", event.revocation))
        late = self.explain("--tenant", self.lab.a, "--chain", good.chain, "--at",
                            moment(time.time() + 2 * DAY))
        self.assertEqual(late.reason, "crl_stale")

    def test_a_list_that_was_never_fetched(self):
        self.validation["crls"] = ["http://127.0.0.1:1/acme.crl"]
        self.lab.start_gateway()
        _, said = self.compare(self.lab.client(self.lab.a), without=("detail",))
        self.assertEqual(said.reason, "crl_stale")
        self.assertIn("was never fetched", said.detail)

    def test_a_list_that_the_gateway_has_kept(self):
        server = web.Server()
        self.addCleanup(server.close)
        crl = Authority(self.lab.folder, self.lab.ca[self.lab.a], self.lab.file("acme.crl"))
        good, bad = self.lab.client(self.lab.a, "good"), self.lab.client(self.lab.a, "bad")
        crl.revoke(bad)
        with open(crl.publish(begin=-1).path, "rb") as made:
            server.put("/acme.crl", made.read())
        cache = os.path.join(self.lab.folder, "cache")
        os.mkdir(cache)
        self.lab.gateway_config["cache_dir"] = cache
        self.validation["crls"] = [server.url("/acme.crl")]
        self.lab.start_gateway()
        self.lab.gateway.wait("crl_fetch", lambda e: e.ok)
        lab.until(lambda: [n for n in os.listdir(cache) if n.endswith(".crl")], what="the kept list")
        self.assertEqual(self.compare(good)[1].action, "allow")
        self.assertEqual(self.compare(bad)[1].reason, "revoked")

    def test_names_that_lead_to_nobody(self):
        self.lab.start_gateway()
        cert = self.lab.client(self.lab.a)
        for name in ("nobody.example", "x." + self.name):
            with self.subTest(name):
                _, event = self.decided(cert, name=name)
                said = self.explain("--sni", name, "--chain", cert.chain)
                self.assertEqual((said.reason, said.alert, said.detail, said.rule),
                                 (event.reason, event.alert, event.detail, event.rule))
                self.assertEqual(said.reason, "unknown_server_name")
        for name, detail in (("a..b", "malformed"), ("1.2.3.4", "malformed"),
                             ("bad name", "malformed"), ("", "no server name was sent")):
            with self.subTest(name):
                said = self.explain("--sni", name, "--chain", cert.chain)
                self.assertEqual(said.alert, "unrecognized_name")
                self.assertIn(detail, said.detail)
        self.assertEqual(self.explain("--sni", self.name.upper() + ".", "--chain",
                                      cert.chain).action, "allow")

    def test_common_names_find_the_tenant_by_the_chain(self):
        common = self.lab.gateway_config["common"]["server_names"][0]
        shared = self.lab.pki.ca("Shared CA")
        for tenant in (self.lab.a, self.lab.b):
            self.lab.tenants[tenant]["client_validation"]["trusted_cas"].append(shared.pem)
        self.lab.start_gateway()
        both = self.lab.pki.leaf("both", shared)
        cases = {"one": (self.lab.client(self.lab.b), None), "several":
                 (both, "tenant_ambiguous"),
                 "none": (self.lab.pki.leaf("x", self.lab.pki.ca("Stranger")), "tenant_unknown"),
                 "nothing": (None, "tenant_unknown")}
        for what, (cert, reason) in cases.items():
            with self.subTest(what):
                _, said = self.compare(cert, name=common)
                self.assertEqual(said.get("reason"), reason)
        text = self.run_explain("--config", self.lab.file("gateway.json"), "--sni", common,
                                "--chain", both.chain).stdout
        for tenant in (self.lab.a, self.lab.b):
            self.assertIn("%s (" % tenant, text)
        said = self.refused("--config", self.lab.file("gateway.json"), "--sni", common, "--chain",
                            cases["one"][0].chain, "--tenant", self.lab.a)
        self.assertIn("leads to tenant %s" % self.lab.b, said)


class Ocsp(Case):
    def setUp(self):
        super().setUp()
        self.responder = Responder(self.lab.folder, self.lab.ca[self.lab.a])
        self.addCleanup(self.responder.close)
        self.validation["ocsp"] = {"mode": "hard", "responder": self.responder.url}
        self.cert = self.lab.client(self.lab.a, "device")
        self.responder.know(self.cert)

    def response(self, name, responder=None, cert=None):
        data = (responder or self.responder).response_for(cert or self.cert)
        return self.lab.write(name, data)

    def about(self, *more, **kwargs):
        return self.explain("--tenant", self.lab.a, "--chain", self.cert.chain, *more, **kwargs)

    def test_responses_decide_as_they_do_in_the_gateway(self):
        self.lab.save()
        said = self.about("--ocsp-response", self.response("good.der"))
        self.assertEqual((said.action, said.observed_errors), ("allow", []))
        self.assertTrue(said.revocation["ocsp"]["responder"].endswith("good.der"))
        stranger = Responder(self.lab.folder, self.lab.pki.ca("Stranger"))
        self.addCleanup(stranger.close)
        stranger.know(self.cert)
        other = self.lab.client(self.lab.a, "other")
        others = Responder(self.lab.folder, self.lab.ca[self.lab.a])
        self.addCleanup(others.close)
        others.know(other)
        for what, path in (("foreign", self.response("foreign.der", stranger)),
                           ("about another", self.response("other.der", others, other)),
                           ("garbage", self.lab.write("garbage.der", b"no response"))):
            with self.subTest(what):
                said = self.about("--ocsp-response", path)
                self.assertEqual((said.action, said.reason), ("block", "revocation_unknown"))
        self.responder.forget(self.cert)
        said = self.about("--ocsp-response", self.response("unknown.der"))
        self.assertEqual(said.reason, "revocation_unknown")
        self.responder.revoke(self.cert)
        revoked = self.response("revoked.der")
        said = self.about("--ocsp-response", revoked)
        self.assertEqual((said.action, said.reason, said.alert),
                         ("block", "revoked", "certificate_revoked"))
        self.lab.start_gateway()
        _, event = self.decided(self.cert)
        self.assertEqual([said[k] for k in ("action", "reason", "rule", "alert", "observed_errors")],
                         [event[k] for k in ("action", "reason", "rule", "alert",
                                             "observed_errors")])

    def test_without_a_response_both_outcomes_are_told(self):
        self.lab.save()
        said = self.about()
        self.assertEqual((said.action, said.reason, said.action_if_good),
                         ("block", "revocation_unknown", "allow"))
        self.assertIn("--ocsp-response", said.detail)
        self.validation["ocsp"]["mode"] = "soft"
        self.lab.save()
        said = self.about()
        self.assertEqual((said.action, said.reason), ("allow", "revocation_unknown"))
        self.validation["ocsp"]["mode"] = "off"
        self.lab.save()
        said = self.about("--ocsp-response", self.lab.write("garbage.der", b"no response"))
        self.assertEqual((said.action, said.observed_errors), ("allow", []))
        self.assertEqual(self.responder.asked, 0)

    def test_what_the_gateway_has_kept_counts(self):
        cache = os.path.join(self.lab.folder, "cache")
        os.mkdir(cache)
        self.lab.gateway_config["cache_dir"] = cache
        self.lab.start_gateway()
        self.assertEqual(self.decided(self.cert)[0], "ok")
        self.lab.stop(self.lab.gateway)
        before = open(os.path.join(cache, "ocsp.cache"), "rb").read()
        said = self.about()
        self.assertEqual((said.action, said.revocation["ocsp"]["responder"]), ("allow", "cache"))
        self.assertEqual(self.responder.asked, 1)
        self.assertEqual(open(os.path.join(cache, "ocsp.cache"), "rb").read(), before)


class Time(Case):
    def test_at_decides_as_of_then(self):
        self.lab.save()
        cert = self.lab.client(self.lab.a)
        for at, reason in (("2020-01-01", "not_yet_valid"), ("2040-01-01T00:00:00Z", "expired"),
                           (moment(time.time() + DAY), None)):
            with self.subTest(at):
                said = self.explain("--tenant", self.lab.a, "--chain", cert.chain, "--at", at)
                self.assertEqual(said.get("reason"), reason)
                self.assertEqual(said.at[:len(at)], at)

    def test_an_exception_ends_at_its_moment(self):
        now = time.time()
        cert = self.lab.client(self.lab.a, not_before=now - 9 * DAY, not_after=now - DAY)
        self.validation["exceptions"] = [{"fingerprint": cert.fingerprint(), "reason": "expired",
                                          "until": "2050-01-01T00:00:00Z"}]
        self.lab.save()
        for at, action in (("2049-12-31T23:59:59Z", "allow-unvalidated"),
                           ("2050-01-01T00:00:00Z", "block")):
            said = self.explain("--tenant", self.lab.a, "--chain", cert.chain, "--at", at)
            self.assertEqual((said.action, said.observed_errors), (action, ["expired"]))


class AnyChain(Case):
    def judge(self, ca, cert, *more, **kwargs):
        return self.explain("--trusted-ca", ca.pem, "--chain", cert.chain, *more, config=False,
                            **kwargs)

    def test_purposes_and_names(self):
        pki = self.lab.pki
        ca = pki.ca("Any CA")
        server = pki.leaf("s", ca, eku="serverAuth", dns=["db.example"], ips=["192.0.2.7"])
        client = pki.leaf("c", ca)
        any_use = pki.leaf("n", ca, eku=None)
        for cert, more, reason in (
                (any_use, (), "wrong_purpose"), (any_use, ("--purpose", "server"), None),
                (client, (), None), (client, ("--purpose", "client"), None),
                (client, ("--purpose", "server"), "wrong_purpose"), (server, (), "wrong_purpose"),
                (server, ("--purpose", "server"), None), (server, ("--name", "DB.example."), None),
                (server, ("--name", "192.0.2.7"), None),
                (server, ("--name", "other.example"), "name_mismatch"),
                (client, ("--at", "2040-01-01"), "expired")):
            with self.subTest(more):
                said = self.judge(ca, cert, *more)
                self.assertEqual(said.get("reason"), reason)
        said = self.judge(pki.ca("Other"), client)
        self.assertEqual(said.reason, "untrusted_issuer")

    def test_lists_and_responses(self):
        ca = self.lab.pki.ca("Any CA")
        good, bad = self.lab.pki.leaf("good", ca), self.lab.pki.leaf("bad", ca)
        crl = Authority(self.lab.folder, ca, self.lab.file("any.crl"))
        crl.revoke(bad)
        crl.publish()
        self.assertEqual(self.judge(ca, good, "--crl", crl.path).action, "allow")
        self.assertEqual(self.judge(ca, bad, "--crl", crl.path).reason, "revoked")
        responder = Responder(self.lab.folder, ca)
        self.addCleanup(responder.close)
        responder.know(good)
        path = self.lab.write("any.der", responder.response_for(good))
        self.assertEqual(self.judge(ca, good, "--ocsp-response", path).action, "allow")
        self.assertEqual(self.judge(ca, bad, "--ocsp-response", path).reason, "revocation_unknown")

    def test_der_stdin_and_a_key_in_the_file(self):
        ca = self.lab.pki.ca("Any CA")
        cert = self.lab.pki.leaf("c", ca)
        with open(cert.pem, encoding="ascii") as pem, open(cert.key, encoding="ascii") as key:
            text, secret = pem.read(), key.read()
        der = self.lab.write("c.der", cert.der())
        both = self.lab.write("both.pem", secret + text)
        for args, more in ((("--chain", der), {}), (("--chain", "-"), {"input": text}),
                           (("--chain", both), {})):
            done = self.run_explain("--trusted-ca", ca.pem, *args, **more)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertIn(cert.fingerprint(), done.stdout)
            for line in secret.split("\n")[1:-2]:
                self.assertNotIn(line, done.stdout + done.stderr)
        self.assertIn("private key", done.stdout)

    def test_text_from_certificates_is_escaped(self):
        ca = self.lab.pki.ca("Any CA")
        cert = self.lab.pki.leaf("evil", ca, subject="/CN=evil\x1b[2J\u202e")
        done = self.run_explain("--trusted-ca", ca.pem, "--chain", cert.chain)
        self.assertIn("evil", done.stdout)
        self.assertNotIn("\x1b", done.stdout)
        self.assertNotIn("\u202e", done.stdout)
        self.judge(ca, cert)


class FromLog(Case):
    def setUp(self):
        super().setUp()
        now = time.time()
        ca = self.lab.ca[self.lab.a]
        self.crl = Authority(self.lab.folder, ca, self.lab.file("acme.crl")).publish()
        self.good = self.lab.client(self.lab.a, "good")
        elder = self.lab.pki.ca("Elder", not_before=now - 20 * DAY)
        self.validation["trusted_cas"].append(elder.pem)
        self.old = self.lab.pki.leaf("old", elder, not_before=now - 9 * DAY, not_after=now - DAY)
        self.lab.start_gateway()
        self.lines = {}
        for name, cert in (("good", self.good), ("old", self.old)):
            _, event = self.decided(cert)
            self.lines[name] = json.dumps(event)

    def again(self, name, *more):
        self.lab.save()
        return self.explain("--from-log", self.lines[name], *more)

    def test_an_unchanged_configuration_decides_the_same(self):
        for name in self.lines:
            event, said = json.loads(self.lines[name]), self.again(name)
            for key in ("action", "observed_errors", "reason", "rule", "alert", "tenant",
                        "fingerprint"):
                self.assertEqual(said.get(key), event.get(key), key)
            self.assertEqual(said.logged_action, event["action"])

    def test_what_has_changed_since_is_seen(self):
        fingerprint = self.old.fingerprint()
        ca = self.lab.ca[self.lab.a].pem
        trusted = self.validation["trusted_cas"]
        cases = [
            ("good", {"enabled": False}, {}, "block", "tenant_disabled"),
            ("old", {}, {"on": {"expired": "allow"}}, "allow-unvalidated", "expired"),
            ("old", {}, {"exceptions": [{"fingerprint": fingerprint, "reason": "expired",
                                         "until": "2090-01-01T00:00:00Z"}]},
             "allow-unvalidated", "expired"),
            ("good", {}, {"trusted_cas": [t for t in trusted if t != ca]}, "block",
             "untrusted_issuer"),
            ("good", {}, {"match": {"subject": "CN=somebody else"}}, "block", "name_mismatch"),
            ("good", {}, {"match": {"subject": "CN=g*"}}, "allow", None),
        ]
        for name, tenant, validation, action, reason in cases:
            with self.subTest(tenant=tenant, validation=list(validation)):
                before = dict(self.tenant), dict(self.validation)
                self.tenant.update(tenant)
                self.validation.update(validation)
                try:
                    said = self.again(name)
                finally:
                    for now, then in zip((self.tenant, self.validation), before):
                        now.clear()
                        now.update(then)
                self.assertEqual((said.action, said.get("reason")), (action, reason))

    def test_a_server_name_that_is_nobodys_now(self):
        event = json.loads(self.lines["good"])
        for name, action, reason in (("nobody.example", "block", "unknown_server_name"),
                                     (self.lab.name_of(self.lab.b), "block", "untrusted_issuer")):
            event["sni"] = name
            said = self.explain("--from-log", json.dumps(event))
            self.assertEqual((said.action, said.reason), (action, reason))

    def test_time_and_present_lists(self):
        self.assertEqual(self.again("good", "--at", "2040-01-01").reason, "expired")
        self.assertEqual(self.again("old", "--at", moment(time.time() - 2 * DAY)).action, "allow")
        self.validation["crls"] = ["../acme.crl"]
        self.assertEqual(self.again("good").action, "allow")
        self.crl.revoke(self.good)
        self.crl.publish()
        said = self.again("good")
        self.assertEqual((said.action, said.reason), ("block", "revoked"))
        self.assertIn("acme.crl", said.detail)

    def test_from_standard_input(self):
        self.lab.save()
        said = self.explain("--from-log", "-", input=self.lines["old"] + "\nnot looked at\n")
        self.assertEqual(said.reason, "expired")

    def test_what_is_no_such_line_is_told(self):
        config = ("--config", self.lab.file("gateway.json"), "--from-log")
        good = json.loads(self.lines["good"])

        def changed(**more):
            return json.dumps({k: v for k, v in dict(good, **more).items() if v is not None})
        for line, wanted in (
                ("", "empty"), ("no json", "line of the log:1:1"), ("{", "line of the log:1:"), ("[]", "object"),
                ("{}", r"\$\.event"), (json.dumps({"event": "ready"}), "something else"),
                (changed(observed_errors=None), r"\$\.observed_errors"),
                (changed(observed_errors=["made_up"]), "made_up"),
                (changed(observed_errors="expired"), r"\$\.observed_errors"),
                (changed(action="maybe"), r"\$\.action"), (changed(ts="today"), r"\$\.ts"),
                (changed(not_after="never"), r"\$\.not_after"), (changed(chain=-1), r"\$\.chain"),
                ('{"event":"tunnel","x":' + "[" * 100 + "]" * 100 + "}", "line of the log")):
            with self.subTest(line[:40]):
                self.assertRegex(self.refused(*config, line), wanted)


class Against(Case):
    def setUp(self):
        super().setUp()
        now = time.time()
        self.old = self.lab.client(self.lab.a, "old", not_before=now - 9 * DAY,
                                   not_after=now - DAY)
        self.log = os.path.join(self.lab.folder, "access.log")
        self.lab.gateway_config["log"]["file"] = self.log

    def fill(self):
        """A real log of a real gateway."""
        self.lab.gateway_config["log"]["file"] = None
        del self.lab.gateway_config["log"]["file"]
        self.lab.start_gateway()
        for tenant, count in ((self.lab.a, 3), (self.lab.b, 2)):
            for i in range(count):
                cert = self.lab.client(tenant, "%s-%d" % (tenant, i))
                for _ in range(2):
                    self.assertEqual(self.decided(cert, name=self.lab.name_of(tenant))[0], "ok")
        self.assertEqual(self.decided(self.old)[0], "certificate_expired")
        self.decided(None)
        with open(self.log, "w", encoding="utf-8") as out:
            out.write("\n".join(self.lab.gateway.all_lines()) + "\nthis is no line of ours\n")

    def against(self, status, **more):
        self.lab.save()
        return self.explain("--against", self.log, status=status, **more)

    def rows(self, said):
        return {row["tenant"]: row for row in said.tenants}

    def test_who_would_be_cut_by_tenant_and_reason(self):
        self.fill()
        said = self.against(0)
        rows = self.rows(said)
        self.assertEqual((said.cut, said.malformed, said.decisions, said.about_no_device),
                         (0, 1, 12, 1))
        self.assertEqual([(rows[t]["devices"], rows[t]["cut"], rows[t]["let_in"])
                          for t in (self.lab.a, self.lab.b)], [(4, 0, 0), (2, 0, 0)])
        self.lab.tenants[self.lab.b]["enabled"] = False
        self.validation["trusted_cas"].pop()
        rows = self.rows(self.against(1))
        self.assertEqual((rows[self.lab.a]["cut"], rows[self.lab.a]["by_reason"]),
                         (3, {"untrusted_issuer": 3}))
        self.assertEqual((rows[self.lab.b]["cut"], rows[self.lab.b]["by_reason"]),
                         (2, {"tenant_disabled": 2}))
        text = self.run_explain("--config", self.lab.file("gateway.json"), "--against", self.log)
        self.assertEqual(text.returncode, 1)
        self.assertRegex(text.stdout, r"(?m)^%s +4 +3 +0  untrusted_issuer 3$" % self.lab.a)
        self.assertRegex(text.stdout, r"5 devices would be cut")

    def test_who_would_be_let_in_and_the_last_line_counts(self):
        self.fill()
        self.validation["on"] = {"expired": "allow"}
        rows = self.rows(self.against(0))
        self.assertEqual((rows[self.lab.a]["let_in"], rows[self.lab.a]["cut"]), (1, 0))
        # The last decision of each device counts: this one was let in at last.
        line = next(json.loads(l) for l in self.lab.gateway.all_lines()
                    if '"fingerprint":"%s"' % self.old.fingerprint() in l)
        line.update(action="allow-unvalidated", validate_status="unvalidated")
        with open(self.log, "a", encoding="utf-8") as out:
            out.write(json.dumps(line) + "\n")
        del self.validation["on"]
        rows = self.rows(self.against(1))
        self.assertEqual((rows[self.lab.a]["devices"], rows[self.lab.a]["by_reason"]),
                         (4, {"expired": 1}))

    def test_a_pipe_and_bad_files(self):
        self.fill()
        self.lab.save()
        with open(self.log, encoding="utf-8") as log:
            said = self.explain("--against", "-", input=log.read())
        self.assertEqual((said.cut, said.decisions), (0, 12))
        config = ("--config", self.lab.file("gateway.json"), "--against")
        self.assertIn("No such file", self.refused(*config, self.log + ".none"))
        self.assertIn("folder", self.refused(*config, self.lab.folder))
        text = self.lab.write("text.log", "21:46:50.123 info  tunnel tenant=x\n" * 3)
        self.assertIn("JSON", self.refused(*config, text))
        empty = self.explain("--against", self.lab.write("empty.log", ""), status=0)
        self.assertEqual((empty.lines, empty.tenants), (0, []))


class Usage(Case):
    def test_wrong_usage_is_told_with_status_2(self):
        self.lab.save()
        cert = self.lab.client(self.lab.a)
        config = ("--config", self.lab.file("gateway.json"))
        chain = ("--chain", cert.chain)
        tenant = ("--tenant", self.lab.a)
        other = self.lab.name_of(self.lab.b)
        nothing = self.lab.write("nothing.pem", "no certificate here")
        half = self.lab.write("half.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n")
        damaged = self.lab.write("damaged.pem", "-----BEGIN CERTIFICATE-----\n!!!\n"
                                                "-----END CERTIFICATE-----\n")
        cases = [
            ((), "--config FILE is needed"), (config, "--tenant ID or --sni NAME"),
            ((*config, *tenant), "--chain FILE is needed"), ((*tenant, *chain), "--config"),
            ((*config, *tenant, *chain, "more"), "'more' is not an option"),
            ((*config, *tenant, *chain, "--wrong"), "--wrong"),
            ((*config, *tenant, *chain, "--at", "yesterday"), "yesterday"),
            ((*config, *tenant, *chain, "--at", "2026-02-30"), "2026-02-30"),
            ((*config, *tenant, *chain, "--purpose", "client"), "--purpose"),
            ((*config, *tenant, *chain, "--name", "x.example"), "--name"),
            ((*config, *config, *tenant, *chain), "twice"),
            ((*config, *tenant, *chain, "--trusted-ca", cert.pem), "--trusted-ca"),
            ((*config, *tenant, *chain, "--from-log", "{}"), "--from-log"),
            ((*config, "--from-log", "{}", "--against", "x"), "--against"),
            ((*config, "--tenant", "nobody", *chain), "no such tenant"),
            ((*config, *tenant, "--sni", other, *chain), "leads to tenant " + self.lab.b),
            ((*config, *tenant, "--sni", "nobody.example", *chain), "no tenant has this"),
            ((*config, *tenant, "--chain", nothing), "has no certificate"),
            ((*config, *tenant, "--chain", half), "no END line"),
            ((*config, *tenant, "--chain", damaged), "damaged"),
            ((*config, *tenant, "--chain", cert.key), "private key and no certificate"),
            ((*config, *tenant, "--chain", nothing + ".none"), "No such file"),
            ((*config, *tenant, *chain, "--ocsp-response", nothing + ".none"), "No such file"),
            (("--config", nothing, *tenant, *chain), "nothing.pem"),
            (("--trusted-ca", cert.pem, *chain), "CA"),
            (("--trusted-ca", self.lab.ca[self.lab.a].pem, *chain, "--crl", cert.pem), "crl|CRL"),
            (("--trusted-ca", self.lab.ca[self.lab.a].pem, *chain, "--crl", "http://x/y"),
             "nothing is fetched"),
            (("--trusted-ca", self.lab.ca[self.lab.a].pem, *chain, "--name", "a b"), "a b"),
            (("--crl", nothing, *chain), "--trusted-ca"), (("--tenant",), "--tenant wants a value"),
        ]
        for args, wanted in cases:
            with self.subTest([os.path.basename(str(a)) for a in args]):
                self.assertRegex(self.refused(*args), wanted)

    def test_help_and_text(self):
        done = self.run_explain("--help")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        for option in ("--config", "--tenant", "--sni", "--chain", "--at", "--ocsp-response",
                       "--from-log", "--against", "--trusted-ca", "--crl", "--purpose", "--name",
                       "--json"):
            self.assertIn(option, done.stdout)
        self.assertIn("explain", lab.run(GATEWAY, "--help").stdout)
        self.lab.save()
        done = self.run_explain("--config", self.lab.file("gateway.json"), "--tenant", self.lab.a,
                                "--chain", self.lab.client(self.lab.a).chain)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        numbers = [int(n) for n in re.findall(r"(?m)^ ?(\d+)\. ", done.stdout)]
        self.assertEqual(numbers, list(range(1, len(numbers) + 1)))
        self.assertGreater(len(numbers), 7)


if __name__ == "__main__":
    lab.main()
