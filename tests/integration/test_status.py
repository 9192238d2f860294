#!/usr/bin/env python3
"""What the person sees: refusals, the status page, `status`, `diagnose` and its bundle."""

import html.parser
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import lab
import origin

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
CONTACT = "Help desk <script>alert('1')</script> & \"friends\": tel. 42"
FORBIDDEN = "10.0.0.1:99"  # no rule of the tenant allows it
VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(html.parser.HTMLParser):
    """A page, checked while it is read: what is opened is closed, in order, and nothing runs."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.problems, self.text, self.tags = [], [], [], []
        self.cells = {}
        self.language = None
        self.feed(text)
        self.close()
        if self.open:
            self.problems.append("never closed: %s" % self.open)
        if not text.startswith("<!DOCTYPE html>"):
            self.problems.append("no doctype")

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "html":
            self.language = dict(attrs).get("lang")
        if tag in ("script", "style", "iframe", "object", "img", "form"):
            self.problems.append("a %s" % tag)
        self.problems += ["attribute " + name for name, _ in attrs if name.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.problems.append("</%s> out of place" % tag)

    def handle_data(self, data):
        self.text.append(data)
        inside = self.open[-1] if self.open else None
        if inside == "th":
            self.cells[data] = None
            self.heading = data
        elif inside == "td":
            self.cells[self.heading] = (self.cells[self.heading] or "") + data

    def words(self):
        return "".join(self.text)


class PersonCase(lab.LabCase):
    def setUp(self):
        super().setUp()
        self.lab.agent_config["contact"] = CONTACT

    def door(self, index=0):
        return lab.format_address(self.lab.doors[index])

    def get(self, path="/", accept=None, method="GET", **headers):
        """One of the door's own pages: status, headers, text."""
        return self._ask(method, path, accept, headers)

    def through(self, url, accept=None, method="GET"):
        """The same, from the door as a proxy."""
        return self._ask(method, url, accept, {})

    def _ask(self, method, target, accept, headers):
        connection = http.client.HTTPConnection(*self.lab.doors[0], timeout=20 * lab.SLOW)
        if accept is not None:
            headers = {**headers, "Accept": accept}
        try:
            connection.request(method, target, headers={k.replace("_", "-"): v
                                                        for k, v in headers.items()})
            reply = connection.getresponse()
            return reply.status, reply.headers, reply.read().decode()
        finally:
            connection.close()

    def head(self, target):
        """What HEAD is answered, to the last byte (http.client would not look at a body)."""
        with lab.connect(self.lab.doors[0]) as sock:
            sock.sendall(("HEAD %s HTTP/1.1\r\nHost: localhost\r\nAccept: %s\r\n\r\n"
                          % (target, BROWSER)).encode())
            data = b""
            while more := sock.recv(65536):
                data += more
        return data.decode().split("\r\n\r\n", 1)

    def page(self, text):
        page = Page(text)
        self.assertEqual(page.problems, [])
        self.assertEqual(page.language, "en")
        self.assertEqual(page.tags.count("h1"), 1)
        self.assertEqual(page.tags.count("title"), 1)
        return page

    def run_agent(self, *args, **more):
        return lab.run(lab.program("sallyport-agent"), *args, **more)

    def assert_harmless(self, headers):
        self.assertIn("default-src 'none'", headers["Content-Security-Policy"])
        self.assertEqual(headers["X-Content-Type-Options"], "nosniff")
        self.assertEqual(headers["Cache-Control"], "no-store")
        self.assertFalse([h for h in headers if h.lower().startswith("access-control-")])


class Refusals(PersonCase):
    def setUp(self):
        super().setUp()
        self.lab.start()

    def refused(self, support_id, **fields):
        event = self.lab.agent.wait("channel", lambda e: e.get("support_id") == support_id)
        self.assertEqual(event["how"], "refused")
        for key, value in fields.items():
            self.assertEqual(event[key], value)
        return event

    def test_a_browser_gets_a_page(self):
        status, headers, text = self.through("http://%s/" % FORBIDDEN, BROWSER)
        self.assertEqual(status, 403)
        self.assertEqual(headers["Content-Type"], "text/html; charset=utf-8")
        self.assert_harmless(headers)
        self.assertIn("error=http_request_denied", headers["Proxy-Status"])
        page = self.page(text)
        self.assertIn(CONTACT, page.words())
        self.assertIn("What to do", page.words())
        self.assertEqual(page.cells["Destination"], FORBIDDEN)
        event = self.refused(page.cells["Support id"], status=403, error="http_request_denied",
                             destination=FORBIDDEN)
        self.assertIn(event["detail"][1:], page.words())

    def test_a_program_gets_json(self):
        status, headers, text = self.through("http://%s/" % FORBIDDEN, "application/json")
        self.assertEqual(status, 403)
        self.assertEqual(headers["Content-Type"], "application/json")
        answer = json.loads(text)
        self.assertEqual(sorted(answer), ["contact", "destination", "error", "reason", "status",
                                          "support_id", "time", "what_to_do"])
        self.assertEqual(answer["status"], 403)
        self.assertEqual(answer["contact"], CONTACT)
        self.assertEqual(answer["destination"], FORBIDDEN)
        self.refused(answer["support_id"], detail=answer["reason"])

    def test_curl_gets_text(self):
        made = lab.run("curl", "-sS", "-i", "--proxy", "http://" + self.door(),
                       "http://%s/" % FORBIDDEN)
        head, body = made.stdout.split("\n\n", 1)
        self.assertIn("Content-Type: text/plain; charset=utf-8", head)
        self.assertIn("Proxy-Status: sallyport-agent; error=http_request_denied", head)
        lines = body.splitlines()
        self.assertEqual(len(lines), 4)
        self.refused(lines[3].split(": ")[1], detail=lines[0])

    def test_connect_is_refused_in_the_same_words(self):
        for accept, kind in ((BROWSER, "text/html; charset=utf-8"),
                             ("application/json", "application/json"),
                             (None, "text/plain; charset=utf-8")):
            with self.subTest(accept=accept), lab.connect(self.lab.doors[0]) as sock:
                sock.sendall(("CONNECT %s HTTP/1.1\r\nHost: %s\r\n%s\r\n" % (
                    FORBIDDEN, FORBIDDEN, "Accept: %s\r\n" % accept if accept else "")).encode())
                reply = http.client.HTTPResponse(sock)
                reply.begin()
                self.assertEqual(reply.status, 403)
                self.assertEqual(reply.headers["Content-Type"], kind)
                self.assertIn("error=http_request_denied", reply.headers["Proxy-Status"])
                self.assertIn(FORBIDDEN, reply.read().decode())

    def test_head_has_no_body(self):
        head, body = self.head("http://%s/" % FORBIDDEN)
        self.assertTrue(head.startswith("HTTP/1.1 403 "), head)
        self.assertIn("Content-Type: text/html", head)
        self.assertEqual(body, "")

    def test_a_request_that_is_malformed_has_no_destination(self):
        """Not that of the request before it on the same connection either."""
        with origin.Origin() as servers, lab.connect(self.lab.doors[0]) as sock:
            address = servers.start(good_answer)
            sock.sendall(("GET http://%s:%d/ HTTP/1.1\r\nHost: x\r\n\r\n" % address).encode())
            reply = http.client.HTTPResponse(sock)
            reply.begin()
            self.assertEqual((reply.status, reply.read()), (200, b"ok"))
            sock.sendall(b"GET ftp://x/ HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\n\r\n")
            reply = http.client.HTTPResponse(sock)
            reply.begin()
            answer = json.loads(reply.read())
        self.assertEqual(answer["status"], 501)
        self.assertNotIn("destination", answer)

    def test_a_page_says_that_the_gateway_is_gone(self):
        mark = self.lab.agent.mark()
        self.lab.stop(self.lab.gateway)
        self.lab.gateway = None
        self.lab.agent.wait("tunnel_failed", since=mark)
        _, headers, text = self.through("http://%s/" % FORBIDDEN, BROWSER)
        page = self.page(text)
        self.assertIn("The gateway cannot be reached", page.words())
        self.assertIn("Proxy-Status", headers)
        self.refused(page.cells["Support id"])


async def good_answer(reader, writer):
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    await reader.read()


class Status(PersonCase):
    def setUp(self):
        super().setUp()
        self.lab.agent_config["doors"].append({"type": "socks5", "listen": "127.0.0.1:0"})
        self.lab.agent_config["routes"] = [{"via": "tunnel"}]  # loopback too
        self.lab.start()

    def status(self):
        return json.loads(self.get("/status.json")[2])

    def test_the_page_has_three_forms(self):
        for accept, kind in ((BROWSER, "text/html; charset=utf-8"),
                             ("application/json", "application/json"),
                             ("*/*", "text/plain; charset=utf-8")):
            with self.subTest(accept=accept):
                status, headers, text = self.get("/", accept)
                self.assertEqual((status, headers["Content-Type"]), (200, kind))
                self.assert_harmless(headers)
                self.assertNotIn("PRIVATE KEY", text)
                if accept == BROWSER:
                    self.assertIn(CONTACT, self.page(text).words())
                    self.assertEqual(headers["Refresh"], "5")
                elif "json" in accept:
                    self.assertEqual(json.loads(text)["contact"], CONTACT)
                else:
                    self.assertIn("Sallyport: up", text)

    def test_json_tells_what_there_is(self):
        self.lab.wait_up(count=2)
        status = self.status()
        self.assertEqual(status["state"]["name"], "up")
        self.assertEqual(status["pid"], self.lab.agent.pid)
        self.assertEqual(status["gateway"]["address"], lab.format_address(self.lab.address))
        self.assertEqual(len(status["tunnels"]), 2)
        for tunnel in status["tunnels"]:
            self.assertEqual(tunnel["tls"], "TLS1.3")
            self.assertGreater(tunnel["bytes_up"], 500)  # its handshake
            self.assertGreater(tunnel["bytes_down"], 500)
        self.assertEqual([d.split("=")[0] for d in status["doors"]], ["http", "socks5"])
        self.assertIn(self.door(), status["doors"][0])
        self.assertEqual(status["certificate"]["subject"], "CN=alice,O=Acme")
        self.assertGreater(status["certificate"]["days_left"], 300)
        self.assertNotIn("last_refusal", status)

    def test_channels_and_bytes_are_counted_while_they_are_open_and_after(self):
        self.count_bytes(1)

    def test_channels_that_go_directly_are_counted_too(self):
        self.lab.agent_config["routes"] = [{"via": "direct"}]
        self.lab.save()
        self.lab.agent.signal(signal.SIGHUP)
        self.lab.agent.wait("reload", lambda e: e["ok"])
        self.count_bytes(0)

    def count_bytes(self, by_tunnel):
        with origin.Origin() as servers:
            address = servers.start(origin.echo)
            with lab.connect(self.lab.doors[0]) as sock:
                name = lab.format_address(address)
                sock.sendall(("CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (name, name)).encode())
                got = b""
                while not got.endswith(b"\r\n\r\n"):
                    got += sock.recv(1)
                self.assertTrue(got.startswith(b"HTTP/1.1 200 "), got)
                sock.sendall(b"x" * 1000)
                got = b""
                while len(got) < 1000:
                    got += sock.recv(1000)
                channels = self.status()["channels"]
                self.assertEqual((channels["open"], channels["total"]), (1, 1))
                self.assertEqual((channels["bytes_up"], channels["bytes_down"]), (1000, 1000))
                self.assertEqual(sum(t["channels"] for t in self.status()["tunnels"]), by_tunnel)
            self.lab.agent.wait("channel", lambda e: e["how"] != "refused")
        channels = self.status()["channels"]
        self.assertEqual((channels["open"], channels["total"]), (0, 1))
        self.assertEqual((channels["bytes_up"], channels["bytes_down"]), (1000, 1000))

    def test_the_last_refusal_is_that_of_the_log(self):
        with lab.connect(self.lab.doors[1]) as sock:  # of any door
            sock.sendall(b"\x05\x01\x00\x05\x01\x00\x01\x0a\x00\x00\x01\x00\x63")
            data = b""
            while more := sock.recv(100):
                data += more
        self.assertEqual(data[3], 2)  # not allowed
        event = self.lab.agent.wait("channel")
        last = self.status()["last_refusal"]
        self.assertEqual(last["support_id"], event["support_id"])
        self.assertEqual(last["destination"], FORBIDDEN)
        self.assertEqual(last["reason"], event["detail"])
        self.assertEqual(self.status()["channels"]["refused"], 1)
        self.assertEqual(self.page(self.get("/", BROWSER)[2]).cells["Support id"],
                         event["support_id"])

    def test_a_name_that_leads_here_gets_nothing(self):
        for host in ("evil.example", "evil.example:%d" % self.lab.doors[0][1], "192.0.2.1",
                     "localhost.evil.example", "127.0.0.1.evil.example"):
            with self.subTest(host=host):
                status, headers, text = self.get("/status.json", Host=host,
                                                 Origin="http://" + host)
                self.assertEqual(status, 421)
                self.assert_harmless(headers)
                self.assertNotIn("alice", text)
        for host in ("localhost:1", "127.0.0.1"):
            self.assertEqual(self.get("/status.json", Host=host)[0], 200)

    def test_only_get_and_head(self):
        head, body = self.head("/status.json")
        self.assertTrue(head.startswith("HTTP/1.1 200 "), head)
        self.assertRegex(head, r"Content-Length: \d{3,}")
        self.assertEqual(body, "")
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            self.assertEqual(self.get("/status.json", method=method)[0], 405, method)
        self.assertEqual(self.get("/status")[0], 404)


class StatusCommand(PersonCase):
    def test_it_tells_what_the_page_tells(self):
        self.lab.agent_config["doors"] = [{"type": "socks5", "listen": "127.0.0.1:0"},
                                          {"type": "mixed", "listen": "unix:door.sock"},
                                          {"type": "http", "listen": "127.0.0.1:0"}]
        self.lab.start_gateway()
        self.lab.agent_config["gateways"] = [lab.format_address(self.lab.address)]
        self.lab.save()
        self.lab.agent = lab.Program("sallyport-agent", "--config", self.lab.file("agent.json"))
        self.lab.programs.append(self.lab.agent)
        ready = self.lab.agent.wait("ready", timeout=20)
        self.lab.wait_up()
        config, door = self.lab.file("agent.json"), ready["doors"][2].split("=")[1]
        for where in (["--config", config], ["--door", door],
                      ["--door", "unix:" + self.lab.file("door.sock")]):
            with self.subTest(where=where):
                text = self.run_agent("status", *where)
                self.assertEqual((text.returncode, text.stderr), (0, ""))
                self.assertIn("Sallyport: up", text.stdout)
                self.assertIn("CN=alice,O=Acme", text.stdout)
                as_json = self.run_agent("status", "--json", *where)
                self.assertEqual(as_json.returncode, 0)
                self.assertEqual(json.loads(as_json.stdout)["pid"], self.lab.agent.pid)

    def test_it_watches_until_it_is_told_to_end(self):
        self.lab.start()
        process = subprocess.Popen([lab.program("sallyport-agent"), "status", "--json", "--watch",
                                    "--door", self.door()], stdout=subprocess.PIPE,
                                   env=lab.environment())
        try:
            for _ in range(2):
                self.assertEqual(json.loads(process.stdout.readline())["pid"], self.lab.agent.pid)
            self.lab.stop(self.lab.agent)
            for line in process.stdout:  # it goes on, and says so
                if "trouble" in json.loads(line):
                    break
            process.send_signal(signal.SIGINT)
            self.assertEqual(process.wait(20 * lab.SLOW), 0)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()

    def test_nobody_answers(self):
        with refusing() as nobody:
            made = self.run_agent("status", "--door", nobody.name)
            self.assertEqual((made.returncode, made.stdout), (1, ""))
            self.assertIn("no agent answers at %s: is it running?" % nobody.name, made.stderr)

    def test_what_answers_is_data(self):
        answers = {
            "no agent": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 1, "is no sallyport"),
            "no HTTP": (b"SSH-2.0-x\r\n", 1, "is no sallyport"),
            "cut": (b"HTTP/1.1 200 OK\r\nServer: sallyport-agent/9\r\nContent-Length: 9\r\n\r\nhi",
                    1, "cut short"),
            "a refusal": (b"HTTP/1.1 403 Forbidden\r\nServer: sallyport-agent/9\r\n"
                          b"Content-Length: 6\r\n\r\nno\x1b[2J", 1, "refuses (403)"),
            "a terminal's commands": (b"HTTP/1.1 200 OK\r\nServer: sallyport-agent/9\r\n"
                                      b"Content-Length: 6\r\n\r\nhi\x1b[2J", 0, ""),
            "nothing": (b"", 1, "is no sallyport"),
        }
        for name, (answer, code, says) in answers.items():
            with self.subTest(name), socket.create_server(("127.0.0.1", 0)) as server:
                thread = threading.Thread(target=answer_once, args=(server, answer))
                thread.start()
                made = self.run_agent("status", "--door",
                                      "127.0.0.1:%d" % server.getsockname()[1])
                thread.join()
                self.assertEqual(made.returncode, code)
                self.assertIn(says, made.stderr)
                self.assertNotIn("\x1b", made.stdout + made.stderr)

    def test_wrong_usage(self):
        self.lab.agent_config["gateways"] = ["127.0.0.1:1"]
        self.lab.save()
        for args, says in (([], "--config FILE or --door ADDRESS is needed"),
                           (["--door", "x"], "is no door"),
                           (["--door", "127.0.0.1:0"], "is no door"),
                           (["--config", self.lab.file("agent.json")], "--door"),
                           (["--config", "/nowhere"], "/nowhere"),
                           (["--door"], "--door wants a value"), (["--bogus"], "--bogus"),
                           (["--door", "127.0.0.1:1", "more"], "'more' is not an option")):
            with self.subTest(args=args):
                made = self.run_agent("status", *args)
                self.assertEqual((made.returncode, made.stdout), (2, ""))
                self.assertIn(says, made.stderr)
        made = self.run_agent("status", "--help")
        self.assertEqual(made.returncode, 0)
        self.assertIn("usage:", made.stdout)


class refusing:  # pylint: disable=invalid-name
    """An address that nobody listens at, and that nobody else is given meanwhile."""

    def __enter__(self):
        self.sock = socket.socket()
        self.sock.bind(("127.0.0.1", 0))
        self.name = lab.format_address(self.sock.getsockname())
        return self

    def __exit__(self, *_):
        self.sock.close()


def answer_once(server, answer):
    sock, _ = server.accept()
    with sock:
        sock.recv(4096)
        sock.sendall(answer)


class Diagnose(PersonCase):
    def setUp(self):
        super().setUp()
        self.lab.start_gateway()
        self.lab.agent_config["gateways"] = [lab.format_address(self.lab.address)]

    def diagnose(self, *args, code):
        """The steps, by name; those of the last gateway win."""
        self.lab.save()
        made = self.run_agent("diagnose", "--json", "--config", self.lab.file("agent.json"), *args,
                              timeout=60)
        self.assertEqual((made.returncode, made.stderr), (code, ""), made.stdout)
        report = json.loads(made.stdout)
        self.assertEqual(report["good"], code == 0)
        self.steps = report["steps"]
        return {step["name"]: step for step in report["steps"]}

    def failed(self, steps):
        return [name for name, step in steps.items() if not step["ok"]]

    def test_all_is_well(self):
        steps = self.diagnose(code=0)
        self.assertEqual(list(steps), ["config", "certificate", "name", "TCP", "TLS", "verdict",
                                       "answer", "channel"])
        for name in ("name", "TCP", "TLS", "answer", "channel"):
            self.assertGreaterEqual(steps[name]["time_us"], 0)
        self.assertEqual(steps["verdict"]["evidence"]["action"], "allow")
        made = self.run_agent("diagnose", "--config", self.lab.file("agent.json"))
        self.assertEqual(made.returncode, 0)
        self.assertIn("All is well.", made.stdout)

    def test_a_channel_is_opened_where_it_is_told_to(self):
        with origin.Origin() as servers:
            address = lab.format_address(servers.start(origin.echo))
            steps = self.diagnose(address, code=0)
        self.assertEqual(steps["channel"]["found"], address + " is connected")
        with refusing() as nobody:
            steps = self.diagnose(nobody.name, code=1)
        self.assertIn("connection_refused", steps["channel"]["found"])
        self.assertIn("port", steps["channel"]["advice"])
        steps = self.diagnose(FORBIDDEN, code=1)
        self.assertEqual(self.failed(steps), ["channel"])
        self.assertIn("403, http_request_denied", steps["channel"]["found"])

    def test_the_gateway_is_down(self):
        with refusing() as nobody:
            self.lab.agent_config["gateways"] = [nobody.name]
            steps = self.diagnose(code=1)
        self.assertEqual(self.failed(steps), ["TCP"])
        self.assertIn("Connection refused", steps["TCP"]["found"])
        self.assertTrue(steps["TCP"]["state"] and steps["TCP"]["advice"])

    def test_one_of_two_gateways_is_down(self):
        with refusing() as nobody:
            self.lab.agent_config["gateways"].insert(0, nobody.name)
            self.diagnose(code=1)
        self.assertEqual([s["part"] for s in self.steps if not s["ok"]],
                         ["Gateway " + nobody.name])
        self.assertTrue(self.steps[-1]["ok"])
        self.assertEqual(self.steps[-1]["name"], "channel")

    def test_the_gateway_is_another_one(self):
        """Its certificate is not of the CA that is trusted."""
        self.lab.agent_config["server_validation"] = {
            "mode": "pinned", "ca_files": [self.lab.pki.ca("Somebody else").pem]}
        steps = self.diagnose(code=1)
        self.assertEqual(self.failed(steps), ["verdict", "TLS"])
        evidence = steps["verdict"]["evidence"]
        self.assertEqual((evidence["action"], evidence["observed_errors"]),
                         ("block", ["untrusted_issuer"]))
        self.assertIn("server_validation", evidence["rule"])
        self.assertTrue(steps["TLS"]["state"])

    def test_the_gateway_refuses_our_certificate(self):
        stranger = self.lab.client(self.lab.a, issuer=self.lab.pki.ca("Strange CA"))
        self.lab.agent_config["identity"] = {"certificate": stranger.pem,
                                             "private_key": stranger.key}
        steps = self.diagnose(code=1)
        self.assertEqual(self.failed(steps), ["TLS"])
        self.assertEqual(steps["TLS"]["state"], "client_certificate_refused")

    def test_our_certificate_has_expired(self):
        old = self.lab.client(self.lab.a, not_before=time.time() - 9000,
                              not_after=time.time() - 5000)
        self.lab.agent_config["identity"] = {"certificate": old.pem, "private_key": old.key}
        steps = self.diagnose(code=1)
        self.assertEqual(self.failed(steps), ["certificate", "TLS"])
        self.assertIn("expired since 1 hour", steps["certificate"]["found"])
        self.assertIn("new certificate", steps["certificate"]["advice"])
        self.assertEqual(steps["TLS"]["state"], "client_certificate_refused")

    def test_what_listens_there_speaks_no_tls(self):
        with origin.Origin() as servers:
            address = servers.start(speaks_ssh)
            self.lab.agent_config["gateways"] = [lab.format_address(address)]
            steps = self.diagnose(code=1)
        self.assertEqual(steps["verdict"]["evidence"]["reason"], "not_tls")
        self.assertIn("TLS", self.failed(steps))

    def test_what_listens_there_says_nothing(self):
        self.lab.agent_config["limits"] = {"handshake_ms": 300}
        with origin.Origin() as servers:
            address = servers.start(says_nothing)
            self.lab.agent_config["gateways"] = [lab.format_address(address)]
            steps = self.diagnose(code=1)
        self.assertEqual(self.failed(steps), ["TLS"])
        self.assertGreaterEqual(steps["TLS"]["time_us"], 250000)

    def test_wrong_usage(self):
        self.lab.save()
        config = self.lab.file("agent.json")
        for args, says in (([], "--config FILE is needed"),
                           (["--config", config, "x"], "is no HOST:PORT"),
                           (["--config", config, "a:1", "b:1"], "one word too many"),
                           (["--config", config, "--bogus"], "--bogus"),
                           (["--config", "/nowhere"], "/nowhere")):
            with self.subTest(args=args):
                made = self.run_agent("diagnose", *args)
                self.assertEqual((made.returncode, made.stdout), (2, ""))
                self.assertIn(says, made.stderr)


async def speaks_ssh(reader, writer):
    writer.write(b"SSH-2.0-OpenSSH_9.2p1\r\n")
    await reader.read()


async def says_nothing(reader, writer):
    del writer
    await reader.read()


class Bundle(PersonCase):
    PASSWORD = "correct-horse-battery"

    def setUp(self):
        super().setUp()
        users = self.lab.write("users", "alice:%s\n" % self.PASSWORD)
        os.chmod(users, 0o600)
        self.log = os.path.join(self.lab.folder, "agent.log")
        self.lab.agent_config["doors"] = [
            {"type": "mixed", "listen": "unix:door.sock"},
            {"type": "socks5", "listen": "127.0.0.1:0", "users_file": users}]
        self.path = os.path.join(self.lab.folder, "bundle.json")

    def bundle(self, code, *args):
        self.lab.save()
        made = self.run_agent("diagnose", "--config", self.lab.file("agent.json"), "--bundle",
                              self.path, *args, timeout=60)
        self.assertEqual(made.returncode, code, made.stdout + made.stderr)
        with open(self.path, encoding="utf-8") as source:
            self.text = source.read()
        self.assert_no_secrets(self.text)
        self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o600)
        return json.loads(self.text)

    def assert_no_secrets(self, text):
        key = self.lab.file(self.lab.agent_config["identity"]["private_key"])
        with open(key, encoding="ascii") as source:
            lines = [line.strip() for line in source if "-----" not in line]
        self.assertGreater(len(lines), 1)
        for secret in lines + [self.PASSWORD]:
            self.assertNotIn(secret, text)

    def test_it_has_what_support_needs_and_no_secret(self):
        self.lab.start_gateway()
        self.lab.agent_config["gateways"] = [lab.format_address(self.lab.address)]
        self.lab.agent_config["log"] = {"format": "json", "file": self.log}
        self.lab.save()
        agent = lab.Program("sallyport-agent", "--config", self.lab.file("agent.json"))
        self.lab.programs.append(agent)
        lab.until(lambda: os.path.exists(self.log) and '"action":"allow"' in read(self.log),
                  20, "a tunnel")
        with open(self.log, "a", encoding="utf-8") as out:
            out.write('{"event":"x","error":"http://alice:%s@proxy.corp:3128 said no"}\n'
                      % self.PASSWORD)
        bundle = self.bundle(0)
        self.assertEqual(bundle["bundle"], "sallyport-agent")
        self.assertIn("GnuTLS", bundle["system"]["tls"])
        self.assertTrue(bundle["system"]["kernel"])
        self.assertEqual(bundle["configuration"]["gateways"], self.lab.agent_config["gateways"])
        self.assertEqual(bundle["configuration"]["limits"]["wait_ms"], 5000)  # what holds
        self.assertEqual(bundle["certificate"]["subject"], "CN=alice,O=Acme")
        self.assertEqual(bundle["status"]["pid"], agent.pid)
        self.assertTrue(bundle["diagnosis"]["good"])
        self.assertIn("ready", "".join(bundle["log"]["lines"]))
        self.assertIn("http://(removed)@proxy.corp:3128", "".join(bundle["log"]["lines"]))
        modes = {f["key"]: f["mode"] for f in bundle["files"]}
        self.assertEqual((modes["private_key"], modes["users_file"]), ("0600", "0600"))

    def test_it_is_written_when_nothing_works(self):
        self.lab.agent_config["gateways"] = ["127.0.0.1:1"]
        self.lab.agent_config["upstream_proxy"] = "http://alice:%s@127.0.0.1:1" % self.PASSWORD
        bundle = self.bundle(1)
        self.assertFalse(bundle["diagnosis"]["good"])
        self.assertEqual(bundle["configuration"]["upstream_proxy"],
                         "http://(removed)@127.0.0.1:1")
        self.assertIn("no agent answers", bundle["status_error"])

    def test_it_is_written_when_the_configuration_cannot_be_used(self):
        self.lab.agent_config["gateways"] = ["127.0.0.1:1"]
        self.lab.agent_config["server_validation"]["ca_files"] = ["gone.pem"]
        bundle = self.bundle(2)
        self.assertIn("gone.pem", bundle["configuration_error"])
        self.assertEqual(bundle["configuration"]["gateways"], ["127.0.0.1:1"])
        self.assertIn("No such file", [f for f in bundle["files"]
                                       if f["path"].endswith("gone.pem")][0]["error"])
        self.lab.agent_config["gateways"] = "http://alice:%s@x" % self.PASSWORD
        bundle = self.bundle(2)
        self.assertNotIn("configuration", bundle)
        self.assertIn("$.gateways", bundle["configuration_error"])


def read(path):
    with open(path, encoding="utf-8") as source:
        return source.read()


if __name__ == "__main__":
    lab.main()
