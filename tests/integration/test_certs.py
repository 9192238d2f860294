#!/usr/bin/env python3
"""sallyport-certs init: a laboratory that runs as it is."""

import json
import os
import shutil
import stat
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import lab
import tls


class Init(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="sallyport-test-")
        self.addCleanup(shutil.rmtree, self.folder)
        self.path = os.path.join(self.folder, "lab")

    def init(self, *more):
        return lab.run(lab.program("sallyport-certs"), "init", *more, self.path)

    def files(self):
        return sorted(os.path.join(where, name)
                      for where, _, names in os.walk(self.path) for name in names)

    def test_a_complete_laboratory_is_made_that_both_programs_accept(self):
        done = self.init()
        self.assertEqual(done.returncode, 0, done.stderr)
        names = [os.path.relpath(f, self.path) for f in self.files()]
        for wanted in ("gateway.json", "agent.json"):
            self.assertIn(wanted, names)
        self.assertGreaterEqual(len([n for n in names if n.startswith("tenants.d/")]), 2)
        for program, config in (("sallyport-gateway", "gateway.json"),
                                ("sallyport-agent", "agent.json")):
            done = lab.run(lab.program(program), "--config", os.path.join(self.path, config),
                           "--check")
            self.assertEqual(done.returncode, 0, done.stderr)

    def test_keys_are_0600(self):
        os.umask(os.umask(0))
        self.assertEqual(self.init().returncode, 0)
        keys = [f for f in self.files() if f.endswith(".key")]
        self.assertGreaterEqual(len(keys), 6)
        for key in keys:
            self.assertEqual(stat.S_IMODE(os.stat(key).st_mode), 0o600, key)

    def test_existing_files_are_never_overwritten(self):
        self.assertEqual(self.init().returncode, 0)
        before = {f: open(f, "rb").read() for f in self.files()}
        done = self.init()
        self.assertNotEqual(done.returncode, 0)
        self.assertTrue(done.stderr)
        self.assertEqual({f: open(f, "rb").read() for f in self.files()}, before)

    def test_one_existing_file_stops_it_before_it_writes_anything(self):
        os.mkdir(self.path)
        with open(os.path.join(self.path, "agent.json"), "w", encoding="utf-8") as mine:
            mine.write("mine")
        self.assertNotEqual(self.init().returncode, 0)
        self.assertEqual([os.path.basename(f) for f in self.files()], ["agent.json"])

    def test_it_takes_milliseconds(self):
        took = []
        for i in range(5):
            self.path = os.path.join(self.folder, "lab%d" % i)
            begun = time.monotonic()
            self.assertEqual(self.init().returncode, 0)
            took.append(time.monotonic() - begun)
        # "A few milliseconds" is about an ordinary build; sanitizers and busy machines get room.
        self.assertLess(min(took), 0.5 * lab.SLOW)

    def test_openssl_verifies_the_chains(self):
        self.assertEqual(self.init().returncode, 0)
        for root, leaf, purpose in (
                ("service-root", "server/common", "sslserver"),
                ("service-root", "server/c123456", "sslserver"),
                ("acme-root", "clients/acme-alice", "sslclient"),
                ("globex-root", "clients/globex-carol", "sslclient")):
            pem = os.path.join(self.path, leaf + ".pem")
            done = lab.run("openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile",
                           os.path.join(self.path, "ca", root + ".pem"), "-untrusted", pem, pem)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            with open(pem, encoding="ascii") as text:
                self.assertEqual(text.read().count("BEGIN CERTIFICATE"), 2, "leaf, intermediate")

    def test_wrong_usage_is_status_2(self):
        for args in ((), ("nonsense",), ("init",), ("init", "a", "b"), ("init", "--wrong", "a")):
            done = lab.run(lab.program("sallyport-certs"), *args, cwd=self.folder)
            self.assertEqual(done.returncode, 2, args)
        for args in (("--help",), ("--version",), ("init", "--help")):
            self.assertEqual(lab.run(lab.program("sallyport-certs"), *args).returncode, 0)


class AsItIs(lab.LabCase):
    def test_the_laboratorys_own_clients_pass_at_their_own_tenant_only(self):
        class Pair:
            def __init__(self, stem):
                self.chain, self.key = stem + ".pem", stem + ".key"
        self.lab.start_gateway()
        acme = tls.context(Pair(self.lab.file("clients", "acme-alice")))
        globex = tls.context(Pair(self.lab.file("clients", "globex-carol")))
        a, b = self.lab.name_of(self.lab.a), self.lab.name_of(self.lab.b)
        self.assertEqual(tls.verdict(self.lab.address, a, acme), "ok")
        self.assertEqual(tls.verdict(self.lab.address, b, globex), "ok")
        self.assertEqual(tls.verdict(self.lab.address, a, globex), "unknown_ca")
        self.assertEqual(tls.verdict(self.lab.address, b, acme), "unknown_ca")

    def test_the_laboratory_has_two_tenants_one_with_its_own_certificate(self):
        with_own = [t for t in self.lab.tenants.values() if "certificate" in t]
        self.assertEqual((len(self.lab.tenants), len(with_own)), (2, 1))
        self.assertTrue(json.dumps(self.lab.gateway_config["common"]))


if __name__ == "__main__":
    lab.main()
