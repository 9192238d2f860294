"""selftest: the driver's own arithmetic and words, on canned data; starts nothing, opens nothing."""

import json
import os
import subprocess
import sys
import unittest
import xml.etree.ElementTree

import network
import pairs
import procs
import report
import rows
import tenants
import tools
from procs import BenchError

WRK = """Running 1s test @ http://127.0.0.1:12345/
  2 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.05ms    2.51ms  40.11ms   97.50%
    Req/Sec    20.10k     1.20k   22.00k    60.00%
  Latency Distribution
     50%  712.00us
     75%    0.92ms
     90%    1.50ms
     99%   12.34ms
  40200 requests in 1.01s, 13.80MB read
  Socket errors: connect 0, read 3, write 0, timeout 1
Requests/sec:  39801.98
Transfer/sec:     13.66MB
"""
VALUES = dict.fromkeys(
    "LAB NAME OTHER_NAME SERVER_CERT SERVER_KEY SERVER_CA CLIENT_CERT CLIENT_KEY CLIENT_CA OTHER_CA "
    "SERVER_BOTH CLIENT_BOTH DIR SIDE TENANTS BODY".split(), "x")
VALUES.update(dict.fromkeys("DOOR_HTTP DOOR_BULK TLS_HTTP TLS_BULK ORIGIN IPERF CORES FILES "
                            "CONNECTIONS WORKERS TUNNELS AGENT_TO".split(), 1))


def canned():
    results = rows.Results()
    for peer, rates in (("haproxy", [900.0, 1000.0, 1100.0]), ("nginx", [1200.0]),
                        ("relay", [15000.0]), ("nghttpx", [20000.0]),
                        ("sallyport", [12500.0, 11000.0, 11900.0])):
        for rate in rates:
            results.add(peer, {"channels.rate": rate})
    for peer, spent in (("relay", 0.5), ("haproxy", 1.0), ("sallyport", 0.9)):
        results.add(peer, {"bulk1.up.cpu_s": spent})
    results.add("nginx", {"handshakes.full_us": 1000.0})
    results.add("sallyport", {"handshakes.full_us": 305.0, "memory.server_kib": 3.5,
                              "tenants.handshake_10_us": 400.0, "tenants.handshake_most_us": 420.0})
    return results


class Templates(unittest.TestCase):
    def test_each_template_is_used_and_each_of_its_names_is_known(self):
        used = {template for peer in pairs.PEERS.values() for template, _ in peer.sides}
        used |= {"origin.conf", "sallyport-tenant.json", "sallyport-other.json",
                 "haproxy-tenants.cfg"}
        self.assertEqual(used, set(os.listdir(pairs.TEMPLATES)))
        for template in used:
            self.assertNotIn("@", pairs.render(template, VALUES), template)

    def test_our_own_are_json(self):
        for template in os.listdir(pairs.TEMPLATES):
            if template.endswith(".json"):
                json.loads(pairs.render(template, VALUES))
        self.assertIn("certificate", json.loads(tenants.tenant_json("x", None, 2)))
        self.assertNotIn("certificate", json.loads(tenants.tenant_json("x", None, 3)))

    def test_an_unknown_name_is_refused(self):
        with self.assertRaises(BenchError):
            pairs.render("sallyport-agent.json", {"DIR": "x"})

    def test_commands_know_their_names(self):
        known = set(VALUES) | {"CONFIG", "BUILD"}
        for peer in pairs.PEERS.values():
            for _, command in peer.sides:
                for word in command:
                    for name in word.split("@")[1::2]:
                        self.assertIn(name, known)


class Words(unittest.TestCase):
    def test_wrk(self):
        found = tools.parse_wrk(WRK)
        self.assertEqual((found["requests"], found["p50"], found["p99"], found["errors"]),
                         (40200, 712.0, 12340.0, 4))
        self.assertAlmostEqual(found["rate"], 40200 / 1.01)
        for broken in ("", WRK.replace("40200 requests", "0 requests"), WRK.replace("99%", "98%")):
            with self.assertRaises(BenchError):
                tools.parse_wrk(broken)

    def test_iperf3(self):
        end = {"sum_received": {"bytes": 1000000, "seconds": 1.0, "bits_per_second": 8e9}}
        self.assertEqual(tools.parse_iperf3(json.dumps({"end": end}))["gbit"], 8.0)
        for broken in ("iperf3: error", json.dumps({"error": "the server is busy", "end": {}}),
                       json.dumps({"end": {"sum_received": dict(end["sum_received"], bytes=0)}})):
            with self.assertRaises(BenchError):
                tools.parse_iperf3(broken)


class Figures(unittest.TestCase):
    def setUp(self):
        self.rows = {found["row"].key: found for found in canned().rows()}

    def test_medians_and_spread(self):
        ours = self.rows["channels.rate"]["peers"]["sallyport"]
        self.assertEqual((ours["median"], ours["min"], ours["max"]), (11900.0, 11000.0, 12500.0))

    def test_the_best_peer_is_not_the_floor(self):
        found = self.rows["channels.rate"]
        self.assertEqual(found["best"], "nghttpx")
        self.assertAlmostEqual(found["ratio"], 11900 / 20000)

    def test_targets_compare_with_whom_they_name(self):
        per_stream, floor = self.rows["channels.rate"]["targets"]
        self.assertEqual((per_stream["bound"], per_stream["met"]), (12000.0, False))
        self.assertAlmostEqual(per_stream["by"], 11900 / 12000)
        self.assertEqual((floor["bound"], floor["met"]), (11250.0, True))
        best, = self.rows["bulk1.up.cpu_s"]["targets"]
        self.assertEqual((best["bound"], best["met"]), (0.85, False))
        full, = self.rows["handshakes.full_us"]["targets"]
        self.assertAlmostEqual(full["bound"], 300)
        self.assertFalse(full["met"])
        self.assertIn("MISSED (1.02 of it)", report.verdict(full))
        self.assertTrue(self.rows["memory.server_kib"]["targets"][0]["met"])
        self.assertAlmostEqual(self.rows["tenants.flat"]["peers"]["sallyport"]["median"], 1.05)

    def test_what_was_not_measured_is_not_judged(self):
        results = rows.Results()
        results.add("sallyport", {"handshakes.full_us": 305.0})
        found, = results.rows()
        self.assertEqual((found["targets"], found["ratio"], found["best"]), ([], None, None))

    def test_a_figure_without_a_row_is_a_mistake(self):
        with self.assertRaises(KeyError):
            rows.Results().add("nginx", {"handshakes.ful_us": 1.0})

    def test_every_row_that_is_plotted_or_compared_exists(self):
        for key in report.PLOTTED:
            self.assertIn(key, rows.BY_KEY)
        self.assertEqual(len(rows.BY_KEY), len(rows.ROWS))
        for row in rows.ROWS:
            for target in row.targets:
                target.text()
                named = [target.of] if isinstance(target.of, str) else target.of or []
                for peer in named:
                    self.assertIn(peer, list(pairs.PEERS) + ["best"])


class Report(unittest.TestCase):
    def setUp(self):
        self.rows = canned().rows()
        self.peers = list(pairs.PEERS)
        self.about = {"machine": report.machine(), "versions": {"wrk": "4 & <more>"},
                      "settings": "s", "failures": []}

    def test_the_table_has_a_cell_for_each(self):
        lines = report.table(self.rows, self.peers).split("\n")
        self.assertEqual(len(lines), 2 + len(self.rows))
        self.assertEqual({line.count("|") for line in lines}, {2 + len(self.peers) + 3})
        self.assertIn("11,900 (11,000..12,500)", lines[2])

    def test_json_and_plot_are_well_formed(self):
        found = json.loads(report.as_json(self.rows, self.about))
        self.assertEqual(found["rows"]["channels.rate"]["peers"]["haproxy"]["samples"],
                         [900.0, 1000.0, 1100.0])
        plot = report.svg(self.rows, self.peers, self.about)
        xml.etree.ElementTree.fromstring(plot)
        self.assertIn("Sallyport", plot)


class Processes(unittest.TestCase):
    def test_our_own_cpu_and_children_are_seen(self):
        self.assertIn(os.getpid(), procs.children_of(os.getpid()))
        ports = procs.Ports()
        self.assertNotEqual(ports.one(), ports.one())


class Network(unittest.TestCase):
    def enter(self, wanted):
        """What a process has and says that has entered."""
        script = "import network; said = network.enter(%r); " \
                 "print(network.congestion_control(), said)" % wanted
        done = subprocess.run([sys.executable, "-B", "-c", script], capture_output=True, text=True,
                              check=True, cwd=os.path.dirname(os.path.abspath(__file__)))
        return done.stdout.split(None, 1)

    def test_another_congestion_control_is_this_process_s_alone_and_told(self):
        before = network.congestion_control()
        wanted = "reno" if before != "reno" else "cubic"
        has, said = self.enter(wanted)
        self.assertIn("no network namespace" if has == before else "in a network namespace", said)
        self.assertIn(has, (before, wanted))
        self.assertEqual(network.congestion_control(), before)

    def test_the_default_is_left_alone(self):
        before = network.congestion_control()
        has, said = self.enter(before)
        self.assertEqual(has, before)
        self.assertNotIn("namespace", said)


def main():
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__])
    result = unittest.TextTestRunner(verbosity=0).run(suite)
    bad = len(result.failures) + len(result.errors)
    # What tests/support/count.py counts.
    print("cases: %d passed, %d failed, %d skipped" % (
        result.testsRun - bad - len(result.skipped), bad, len(result.skipped)))
    return 1 if bad else 0
