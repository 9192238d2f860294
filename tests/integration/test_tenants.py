#!/usr/bin/env python3
"""Many tenants: started soon, held small, changed one at a time.

SALLYPORT_TEST_TENANTS=100000 makes it that many (sharing 1,000 CAs), checks the figures and prints
them; without it 2,000 tenants show that it works."""
import json
import os
import re
import shutil
import socket
import statistics
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import lab  # noqa: E402
import mint  # noqa: E402
import tls  # noqa: E402
from responder import Responder  # noqa: E402

CHOSEN = os.environ.get("SALLYPORT_TEST_TENANTS")
TENANTS = int(CHOSEN or 2200)
CAS = 1000 if TENANTS >= 100000 else 10
MEASURED = bool(CHOSEN) and lab.memory_factor() == 1


class Pair:
    def __init__(self, stem):
        self.pem = self.chain = stem + ".pem"
        self.key = stem + ".key"


def cpu_ms(pid):
    with open("/proc/%d/stat" % pid, encoding="ascii") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


def figure(text, *values):
    if CHOSEN:
        print("%8d tenants: " % TENANTS + text % values, file=sys.stderr)


class ManyTenants(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="sallyport-many-")
        cls.gateway = None
        maker = os.path.join(lab.build_folder(), "tests", "integration", "many_tenants")
        made = lab.run(maker, cls.folder, TENANTS, CAS, timeout=600)
        if made.returncode != 0:
            shutil.rmtree(cls.folder)
            raise AssertionError(made.stdout + made.stderr)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def start(self, **more):
        path = os.path.join(self.folder, "gateway.json")
        with open(path, encoding="utf-8") as source:
            config = json.load(source)
        config.update(workers=2, **more)
        with open(path, "w", encoding="utf-8") as out:
            json.dump(config, out)
        before = time.monotonic()
        self.gateway = lab.Program("sallyport-gateway", "--config", path)
        self.addCleanup(self.stop)
        ready = self.gateway.wait("ready", timeout=60)
        self.started_s = time.monotonic() - before
        self.assertEqual(ready.tenants, TENANTS)
        self.address = lab.parse_address(ready["listen"][0])

    def stop(self):
        if self.gateway.alive():
            self.gateway.signal(15)
        self.assertEqual(self.gateway.wait_exit(), 0)
        self.assertEqual(self.gateway.complaints(), [])

    def tenant_file(self, i):
        return os.path.join(self.folder, "tenants.d", "t%06d.json" % i)

    def name(self, i):
        return "t%06d.%s.example" % (i, "own" if i % 2 else "many")

    def client(self, i):
        return tls.context(Pair(os.path.join(self.folder, "client", "%04d" % (i % CAS))))

    def verdict(self, i):
        return tls.verdict(self.address, self.name(i), self.client(i))

    def read(self, i):
        with open(self.tenant_file(i), encoding="utf-8") as source:
            return source.read()

    def replace(self, i, text):
        path = self.tenant_file(i)
        with open(path + ".new", "w", encoding="utf-8") as out:
            out.write(text)
        os.rename(path + ".new", path)

    def change(self, i, key, value):
        """One top key of its file; what it was comes back at the end."""
        was = self.read(i)
        self.addCleanup(self.replace, i, was)
        self.replace(i, json.dumps(dict(json.loads(was), **{key: value})))

    def odd(self, count):
        """Tenants with a certificate of their own whose client we have."""
        return [i for i in range(TENANTS) if i % 2 and i % CAS < 10][:count]

    def handshake_ms(self, i, ctx):
        with lab.connect(self.address) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            before = time.perf_counter()
            with ctx.wrap_socket(sock, server_hostname=self.name(i)):
                return (time.perf_counter() - before) * 1000

    def test_every_tenant_shows_its_own_certificate_and_the_first_time_is_not_much_longer(self):
        self.start()
        rss = self.gateway.rss_kib() / 1024
        figure("start %.2f s, CPU %.2f s, %.0f MiB", self.started_s,
               cpu_ms(self.gateway.pid) / 1000, rss)
        if MEASURED:
            self.assertLess(self.started_s, 3 * lab.SLOW)
            self.assertLess(rss, 150)
        cold, warm = [], []
        chosen = self.odd(200)
        contexts = {i: self.client(i) for i in chosen}
        for i in self.odd(5):
            self.handshake_ms(i - 1, self.client(i - 1))  # the common certificate: all else is warm
        for i in chosen:
            cold.append(self.handshake_ms(i, contexts[i]))
            warm.append(self.handshake_ms(i, contexts[i]))
        before = cpu_ms(self.gateway.pid)
        for k in range(500):
            i = chosen[k % len(chosen)]
            self.handshake_ms(i, contexts[i])
        used = cpu_ms(self.gateway.pid) - before
        more = statistics.median(c - w for c, w in zip(cold, warm))
        figure("handshake warm %.2f ms, cold %.2f ms more, gateway CPU %.0f us a warm one",
               statistics.median(warm), more, used * 1000 / 500)
        if MEASURED:
            self.assertLess(more, 2 * lab.SLOW)
        for i in (chosen[0], chosen[-1]):
            shown = tls.served_certificate(self.address, self.name(i), contexts[i])
            self.assertIn(self.name(i).encode(), shown)
        self.assertEqual(self.verdict(chosen[0]), "ok")
        figure("after %d tenants: %.0f MiB", len(chosen), self.gateway.rss_kib() / 1024)

    def test_a_changed_file_is_live_without_a_signal_and_nothing_else_notices(self):
        self.start(watch_tenants=True)
        held = self.odd(1)[0]
        with tls.Client(self.address, self.name(held), self.client(held)) as stays:
            for other in self.odd(6)[1:]:
                self.assertEqual(self.verdict(other), "ok")
                mark = self.gateway.mark()
                before = time.monotonic()
                self.change(other, "enabled", False)
                event = self.gateway.wait("reload", since=mark)
                took = (time.monotonic() - before) * 1000
                self.assertEqual((event.ok, event.cause), (True, "tenants"))
                self.assertEqual(self.verdict(other), "access_denied")
                figure("a changed file is live after %.0f ms", took)
                if MEASURED:
                    self.assertLess(took, 100 * lab.SLOW)
            self.assertFalse(self.gateway.all("tunnel_closed", lambda e: e.tenant == "t%06d" % held))
            self.assertEqual(stays.connect("192.0.2.1:1")[0], 403)  # it answers

    def test_a_file_that_is_half_written_or_wrong_changes_nothing(self):
        self.start(watch_tenants=True)
        i, other = self.odd(2)
        was = self.read(i)
        self.addCleanup(self.replace, i, was)
        mark = self.gateway.mark()
        with open(self.tenant_file(i), "w", encoding="utf-8") as out:
            out.write(was[:40])
            out.flush()
            self.change(other, "limits", {"tunnels": 77})
            event = self.gateway.wait("reload", since=mark)
            self.assertTrue(event.ok)  # of the other one alone
            self.assertEqual(self.verdict(i), "ok")
            mark = self.gateway.mark()
        event = self.gateway.wait("reload", since=mark)
        self.assertEqual((event.ok, event.cause), (False, "tenants"))
        self.assertIn("t%06d.json" % i, event.error)
        self.assertEqual(self.verdict(i), "ok")

    def test_a_new_tenant_comes_and_goes(self):
        self.start(watch_tenants=True)
        text = re.sub(r"t\d+\.many", "tnew.many", self.read(0))
        path = os.path.join(self.folder, "tenants.d", "tnew.json")
        ask = lambda: tls.verdict(self.address, "tnew.many.example", self.client(0))  # noqa: E731
        self.assertEqual(ask(), "unrecognized_name")
        for what, wanted in (("written", "ok"), ("removed", "unrecognized_name")):
            mark = self.gateway.mark()
            if what == "written":
                with open(path, "w", encoding="utf-8") as out:
                    out.write(text)
            else:
                os.remove(path)
            self.assertTrue(self.gateway.wait("reload", since=mark).ok)
            self.assertEqual(ask(), wanted)

    def test_sighup_takes_up_a_renewed_certificate_and_a_changed_file(self):
        self.start()
        i, other = self.odd(2)
        before = tls.served_certificate(self.address, self.name(i), self.client(i))
        stem = os.path.join(self.folder, "own", "%06d" % i)
        for end in (".pem", ".key"):
            os.rename(stem + end, stem + end + ".was")
            self.addCleanup(os.rename, stem + end + ".was", stem + end)
        made = lab.run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                       "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", stem + ".key", "-out",
                       stem + ".pem", "-subj", "/CN=renewed", "-addext",
                       "subjectAltName=DNS:" + self.name(i))
        self.assertEqual(made.returncode, 0, made.stderr)
        os.chmod(stem + ".key", 0o600)
        self.change(other, "enabled", False)
        mark = self.gateway.mark()
        start, used = time.monotonic(), cpu_ms(self.gateway.pid)
        self.gateway.signal(1)
        self.assertTrue(self.gateway.wait("reload", since=mark, timeout=30).ok)
        figure("SIGHUP with nothing but that changed: %.0f ms, CPU %.0f ms",
               (time.monotonic() - start) * 1000, cpu_ms(self.gateway.pid) - used)
        self.assertNotEqual(tls.served_certificate(self.address, self.name(i), self.client(i)),
                            before)
        self.assertEqual(self.verdict(other), "access_denied")

    def test_a_certificate_that_turns_out_bad_is_that_tenants_trouble_alone(self):
        i, other = self.odd(2)
        path = os.path.join(self.folder, "own", "%06d.pem" % i)
        os.rename(path, path + ".was")
        self.addCleanup(os.rename, path + ".was", path)
        with open(path, "w", encoding="ascii") as out:
            out.write("junk\n")
        self.start()
        self.assertEqual(self.verdict(i), "unrecognized_name")
        event = self.gateway.wait("trouble")
        self.assertIn("t%06d.json: $.certificate" % i, event.message)
        self.assertIn("no certificate in it", event.message)
        self.assertEqual(self.gateway.wait("tunnel").tenant, "t%06d" % i)
        self.assertEqual(self.verdict(other), "ok")
        checked = lab.run(lab.program("sallyport-gateway"), "--check", "--config",
                          os.path.join(self.folder, "gateway.json"), timeout=120)
        self.assertEqual(checked.returncode, 2)
        self.assertIn("t%06d.json: $.certificate" % i, checked.stderr)
        told = lab.run(lab.program("sallyport-gateway"), "explain", "--config",
                       os.path.join(self.folder, "gateway.json"), "--sni", self.name(i), "--chain",
                       os.path.join(self.folder, "client", "%04d.pem" % (i % CAS)), timeout=120)
        self.assertEqual(told.returncode, 1, told.stderr)
        self.assertIn("the certificate of the tenant cannot be used", told.stdout)
        self.assertIn("t%06d.json: $.certificate" % i, told.stdout)

    def put_own(self, i, pem, key):
        """Another certificate and key of its own; what it was comes back at the end."""
        stem = os.path.join(self.folder, "own", "%06d" % i)
        for end, source in ((".pem", pem), (".key", key)):
            os.rename(stem + end, stem + end + ".was")
            self.addCleanup(os.rename, stem + end + ".was", stem + end)
            shutil.copy(source, stem + end)
        os.chmod(stem + ".key", 0o600)

    def said_of_staple(self, i):
        done = lab.run("openssl", "s_client", "-connect", lab.format_address(self.address),
                       "-servername", self.name(i), "-status", "-cert",
                       os.path.join(self.folder, "client", "%04d.pem" % (i % CAS)), "-key",
                       os.path.join(self.folder, "client", "%04d.key" % (i % CAS)))
        return done.stdout

    def test_a_certificate_that_is_loaded_at_its_first_handshake_is_stapled_from_then_on(self):
        i, other = self.odd(2)
        path = os.path.join(self.folder, "gateway.json")
        shutil.copy(path, path + ".was")
        self.addCleanup(os.rename, path + ".was", path)
        with tempfile.TemporaryDirectory() as folder:
            pki = mint.Pki(os.path.join(folder, "pki"))
            ca = pki.ca("Service CA")
            leaf = pki.leaf("late", ca, eku="serverAuth", dns=[self.name(i)])
            self.put_own(i, pki.bundle("late-bundle.pem", leaf, ca), leaf.key)
            responder = Responder(folder, ca)
            self.addCleanup(responder.close)
            responder.know(leaf)
            self.start(stapling={"responder": responder.url})
            self.assertEqual(self.verdict(other), "ok")
            self.assertEqual(responder.asked, 0)
            self.assertIn("no response sent", self.said_of_staple(i))
            event = self.gateway.wait("staple", lambda e: e.ok)
            self.assertEqual(event.fingerprint, leaf.fingerprint())
            self.assertIn("Cert Status: good", self.said_of_staple(i))
            self.assertEqual(responder.asked, 1)


if __name__ == "__main__":
    unittest.main()
