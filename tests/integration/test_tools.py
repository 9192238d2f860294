#!/usr/bin/env python3
"""The project's own tools: that they notice what they are there to notice."""

import os
import shutil
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import lab

FOLDERS = ("agent", "gateway", "common", "certs", "tests")


class CheckLayers(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp(prefix="sallyport-test-")
        self.addCleanup(shutil.rmtree, self.root)
        for folder in FOLDERS:
            shutil.copytree(os.path.join(lab.ROOT, folder), os.path.join(self.root, folder),
                            ignore=shutil.ignore_patterns("__pycache__"))

    def check(self):
        done = lab.run(os.path.join(lab.ROOT, "tools", "check-layers"), self.root)
        return done.returncode, done.stdout

    def change(self, path, old, new):
        path = os.path.join(self.root, path)
        with open(path, encoding="utf-8") as source:
            text = source.read()
        self.assertIn(old, text)
        with open(path, "w", encoding="utf-8") as out:
            out.write(text.replace(old, new, 1))

    def test_the_project_passes(self):
        self.assertEqual(self.check(), (0, ""))

    def test_each_wrong_direction_is_noticed(self):
        for path, include, said in (
                ("common/tunnel.c", '"gateway/session.h"', "common/ must not include gateway/"),
                ("agent/agent.c", '"gateway/session.h"', "agent/ must not include gateway/"),
                ("gateway/session.c", '"agent/link.h"', "gateway/ must not include agent/"),
                ("certs/mint.c", '"gateway/acl.h"', "certs/ must not include gateway/"),
                ("common/error.c", '"common/json_bind.h"', "level 0 must not include"),
                ("common/tls_chain.c", '"common/loop.h"', "level 2 must not include"),
                ("gateway/session.c", "<gnutls/gnutls.h>", "belongs in"),
                ("agent/agent.c", "<uv.h>", "belongs in"),
                ("common/conn.c", "<nghttp2/nghttp2.h>", "belongs in"),
                ("gateway/config.c", "<jansson.h>", "belongs in"),
                ("common/conn.c", '"buf.h"', "write it from the root"),
                ("common/conn.c", '"common/gone.h"', "does not exist")):
            with self.subTest(path, include=include):
                self.change(path, "#include", "#include %s\n#include" % include)
                status, out = self.check()
                self.assertEqual(status, 1)
                self.assertIn(path + ":", out)
                self.assertIn(said, out)
                self.change(path, "#include %s\n" % include, "")
        self.assertEqual(self.check()[0], 0)

    def test_an_unlisted_test_and_a_wrong_guard_are_noticed(self):
        open(os.path.join(self.root, "tests/unit/test_forgotten.c"), "w", encoding="utf-8").close()
        self.change("common/buf.h", "#ifndef SALLYPORT_COMMON_BUF_H", "#ifndef BUF_H")
        status, out = self.check()
        self.assertEqual(status, 1)
        self.assertIn("test_forgotten.c is not listed", out)
        self.assertIn("SALLYPORT_COMMON_BUF_H", out)


class Deps(unittest.TestCase):
    def test_the_package_list_is_printed_and_wrong_groups_are_refused(self):
        deps = os.path.join(lab.ROOT, "tools", "deps")
        done = lab.run(deps, "--list", "build", "demo")
        self.assertEqual(done.returncode, 0)
        self.assertIn("libgnutls28-dev", done.stdout.split())
        self.assertIn("nginx", done.stdout.split())
        self.assertEqual(lab.run(deps, "nonsense").returncode, 2)
        self.assertEqual(lab.run(deps).returncode, 2)


if __name__ == "__main__":
    lab.main()
