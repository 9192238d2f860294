"""pairs: each peer's two sides, the origin, and the laboratory of certificates they share."""

import json
import os
import re
import shutil
import socket
import subprocess
import time

import procs
from procs import BenchError, Side

TEMPLATES = os.path.join(procs.HERE, "peers")
NAME = "c123456.secure.example.net"
OTHER_NAME = "c234567.secure.example.net"
BODY = "sallyport " * 20  # 200 bytes
FILES = 100000            # descriptors that each program would have, if the system lets it

# What of the bench a peer can take part in.
TCP, HTTP, TLS = "tcp", "http", "tls"


def render(template, values):
    """The template with each @NAME@ replaced; an unknown one is our mistake."""
    with open(os.path.join(TEMPLATES, template), encoding="utf-8") as text:
        text = text.read()

    def value(match):
        if match.group(1) not in values:
            raise BenchError("%s: no value for %s" % (template, match.group(0)))
        return str(values[match.group(1)])

    return re.sub(r"@([A-Z_]+)@", value, text)


class Lab:
    """Certificates: P-256, root, intermediate, leaf; by sallyport-certs."""

    def __init__(self, folder, certs):
        self.folder = os.path.join(folder, "lab")
        done = subprocess.run([certs, "init", self.folder], capture_output=True, text=True,
                              check=False)
        if done.returncode:
            raise BenchError("sallyport-certs: " + done.stderr.strip())
        self.values = {
            "LAB": self.folder, "NAME": NAME, "OTHER_NAME": OTHER_NAME,
            "SERVER_CERT": self.path("server/c123456.pem"),
            "SERVER_KEY": self.path("server/c123456.key"),
            "SERVER_CA": self.path("ca/service-root.pem"),
            "CLIENT_CERT": self.path("clients/acme-alice.pem"),
            "CLIENT_KEY": self.path("clients/acme-alice.key"),
            "CLIENT_CA": self.path("ca/acme-root.pem"),
            "OTHER_CA": self.path("ca/globex-root.pem"),
            "SERVER_BOTH": self.joined("server/c123456"),
            "CLIENT_BOTH": self.joined("clients/acme-alice"),
        }

    def path(self, name):
        return os.path.join(self.folder, name)

    def joined(self, stem):
        """Chain and key in one file, as HAProxy wants it."""
        path = self.path(stem + "-both.pem")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w",
                  encoding="ascii") as both:
            for suffix in (".pem", ".key"):
                with open(self.path(stem + suffix), encoding="ascii") as part:
                    both.write(part.read())
        return path


class Origin:
    """nginx that answers 200 bytes, and an iperf3 server."""

    def __init__(self, folder, ports, files):
        self.http, self.iperf = ports.one(), ports.one()
        values = {"DIR": folder, "ORIGIN": self.http, "BODY": BODY, "FILES": files}
        config = os.path.join(folder, "origin.conf")
        with open(config, "w", encoding="utf-8") as out:
            out.write(render("origin.conf", values))
        self.sides = []
        try:
            self.sides.append(Side("origin nginx", ["nginx", "-e", os.path.join(
                folder, "origin.log"), "-c", config], os.path.join(folder, "origin.out")))
            procs.wait_for("the origin", lambda: procs.http_ok(self.http), 10, self.sides[0])
            self.sides.append(Side("iperf3", ["iperf3", "-s", "--forceflush", "-p",
                                              str(self.iperf)],
                                   os.path.join(folder, "iperf3.out")))
            self.wait_for_iperf()
            for side in self.sides:
                side.settle()
        except BenchError:
            self.stop()
            raise

    def wait_for_iperf(self):
        """It takes one test at a time, and is done with the last one a little after its client."""
        procs.wait_for("iperf3", lambda: "listening on" in self.sides[1].tail(), 20, self.sides[1])

    def stop(self):
        for side in self.sides:
            side.stop()


class Peer:
    """A kind of pair: how its sides are started, and what it can do."""

    def __init__(self, key, title, can, package, sides, note=""):
        self.key, self.title, self.can, self.package = key, title, can, package
        self.sides = sides  # (template, command with @CONFIG@), client first
        self.note = note

    def version(self, build):
        if self.key == "sallyport":
            return subprocess.run([os.path.join(build, "gateway/sallyport-gateway"), "--version"],
                                  capture_output=True, text=True, check=False).stdout.strip()
        return package_version(self.package)


def package_version(package):
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True,
                          text=True, check=False)
    return done.stdout.strip() or "not installed"


NGINX = ["nginx", "-e", "@DIR@/@SIDE@.err", "-c", "@CONFIG@"]
HAPROXY = ["haproxy", "-db", "-f", "@CONFIG@"]
STUNNEL = ["stunnel4", "@CONFIG@"]
NGHTTPX = ["nghttpx", "--conf=@CONFIG@"]
PEERS = {peer.key: peer for peer in [
    Peer("stunnel", "stunnel", {TCP, HTTP, TLS}, "stunnel4",
         [("stunnel-client.conf", STUNNEL), ("stunnel-server.conf", STUNNEL)]),
    Peer("haproxy", "HAProxy", {TCP, HTTP, TLS}, "haproxy",
         [("haproxy-client.cfg", HAPROXY), ("haproxy-server.cfg", HAPROXY)]),
    Peer("nginx", "nginx stream", {TCP, HTTP, TLS}, "libnginx-mod-stream",
         [("nginx-client.conf", NGINX), ("nginx-server.conf", NGINX)]),
    Peer("nghttpx", "nghttpx", {HTTP, TLS}, "nghttp2-proxy",
         [("nghttpx-client.conf", NGHTTPX), ("nghttpx-server.conf", NGHTTPX)],
         "HTTP only; reuses origin connections"),
    Peer("relay", "plain relay", {TCP, HTTP}, "haproxy",
         [("relay-client.cfg", HAPROXY), ("relay-server.cfg", HAPROXY)],
         "HAProxy, two hops in mode tcp without TLS: the floor; the storm goes to another gateway"),
    Peer("sallyport", "Sallyport", {TCP, HTTP, TLS}, None,
         [("sallyport-agent.json", ["@BUILD@/agent/sallyport-agent", "--config", "@CONFIG@"]),
          ("sallyport-gateway.json", ["@BUILD@/gateway/sallyport-gateway", "--config",
                                      "@CONFIG@"])]),
]}


class Pair:
    """A peer's pair that runs. .client and .server are its sides; a door for HTTP, one for bulk,
    and the TLS port behind them."""

    def __init__(self, bench, peer, workers='"auto"', tunnels=2, tenants=None, pin=None,
                 delay_ms=0, gateway_only=False):
        self.bench, self.peer = bench, peer
        self.workers, self.tunnels, self.pin = workers, tunnels, pin
        self.client = self.server = self.delay = None
        self.door_http, self.door_bulk, self.tls, self.tls_bulk = (
            bench.ports.one() for _ in range(4))
        bench.pair_count += 1
        self.folder = os.path.join(bench.folder, "%s-%d" % (peer.key, bench.pair_count))
        os.mkdir(self.folder)
        self.tenants = tenants or self.make_tenants()
        try:
            self.start(delay_ms, gateway_only)
        except BaseException:
            self.stop()
            raise

    def make_tenants(self):
        folder = os.path.join(self.folder, "tenants.d")
        if self.peer.key == "sallyport":
            os.mkdir(folder)
            for template, name in (("sallyport-tenant.json", "acme"),
                                   ("sallyport-other.json", "globex")):
                with open(os.path.join(folder, name + ".json"), "w", encoding="utf-8") as out:
                    out.write(render(template, self.bench.lab.values))
        return folder

    def values(self, side):
        return dict(self.bench.lab.values, DIR=self.folder, SIDE=side, BUILD=self.bench.build,
                    DOOR_HTTP=self.door_http, DOOR_BULK=self.door_bulk, TLS_HTTP=self.tls,
                    TLS_BULK=self.tls_bulk, ORIGIN=self.bench.origin.http,
                    IPERF=self.bench.origin.iperf, CORES=os.cpu_count(),
                    FILES=self.bench.files, CONNECTIONS=(self.bench.files - 3000) // 2,
                    WORKERS=self.workers, TUNNELS=self.tunnels,
                    TENANTS=self.tenants, AGENT_TO=self.agent_to)

    def side(self, index, pin=None):
        template, command = self.peer.sides[index]
        name = "%s %s" % (self.peer.title, "gateway side" if index else "client side")
        stem = "gateway" if index else "client"
        values = self.values(stem)
        values["CONFIG"] = os.path.join(self.folder, template)
        with open(values["CONFIG"], "w", encoding="utf-8") as out:
            out.write(render(template, values))
        command = [re.sub(r"@([A-Z]+)@", lambda m: str(values[m.group(1)]), word)
                   for word in command]
        if pin is not None:
            command = ["taskset", "-c", pin] + command
        return Side(name, command, os.path.join(self.folder, stem + ".out"))

    def start(self, delay_ms, gateway_only):
        self.agent_to = self.tls
        self.server = self.side(1, self.pin)
        if self.peer.key == "sallyport":
            procs.wait_for("the gateway", lambda: "ready" in self.events("gateway"), 300,
                           self.server)
        else:
            procs.wait_for(self.server.name, lambda: procs.connects(self.tls), 20, self.server)
        self.server.settle()
        if gateway_only:
            return
        if delay_ms:
            self.delay = self.bench.start_delay(self.tls if self.peer.key == "sallyport"
                                                else self.tls_bulk, delay_ms)
            self.agent_to = self.delay.port
            # The others have a port for each destination: here that of bulk goes the long way.
            self.tls_bulk, kept = self.delay.port, self.tls_bulk
        self.client = self.side(0)
        if delay_ms:
            self.tls_bulk = kept
        procs.wait_for(self.client.name, lambda: procs.http_ok(self.door_http), 20, self.client,
                       self.server)
        self.client.settle()
        self.server.settle()

    def events(self, side):
        """{event: its last line} of our own log."""
        found = {}
        try:
            with open(os.path.join(self.folder, "sallyport-%s.log" % side),
                      encoding="utf-8") as log:
                for line in log:
                    if line.endswith("\n"):
                        event = json.loads(line)
                        found[event["event"]] = event
        except OSError:
            pass
        return found

    def change(self, path, text):
        """One tenant's file becomes this; seconds until our gateway has logged that it is live
        (watch_tenants)."""
        log = os.path.join(self.folder, "sallyport-gateway.log")
        offset = os.path.getsize(log)
        with open(path + ".new", "w", encoding="utf-8") as out:
            out.write(text)
        begun = time.monotonic()
        os.rename(path + ".new", path)
        while True:
            if time.monotonic() - begun > 300 or not self.server.alive():
                raise BenchError("no reload within 300 s: " + self.server.tail())
            time.sleep(0.001)
            with open(log, "rb") as tail:
                tail.seek(offset)
                for line in tail.read().split(b"\n")[:-1]:
                    event = json.loads(line)
                    if event["event"] == "reload":
                        if not event["ok"]:
                            raise BenchError("the reload failed: %s" % event)
                        return time.monotonic() - begun

    def limit_handshakes(self, per_s):
        """From now on so many a second; 0: as many as come. Ours: of the one tenant. HAProxy: of
        all; by name it would take one more frontend before this one."""
        if self.peer.key == "haproxy":
            with socket.socket(socket.AF_UNIX) as admin:
                admin.settimeout(10)
                admin.connect(os.path.join(self.folder, "haproxy.sock"))
                admin.sendall(b"set rate-limit ssl-sessions global %d\n" % per_s)
                answer = admin.recv(1000).strip()
            if answer:  # nothing but an empty line when it went well
                raise BenchError("HAProxy's limit: " + answer.decode(errors="replace"))
            return
        tenant = json.loads(render("sallyport-tenant.json", self.bench.lab.values))
        tenant["limits"]["handshakes_per_s"] = per_s
        self.change(os.path.join(self.tenants, "acme.json"), json.dumps(tenant))

    def sides(self):
        return [side for side in (self.client, self.server) if side]

    def load_to(self, other=False):
        """Arguments for load: a client of this gateway; `other`: of another tenant, if it has
        tenants."""
        lab = self.bench.lab
        args = ["--port", str(self.tls), "--ca", lab.values["SERVER_CA"]]
        if self.peer.key == "sallyport":
            args += ["--connect", "127.0.0.1:%d" % self.bench.origin.http]
            if other:
                return args + ["--name", OTHER_NAME, "--cert", lab.path("clients/globex-carol.pem"),
                               "--key", lab.path("clients/globex-carol.key")]
        return args + ["--name", NAME, "--cert", lab.values["CLIENT_CERT"],
                       "--key", lab.values["CLIENT_KEY"]]

    def fresh(self, count):
        """The same, each time a client never seen before."""
        args = self.load_to()
        lab = self.bench.lab
        at = args.index("--cert")
        return args[:at] + ["--cert", lab.path("ca/acme-issuing.pem"),
                            "--key", lab.path("ca/acme-issuing.key"), "--fresh", str(count)]

    def stop(self):
        for side in (self.client, self.server):
            if side:
                side.stop()
        if self.delay:
            self.delay.stop()
        if not self.bench.keep:
            shutil.rmtree(self.folder, ignore_errors=True)
