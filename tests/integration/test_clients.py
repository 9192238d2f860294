#!/usr/bin/env python3
"""The programs that people use, each through the doors that it can use: git, ssh, apt, proxychains,
curl, wget, Python, node."""

import getpass
import hashlib
import http.client
import os
import shutil
import socket
import ssl
import subprocess
import sys
import unittest
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import lab
import origin

HTTP, SOCKS, MIXED = range(3)


def needs(*programs):
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [p for p in programs if not shutil.which(p, path=path)]
    return unittest.skipIf(missing, "not installed (tools/deps test): " + ", ".join(missing))


class Case(lab.LabCase):
    def setUp(self):
        super().setUp()
        self.lab.agent_config["doors"] = [{"type": door, "listen": "127.0.0.1:0"}
                                          for door in ("http", "socks5", "mixed")]
        self.web = origin.Nginx(self.lab.pki)
        self.addCleanup(self.web.close)
        self.http = "http://%s:%d" % self.web.http
        self.https = "https://%s:%d" % self.web.https
        self.content = os.urandom(2000000)
        self.web.file("file", self.content)
        self.lab.start()

    def door(self, which):
        return "%s:%d" % self.lab.doors[which]

    def proxies(self):
        """As in the environment of a person's shell: by door, for programs that know http_proxy."""
        return {"http": "http://" + self.door(HTTP), "mixed": "http://" + self.door(MIXED)}

    def home(self):
        """An environment without this machine's own settings."""
        return {"HOME": self.lab.folder, "LC_ALL": "C", "GIT_CONFIG_NOSYSTEM": "1"}

    def do(self, *argv, **more):
        more.setdefault("env", self.home())
        done = lab.run(*argv, timeout=60, **more)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def channels(self, door, since=0):
        """The lines of the log about good channels through this door."""
        return self.lab.agent.all("channel", lambda e: e.door == door and e.how == "done", since)

    def assert_file(self, path):
        with open(path, "rb") as got:
            self.assertEqual(hashlib.sha256(got.read()).digest(),
                             hashlib.sha256(self.content).digest())


class Downloads(Case):
    def test_curl_by_every_door(self):
        for proxy in ("http://" + self.door(HTTP), "http://" + self.door(MIXED),
                      "socks5://" + self.door(SOCKS), "socks5h://" + self.door(SOCKS),
                      "socks5h://" + self.door(MIXED)):
            for url in (self.http, self.https, self.https.replace("127.0.0.1", "localhost")):
                with self.subTest(proxy=proxy, url=url):
                    out = self.lab.file("out")
                    self.do("curl", "-sS", "--fail", "--noproxy", "", "--proxy", proxy, "--cacert",
                            self.web.ca.pem, "-o", out, url + "/file")
                    self.assert_file(out)

    @needs("wget")
    def test_wget_by_http_and_mixed(self):
        for name, proxy in self.proxies().items():
            for url in (self.http, self.https):
                with self.subTest(door=name, url=url):
                    out = self.lab.file("out")
                    self.do("wget", "-q", "-O", out, "--ca-certificate", self.web.ca.pem, "-e",
                            "use_proxy=yes", "-e", "http_proxy=" + proxy, "-e",
                            "https_proxy=" + proxy, url + "/file")
                    self.assert_file(out)

    def test_python_by_http_and_mixed(self):
        trust = ssl.create_default_context(cafile=self.web.ca.pem)
        for name, proxy in self.proxies().items():
            with self.subTest(door=name):
                opener = urllib.request.build_opener(
                    urllib.request.ProxyHandler({"http": proxy, "https": proxy}),
                    urllib.request.HTTPSHandler(context=trust))
                for url in (self.http, self.https):
                    with opener.open(url + "/file", timeout=30 * lab.SLOW) as answer:
                        self.assertEqual(answer.read(), self.content)
        client = http.client.HTTPSConnection(*self.lab.doors[MIXED], context=trust, timeout=30)
        self.addCleanup(client.close)
        client.set_tunnel(*self.web.https)
        client.request("GET", "/hello")
        self.assertEqual(client.getresponse().read(), b"hello from the origin\n")

    @needs("node")
    def test_node_by_http_and_mixed(self):
        script = """
            const [door, port, host, to, ca] = process.argv.slice(1);
            const http = require('http'), tls = require('tls'), fs = require('fs');
            http.request({host: door, port, method: 'CONNECT', path: host + ':' + to})
              .on('connect', (res, socket) => {
                if (res.statusCode !== 200) throw new Error('status ' + res.statusCode);
                const inner = tls.connect({socket, servername: 'localhost', ca: fs.readFileSync(ca)});
                inner.write('GET /hello HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n');
                inner.setEncoding('utf8');
                let text = '';
                inner.on('data', (d) => text += d).on('end', () => console.log(text));
              }).end();"""
        for door in (HTTP, MIXED):
            said = self.do("node", "-e", script, *self.lab.doors[door], *self.web.https,
                           self.web.ca.pem)
            self.assertIn("hello from the origin", said)


@needs("git")
class Git(Case):
    def setUp(self):
        super().setUp()
        work, bare = self.lab.file("work"), os.path.join(self.web.root, "repo.git")
        self.do("git", "init", "-q", "-b", "main", work)
        with open(os.path.join(work, "file"), "wb") as out:
            out.write(self.content)
        who = ("-c", "user.name=T", "-c", "user.email=t@example.net")
        self.do("git", "-C", work, "add", "file")
        self.do("git", "-C", work, *who, "commit", "-q", "-m", "one")
        self.do("git", "clone", "-q", "--bare", work, bare)
        self.do("git", "-C", bare, "update-server-info")

    def clone(self, url, **environment):
        to = self.lab.file("clone")
        shutil.rmtree(to, ignore_errors=True)
        self.do("git", "clone", "-q", url + "/repo.git", to,
                env=dict(self.home(), GIT_SSL_CAINFO=self.web.ca.pem, **environment))
        self.assert_file(os.path.join(to, "file"))

    def test_git_clones_by_every_door(self):
        self.clone(self.http, http_proxy="http://" + self.door(HTTP))
        self.clone(self.https, https_proxy="http://" + self.door(HTTP))
        self.clone(self.https, https_proxy="http://" + self.door(MIXED))
        self.clone(self.https, ALL_PROXY="socks5h://" + self.door(SOCKS))
        self.clone(self.http, ALL_PROXY="socks5h://" + self.door(MIXED))
        self.assertTrue(self.channels("http") and self.channels("socks5"))


@needs("ssh", "sshd", "nc", "ssh-keygen")
class Ssh(Case):
    """OpenSSH with nc (its -X speaks to a proxy) as ProxyCommand."""

    def setUp(self):
        super().setUp()
        keys = {}
        for name in ("host", "user"):
            keys[name] = self.lab.file(name + "_key")
            self.do("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", keys[name])
        shutil.copy(keys["user"] + ".pub", self.lab.file("authorized"))
        os.chmod(self.lab.folder, 0o755)
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
        # Each connection has an sshd of its own (-i), so that no port is ever guessed.
        self.server = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.server.close)
        config = self.lab.write("sshd_config", "\n".join((
            "HostKey " + keys["host"], "AuthorizedKeysFile " + self.lab.file("authorized"),
            "StrictModes no", "UsePAM no", "PasswordAuthentication no", "PermitRootLogin yes",
            "LogLevel ERROR", "")))
        self.daemon = [shutil.which("sshd", path="/usr/sbin:" + os.environ.get("PATH", "")), "-i",
                       "-e", "-f", config]
        with open(keys["host"] + ".pub", encoding="ascii") as public:
            self.known = self.lab.write("known", "* " + public.read())
        self.key = keys["user"]
        self.sshds = []
        self.addCleanup(self.end_sshds)

    def end_sshds(self):
        for process in self.sshds:
            if process.poll() is None:
                process.kill()
            process.wait()

    def ssh(self, proxy_command, command, given):
        port = self.server.getsockname()[1]
        client = subprocess.Popen(
            ["ssh", "-F", "/dev/null", "-p", str(port), "-i", self.key, "-o", "BatchMode=yes", "-o",
             "IdentitiesOnly=yes", "-o", "UserKnownHostsFile=" + self.known, "-o",
             "ProxyCommand=" + proxy_command, getpass.getuser() + "@127.0.0.1", command],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.server.settimeout(20 * lab.SLOW)
        try:
            connection, _ = self.server.accept()
        except TimeoutError:
            client.kill()
            raise AssertionError("ssh never came: %r" % (client.communicate()[1],)) from None
        with connection:
            self.sshds.append(subprocess.Popen(self.daemon, stdin=connection, stdout=connection,
                                               stderr=subprocess.DEVNULL))
        try:
            out, err = client.communicate(given, timeout=60 * lab.SLOW)
        except subprocess.TimeoutExpired:
            client.kill()
            raise
        self.assertEqual(client.returncode, 0, err)
        return out

    def test_ssh_carries_bytes_both_ways_by_every_door(self):
        for kind, door in (("connect", HTTP), ("connect", MIXED), ("5", SOCKS), ("5", MIXED)):
            with self.subTest(kind=kind, door=door):
                command = "nc -X %s -x %s %%h %%p" % (kind, self.door(door))
                self.assertEqual(self.ssh(command, "cat", self.content), self.content)


@needs("apt-get", "apt-cache")
class Apt(Case):
    """apt with folders of its own: its lists and nothing of this machine's are touched."""

    def setUp(self):
        super().setUp()
        os.makedirs(os.path.join(self.web.root, "debian"))
        package = ("Package: sallyport-greeting\nVersion: 1.0\nArchitecture: all\n"
                   "Maintainer: T <t@example.net>\nFilename: ./greeting.deb\nSize: %d\n"
                   "SHA256: %s\nDescription: a greeting\n"
                   % (len(self.content), hashlib.sha256(self.content).hexdigest())).encode()
        self.web.file("debian/Packages", package)
        self.web.file("debian/greeting.deb", self.content)
        self.web.file("debian/Release", b"Suite: test\nSHA256:\n %s %d Packages\n"
                      % (hashlib.sha256(package).hexdigest().encode(), len(package)))
        for folder in ("state/lists/partial", "cache/archives/partial", "etc/apt.conf.d",
                       "etc/preferences.d", "etc/trusted.gpg.d", "log"):
            os.makedirs(os.path.join(self.lab.folder, "apt", folder))
        for empty in ("status", "apt.conf"):
            open(os.path.join(self.lab.folder, "apt", empty), "wb").close()

    def apt(self, proxy, url, program, *argv):
        apt = os.path.join(self.lab.folder, "apt")
        self.lab.write("apt/sources.list", "deb [trusted=yes] %s/debian/ ./\n" % url)
        settings = {"Dir::State": apt + "/state", "Dir::State::status": apt + "/status",
                    "Dir::Cache": apt + "/cache", "Dir::Etc": apt + "/etc", "Dir::Log": apt + "/log",
                    "Dir::Etc::SourceList": apt + "/sources.list", "Dir::Etc::SourceParts": "-",
                    "Acquire::http::Proxy": proxy, "Acquire::https::Proxy": proxy,
                    "Acquire::https::CaInfo": self.web.ca.pem, "APT::Sandbox::User": "",
                    "Acquire::Languages": "none", "Acquire::Retries": "0"}
        options = [text for item in settings.items() for text in ("-o", "%s=%s" % item)]
        return self.do(program, *options, *argv, cwd=self.lab.folder,
                       env=dict(self.home(), APT_CONFIG=apt + "/apt.conf"))

    def test_apt_updates_and_downloads_by_every_door(self):
        for proxy, url in (("http://" + self.door(HTTP), self.http),
                           ("http://" + self.door(MIXED), self.https),
                           ("socks5h://" + self.door(SOCKS), self.https),
                           ("socks5h://" + self.door(MIXED), self.http)):
            with self.subTest(proxy=proxy, url=url):
                lists = os.path.join(self.lab.folder, "apt", "state", "lists")
                shutil.rmtree(lists)
                os.makedirs(os.path.join(lists, "partial"))
                self.apt(proxy, url, "apt-get", "-q", "update")
                self.assertIn("sallyport-greeting",
                              self.apt(proxy, url, "apt-cache", "show", "sallyport-greeting"))
                got = os.path.join(self.lab.folder, "sallyport-greeting_1.0_all.deb")
                if os.path.exists(got):
                    os.unlink(got)
                self.apt(proxy, url, "apt-get", "-q", "download", "sallyport-greeting")
                self.assert_file(got)


@needs("proxychains4")
class Proxychains(Case):
    """A program that knows nothing of proxies, made to use one by proxychains."""

    def test_a_program_that_knows_no_proxy(self):
        for kind, door in (("socks5", SOCKS), ("socks5", MIXED), ("http", HTTP), ("http", MIXED)):
            with self.subTest(kind=kind, door=door):
                config = self.lab.write("proxychains.conf", "strict_chain\nproxy_dns\n[ProxyList]\n"
                                        "%s %s %d\n" % (kind, *self.lab.doors[door]))
                out = self.lab.file("out")
                self.do("proxychains4", "-q", "-f", config, "curl", "-sS", "--fail", "--noproxy",
                        "*", "--cacert", self.web.ca.pem, "-o", out,
                        self.https + "/file")
                self.assert_file(out)


if __name__ == "__main__":
    lab.main()
