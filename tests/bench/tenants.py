"""tenants: a folder of very many tenants: start, memory, a change, what a handshake costs."""

import json
import os
import shutil
import subprocess
import time

import pairs
import procs
import tools
from groups import Group, handshakes
from pairs import TLS
from procs import BenchError, Side

CAS = 1000
CLIENTS = 400   # tenants that have a client, the first ones
SOME = 10000    # as many as HAProxy is compared at
WARM = 10       # of these the handshakes' cost is measured; the others are cold


def tenant_json(folder, lab, number, extra_name=None):
    """Half have their own certificate, and all share CAS roots."""
    names = ["t%06d.secure.example.net" % number] + ([extra_name] if extra_name else [])
    tenant = {"server_names": names,
              "client_validation": {"trusted_cas": ["%s/cas/%06d.pem" % (folder, number % CAS)]},
              "egress": {"allow": ["127.0.0.0/8:*"]}}
    if number % 2 == 0:
        pem = "%s/servers/%06d.pem" % (folder, number)
        tenant.update({"certificate": pem, "private_key": pem})
    return json.dumps(tenant)


class Folder:
    """Certificates of `count` tenants, and tenant folders of any size up to it."""

    def __init__(self, bench, count):
        self.bench, self.count = bench, count
        self.path = os.path.join(bench.folder, "many")
        os.mkdir(self.path)
        lab = bench.lab
        bench.say("minting for %d tenants" % count)
        done = subprocess.run(
            [bench.load, "mint", "--out", self.path, "--cert", lab.path("ca/service-issuing.pem"),
             "--key", lab.path("ca/service-issuing.key"), "--count", str(count),
             "--cas", str(CAS), "--clients", str(CLIENTS)],
            capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchError(done.stderr.strip())

    def tenants(self, count):
        folder = os.path.join(self.path, "tenants-%d.d" % count)
        if not os.path.isdir(folder):
            os.mkdir(folder)
            for number in range(count):
                with open("%s/t%06d.json" % (folder, number), "w", encoding="ascii") as out:
                    out.write(tenant_json(self.path, self.bench.lab, number))
        return folder


class Many:
    """Stands for the pair of a peer while its rounds go on; what runs is started in measure()."""

    def __init__(self, key):
        self.peer = pairs.PEERS[key]

    def stop(self):
        pass


class Tenants(Group):
    name, title, needs = "tenants", "very many tenants at one gateway", TLS
    only = ("haproxy", "sallyport")
    fresh_pairs = True

    def __init__(self):
        self.folder = None

    def start(self, bench, key):
        if not self.folder:
            self.folder = Folder(bench, bench.tenants)
        return Many(key)

    def measure(self, bench, pair):
        return self.haproxy(bench) if pair.peer.key == "haproxy" else self.ours(bench)

    def gateway(self, bench, count):
        """A gateway with so many, and the seconds from its start until it was ready."""
        folder = self.folder.tenants(count)
        begun = time.monotonic()
        pair = pairs.Pair(bench, pairs.PEERS["sallyport"], tenants=folder, gateway_only=True)
        return pair, time.monotonic() - begun

    def to(self, bench, pair, *args):
        return ["--port", pair.tls, "--ca", bench.lab.values["SERVER_CA"], "--connect",
                "127.0.0.1:%d" % bench.origin.http, "--tenants", self.folder.path] + list(args)

    def ours(self, bench):
        row = {"tenants.count": bench.tenants, "tenants.some": min(SOME, bench.tenants)}
        for key, count in (("10", 10), ("1000", min(1000, bench.tenants)),
                           ("some", min(SOME, bench.tenants)), ("most", bench.tenants)):
            pair, start = self.gateway(bench, count)
            try:
                if key in ("some", "most"):
                    row.update({"tenants.%s_start_s" % key: start,
                                "tenants.%s_rss_mb" % key: procs.steady_rss(pair.server) / 1e6})
                if key == "some":
                    continue
                warm = self.to(bench, pair, "--count", WARM, "--cycle", "--at-once", 16)
                row["tenants.handshake_%s_us" % key] = handshakes(bench, pair, *warm)["server_us"]
                if key == "most":
                    row.update(self.cold(bench, pair))
                    row["tenants.change_ms"] = self.change(bench, pair)
            finally:
                pair.stop()
        return row

    def cold(self, bench, pair):
        """Each tenant's first handshake, one after the other, and then the same again."""
        args = self.to(bench, pair, "--first", WARM, "--count",
                       min(CLIENTS, bench.tenants) - WARM, "--at-once", 1)
        cold = handshakes(bench, pair, *args, seconds=60)
        warm = handshakes(bench, pair, *args, seconds=60)
        return {"tenants.cold_extra_ms": (cold["mean_us"] - warm["mean_us"]) / 1000,
                "tenants.cold_p99_ms": cold["p99_us"] / 1000}

    def change(self, bench, pair):
        """One file gets one more name: milliseconds until a reload is logged (watch_tenants), and
        then the name must work."""
        lab, number, name = bench.lab, 3, "changed.secure.example.net"
        path = "%s/t%06d.json" % (self.folder.tenants(bench.tenants), number)
        with open(path, encoding="ascii") as old:
            old = old.read()
        try:
            took = pair.change(path, tenant_json(self.folder.path, lab, number, name))
            client = "%s/clients/%06d.pem" % (self.folder.path, number)
            handshakes(bench, pair, "--port", pair.tls, "--ca", lab.values["SERVER_CA"],
                       "--connect", "127.0.0.1:%d" % bench.origin.http, "--name", name,
                       "--cert", client, "--key", client, seconds=0.1)
            return took * 1000
        finally:
            with open(path, "w", encoding="ascii") as out:
                out.write(old)

    def haproxy(self, bench):
        """The same files by crt-list: start and memory."""
        count = min(SOME, bench.tenants)
        folder = os.path.join(bench.folder, "haproxy-many")
        os.mkdir(folder)
        common = bench.lab.joined("server/common")
        with open(os.path.join(folder, "crt-list.txt"), "w", encoding="ascii") as out:
            for number in range(count):
                pem = "%s/servers/%06d.pem" % (self.folder.path, number) if number % 2 == 0 \
                    else common
                out.write("%s [ca-file %s/cas/%06d.pem verify required] "
                          "t%06d.secure.example.net\n" % (pem, self.folder.path, number % CAS,
                                                          number))
        port = bench.ports.one()
        config = os.path.join(folder, "haproxy.cfg")
        with open(config, "w", encoding="ascii") as out:
            out.write(pairs.render("haproxy-tenants.cfg", {
                "DIR": folder, "TLS_HTTP": port, "ORIGIN": bench.origin.http}))
        begun = time.monotonic()
        side = Side("HAProxy with %d tenants" % count, ["haproxy", "-db", "-f", config],
                    os.path.join(folder, "out"))
        try:
            procs.wait_for(side.name, lambda: procs.connects(port), 120, side)
            start = time.monotonic() - begun
            side.settle()
            return {"tenants.some_start_s": start, "tenants.some": count,
                    "tenants.some_rss_mb": procs.steady_rss(side) / 1e6}
        finally:
            side.stop()
            os.unlink(common)
            shutil.rmtree(folder, ignore_errors=True)
