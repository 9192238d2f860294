#!/usr/bin/env python3
"""The project's own tools: that they notice what they are there to notice."""

import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import count
import lab


class CheckLayers(unittest.TestCase):
    def tool(self, *args):
        done = lab.run(os.path.join(lab.ROOT, "tools", "check-layers"), *args)
        return done.returncode, done.stdout + done.stderr

    def test_the_project_keeps_its_layers(self):
        status, said = self.tool(lab.ROOT)
        self.assertEqual(status, 0, said)

    def test_each_rule_is_seen_to_fail(self):
        status, said = self.tool("--self-test")
        self.assertEqual(status, 0, said)


class Mutate(unittest.TestCase):
    """The whole hunt is too long for a suite; a few of one small file are not."""

    def tool(self, *args, timeout=20):
        done = lab.run(os.path.join(lab.ROOT, "tools", "mutate"), *args, timeout=timeout)
        return done.returncode, done.stdout + done.stderr

    def test_it_finds_the_conditions_and_its_tables_are_true(self):
        status, said = self.tool("--self-test")
        self.assertEqual(status, 0, said)

    def test_it_lists_what_is_asked_for_and_refuses_what_it_does_not_know(self):
        status, said = self.tool("--list", "--only", "may_sign", "common/tls_ocsp_signer.c")
        self.assertEqual(status, 0, said)
        self.assertGreater(len(said.splitlines()), 2)
        self.assertTrue(all("may_sign" in line for line in said.splitlines()), said)
        self.assertEqual(self.tool("--list", "common/no_such_file.c")[0], 1)
        self.assertEqual(self.tool("--list", "--only", "no such condition")[0], 1)

    def test_what_it_inverts_is_noticed(self):
        status, said = self.tool("--units", "--sample", "4", "common/tls_ocsp_request.c",
                                 timeout=200)
        self.assertEqual(status, 0, said)
        self.assertRegex(said, r"(?m)^4 mutants, 0 survived")


class Deps(unittest.TestCase):
    def test_the_package_list_is_printed_and_wrong_groups_are_refused(self):
        deps = os.path.join(lab.ROOT, "tools", "deps")
        done = lab.run(deps, "--list", "build", "demo")
        self.assertEqual(done.returncode, 0)
        self.assertIn("libgnutls28-dev", done.stdout.split())
        self.assertIn("nginx", done.stdout.split())
        self.assertEqual(lab.run(deps, "nonsense").returncode, 2)
        self.assertEqual(lab.run(deps).returncode, 2)


class Count(unittest.TestCase):
    """A suite whose counting is wrong is worse than none."""

    @staticmethod
    def counted(result, out):
        return count.count({"result": result, "stdout": out})[:3]

    def test_cases_are_counted_and_nothing_that_failed_is_lost(self):
        self.assertEqual(self.counted("OK", "100%: Checks: 7, Failures: 0, Errors: 0\n"), (7, 0, 0))
        self.assertEqual(self.counted("FAIL", "71%: Checks: 7, Failures: 1, Errors: 1\n"), (5, 2, 0))
        self.assertEqual(self.counted("OK", "cases: 4 passed, 0 failed, 1 skipped\n"), (4, 0, 1))
        self.assertEqual(self.counted("FAIL", "cases: 4 passed, 2 failed, 0 skipped\n"), (4, 2, 0))
        # A sanitizer at exit, a crash, a time-out: all cases went well, the program did not.
        self.assertEqual(self.counted("FAIL", "100%: Checks: 7, Failures: 0, Errors: 0\n"), (7, 1, 0))
        self.assertEqual(self.counted("TIMEOUT", ""), (0, 1, 0))
        self.assertEqual(self.counted("OK", ""), (1, 0, 0))


if __name__ == "__main__":
    lab.main()
