#!/usr/bin/env python3
"""Configuration that is wrong: each mistake its own message, from the program itself, status 2.

(tests/data/config-bad has the files that are wrong in themselves; these are the ones that are wrong
in a laboratory: keys, certificates, several files together.)
"""

import json
import os
import shutil
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import lab
import mint


class Case(lab.LabCase):
    def check(self, which="gateway", status=2):
        """--check: what it says on stderr, with the laboratory's folder taken out."""
        done = lab.run(lab.program("sallyport-" + which), "--config",
                       self.lab.file(which + ".json"), "--check")
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        if status:
            self.assertEqual(done.stdout, "")
            self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
            # Nobody starts what --check refuses.
            started = lab.run(lab.program("sallyport-" + which), "--config",
                              self.lab.file(which + ".json"))
            self.assertEqual((started.returncode, started.stderr), (status, done.stderr))
        return (done.stdout + done.stderr).replace(self.lab.path + "/", "")


class Syntax(Case):
    def test_syntax_errors_name_file_line_and_column(self):
        for which in ("gateway", "agent"):
            with self.subTest(which):
                with open(self.lab.file(which + ".json"), "w", encoding="utf-8") as out:
                    out.write('{\n  "listen": ["127.0.0.1:0"\n}\n')
                self.assertRegex(self.check(which),
                                 r"^sallyport-%s: %s\.json:3:1: \S" % (which, which))

    def test_syntax_errors_in_a_tenants_file_name_that_file(self):
        self.lab.save()
        with open(self.lab.tenant_file(self.lab.a), "w", encoding="utf-8") as out:
            out.write('{ "enabled": true,\n "server_names": [ }\n')
        self.assertRegex(self.check(), r"tenants\.d/%s\.json:2:\d+: \S" % self.lab.a)

    def test_unknown_and_duplicate_keys_are_errors_everywhere(self):
        def change(config, path, key):
            target = config
            for part in path:
                target = target[part]
            target[key] = 1
        places = [("gateway", lambda: self.lab.gateway_config, p) for p in
                  ((), ("common",), ("log",))]
        places += [("agent", lambda: self.lab.agent_config, p) for p in
                   ((), ("identity",), ("server_validation",), ("doors", 0))]
        places += [("tenant", lambda: self.lab.tenants[self.lab.a], p) for p in
                   ((), ("client_validation",), ("egress",))]
        for which, config, path in places:
            with self.subTest(which, path=path):
                good = json.dumps(config())
                change(config(), path, "nonsense")
                self.lab.save()
                said = self.check("agent" if which == "agent" else "gateway")
                where = "$" + "".join("[%d]" % p if isinstance(p, int) else "." + p for p in path)
                self.assertIn(where + ".nonsense: ", said)
                fresh = json.loads(good)
                config().clear()
                config().update(fresh)
        self.lab.save()
        for path, text in ((self.lab.file("gateway.json"), '{"listen": ["127.0.0.1:0"], "listen": []}'),
                           (self.lab.tenant_file(self.lab.a), '{"enabled": true, "enabled": true}')):
            with self.subTest("duplicate", path=os.path.basename(path)):
                with open(path, encoding="utf-8") as source:
                    good = source.read()
                with open(path, "w", encoding="utf-8") as out:
                    out.write(text)
                self.assertRegex(self.check(), r"(?i)duplicate")
                with open(path, "w", encoding="utf-8") as out:
                    out.write(good)


class Values(Case):
    def test_each_wrong_value_names_its_place_what_was_found_and_what_is_wanted(self):
        g, a, t = self.lab.gateway_config, self.lab.agent_config, self.lab.tenants[self.lab.a]

        def put(*path_and_value):
            *path, value = path_and_value

            def change(config):
                for part in path[:-1]:
                    config = config.setdefault(part, {}) if isinstance(config, dict) else config[part]
                config[path[-1]] = value
            return change
        rows = [
            ("gateway", g, put("listen", []), r"\$\.listen: "),
            ("gateway", g, put("listen", ["127.0.0.1"]), r"\$\.listen\[0\]: .*127\.0\.0\.1"),
            ("gateway", g, put("listen", ["127.0.0.1:88947"]), r"\$\.listen\[0\]: .*88947"),
            ("gateway", g, put("listen", "127.0.0.1:1"), r"\$\.listen: .*array"),
            ("gateway", g, put("workers", 0), r"\$\.workers: .*0"),
            ("gateway", g, put("workers", "many"), r"\$\.workers: .*many.*auto"),
            ("gateway", g, put("unknown_server_name", "allow"),
             r"\$\.unknown_server_name: .*allow.*reject.*common"),
            ("gateway", g, put("tls", {"min_version": "1.1"}),
             r"\$\.tls\.min_version: .*1\.1.*1\.2.*1\.3"),
            ("gateway", g, put("log", "level", "loud"), r"\$\.log\.level: .*loud.*info"),
            ("gateway", g, put("log", "format", "xml"), r"\$\.log\.format: .*xml.*json"),
            ("gateway", g, put("tenants", "nowhere.d"), r"\$\.tenants: .*nowhere\.d"),
            ("gateway", g, put("limits", {"handshake_ms": -1}), r"\$\.limits\.handshake_ms: .*-1"),
            ("gateway", g, lambda c: c["common"].pop("private_key"),
             r"\$\.common\.private_key: required, but missing"),
            ("gateway", t, put("client_validation", "on_failure", "maybe"),
             r"\$\.client_validation\.on_failure: .*maybe.*allow.*block"),
            ("gateway", t, put("client_validation", "on", {"expird": "allow"}),
             r"\$\.client_validation\.on\.expird"),
            ("gateway", t, put("client_validation", "trusted_cas", []),
             r"\$\.client_validation\.trusted_cas"),
            ("gateway", t, put("egress", "mode", "sideways"), r"\$\.egress\.mode: .*sideways"),
            ("gateway", t, put("egress", "allow", ["db.example"]), r"\$\.egress\.allow\[0\]: .*db"),
            ("gateway", t, put("egress", "allow", ["a.example:1", "10.0.0.1/8:*"]),
             r"\$\.egress\.allow\[1\]: .*10\.0\.0\.1/8"),
            ("gateway", t, put("server_names", []), r"\$\.server_names"),
            ("gateway", t, put("server_names", ["not a name"]),
             r"\$\.server_names\[0\]: .*not a name"),
            ("gateway", t, put("limits", {"tunnels": "ten"}), r"\$\.limits\.tunnels: "),
            ("gateway", t, lambda c: c.update(certificate="x.pem") or c.pop("private_key", None),
             r"\$\.(private_key|certificate)"),
            ("agent", a, put("gateways", []), r"\$\.gateways: "),
            ("agent", a, put("gateways", ["gateway.example"]), r"\$\.gateways\[0\]: .*gateway"),
            ("agent", a, put("server_name", "two words"), r"\$\.server_name: .*two words"),
            ("agent", a, put("server_validation", "mode", "loose"),
             r"\$\.server_validation\.mode: .*loose.*pinned.*trust_store"),
            ("agent", a, put("doors", [{"type": "back", "listen": "127.0.0.1:0"}]),
             r"\$\.doors\[0\]\.type: .*back.*http.*forward"),
            ("agent", a, put("doors", [{"type": "forward", "listen": "127.0.0.1:0"}]),
             r"\$\.doors\[0\]\.to"),
            ("agent", a, put("tunnels", 0), r"\$\.tunnels: .*0"),
        ]
        for which, config, change, pattern in rows:
            with self.subTest(pattern):
                good = json.dumps(config)
                change(config)
                self.lab.agent_config.setdefault("gateways", ["127.0.0.1:1"])
                self.lab.save()
                said = self.check(which)
                self.assertRegex(said, r"^sallyport-\w+: \S*\.json: " + pattern)
                config.clear()
                config.update(json.loads(good))
        self.lab.save()
        self.check(status=0)
        self.check("agent", status=0)


class Credentials(Case):
    def setUp(self):
        super().setUp()
        self.tenant = self.lab.tenants[self.lab.a]
        self.ca = self.lab.pki.ca("Service")
        self.place = r"%s\.json: \$" % self.lab.a

    def server(self, **more):
        cert = self.lab.pki.leaf("server", self.ca, eku="serverAuth",
                                 dns=more.pop("dns", self.tenant["server_names"]), **more)
        self.tenant.update(certificate=cert.chain, private_key=cert.key)
        return cert

    def test_a_key_readable_by_others(self):
        cert = self.server()
        for mode in (0o644, 0o604, 0o660):
            with self.subTest(oct(mode)):
                os.chmod(cert.key, mode)
                self.lab.save()
                self.assertRegex(self.check(), self.place + r"\.private_key: .*%s.*0%o.*0600" % (
                    os.path.basename(cert.key), mode))
        os.chmod(cert.key, 0o600)
        self.check(status=0)

    def test_a_key_that_does_not_match(self):
        self.server()
        self.tenant["private_key"] = self.lab.pki.leaf("other", self.ca).key
        self.lab.save()
        self.assertRegex(self.check(), self.place + r"\.\w+: .*(match|belong)")

    def test_an_expired_server_certificate_is_a_warning(self):
        now = time.time()
        self.server(not_before=now - 9 * mint.DAY, not_after=now - 3 * mint.DAY)
        self.lab.save()
        self.assertRegex(self.check(status=0), self.place + r".*expired 3 days ago")
        self.lab.start_gateway()
        warned = self.lab.gateway.wait("configuration")
        self.assertEqual(warned.level, "warning")
        self.assertRegex(warned.message, r"expired 3 days ago")

    def test_a_certificate_whose_names_do_not_cover_server_names(self):
        self.server(dns=["other.example"])
        self.lab.save()
        said = self.check()
        self.assertRegex(said, r"%s\.json: \$\.server_names\[0\]: |%s\.certificate: " % (
            self.lab.a, self.place))
        self.assertIn("other.example", said)
        self.assertIn(self.tenant["server_names"][0], said)

    def test_a_common_certificate_that_does_not_cover_a_tenant_without_its_own(self):
        self.lab.tenants[self.lab.b]["server_names"] = ["elsewhere.example"]
        self.lab.save()
        said = self.check()
        self.assertIn(self.lab.b + ".json", said)
        self.assertIn("elsewhere.example", said)

    def test_two_tenants_with_one_name_names_both_files(self):
        name = self.tenant["server_names"][0]
        self.lab.tenants[self.lab.b]["server_names"].append(name.upper() + ".")
        self.lab.save()
        said = self.check()
        for wanted in (self.lab.a + ".json", self.lab.b + ".json", name):
            self.assertIn(wanted, said)

    def test_a_ca_file_with_no_ca_in_it(self):
        leaf = self.lab.pki.leaf("leaf", self.ca)
        for what, path in (("a leaf", leaf.pem), ("a key", leaf.key),
                           ("empty", self.lab.write("empty.pem", "")),
                           ("garbage", self.lab.write("junk.pem", "junk\n"))):
            with self.subTest(what):
                self.tenant["client_validation"]["trusted_cas"] = [self.ca.pem, path]
                self.lab.save()
                said = self.check()
                self.assertRegex(said, self.place + r"\.client_validation\.trusted_cas")
                self.assertIn(os.path.basename(path), said)
                self.assertRegex(said, r"(?i)no (CA )?certificate|not a CA")

    def test_missing_files_are_named_with_the_key_that_names_them(self):
        for key, base in (("certificate", "gone.pem"), ("private_key", "gone.key")):
            with self.subTest(key):
                self.server()
                self.tenant[key] = base
                self.lab.save()
                self.assertRegex(self.check(),
                                 self.place + r"\.\w+: .*%s: .*No such file" % base.replace(".", r"\."))
        self.server()
        self.tenant["client_validation"]["trusted_cas"] = ["gone-ca.pem"]
        self.lab.save()
        self.assertRegex(self.check(), r"trusted_cas.*gone-ca\.pem: .*No such file")

    def test_the_agents_own_files_are_checked_the_same_way(self):
        cert = self.lab.client(self.lab.a)
        self.lab.agent_config["identity"] = {"certificate": cert.chain, "private_key": cert.key}
        os.chmod(cert.key, 0o644)
        self.lab.save()
        self.assertRegex(self.check("agent"), r"^sallyport-agent: agent\.json: \$\.identity\.private_key: ")
        os.chmod(cert.key, 0o600)
        self.lab.agent_config["server_validation"]["ca_files"] = [cert.pem]
        self.lab.save()
        self.assertRegex(self.check("agent"), r"\$\.server_validation\.ca_files")

    def test_an_expired_client_certificate_is_a_warning_at_the_agent(self):
        now = time.time()
        cert = self.lab.client(self.lab.a, not_before=now - 9 * mint.DAY,
                               not_after=now - 3 * mint.DAY)
        self.lab.agent_config["identity"] = {"certificate": cert.chain, "private_key": cert.key}
        self.lab.save()
        self.assertRegex(self.check("agent", status=0), r"expired 3 days ago")

    def test_a_tenants_folder_that_can_not_be_read(self):
        shutil.rmtree(self.lab.file("tenants.d"))
        self.assertRegex(self.check(), r"\$\.tenants: .*tenants\.d")


if __name__ == "__main__":
    lab.main()
