#!/usr/bin/env python3
"""The gateway as an ordinary HTTPS proxy: HTTP/1.1 CONNECT without an agent."""

import hashlib
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import lab
import origin
import tls


class Case(lab.LabCase):
    def setUp(self):
        super().setUp()
        self.name = self.lab.name_of(self.lab.a)
        self.cert = self.lab.client(self.lab.a, "alice")
        self.lab.start_gateway()
        self.origin = origin.Origin()
        self.addCleanup(self.origin.close)
        self.echo = lab.format_address(self.origin.start(origin.echo))

    def client(self, alpn=("http/1.1",)):
        client = tls.Client(self.lab.address, self.name, tls.context(self.cert, alpn))
        self.addCleanup(client.close)
        return client

    def asked(self, request):
        """The answer to these bytes: status, head; b"" status 0 when it just closed."""
        with tls.Client(self.lab.address, self.name, tls.context(self.cert)) as client:
            client.send(request)
            head, _ = client.head()
            return int(head.split()[1]), head


class Curl(Case):
    def curl(self, *more):
        return lab.run("curl", "-sS", "--resolve", "%s:%d:127.0.0.1" % (self.name,
                                                                        self.lab.address[1]),
                       "--proxy", "https://%s:%d" % (self.name, self.lab.address[1]),
                       "--proxy-cacert", self.lab.file("ca", "service-root.pem"), *more)

    def test_curl_fetches_a_page_with_the_gateway_as_its_https_proxy(self):
        nginx = origin.Nginx(self.lab.pki)
        self.addCleanup(nginx.close)
        done = self.curl("--proxy-cert", self.cert.chain, "--proxy-key", self.cert.key,
                         "--cacert", nginx.ca.pem, "https://127.0.0.1:%d/hello" % nginx.https[1])
        self.assertEqual((done.returncode, done.stdout, done.stderr),
                         (0, "hello from the origin\n", ""))
        event = self.lab.gateway.wait("channel")
        self.assertEqual((event.tenant, event.destination),
                         (self.lab.a, "127.0.0.1:%d" % nginx.https[1]))
        # curl does not wait for our half of the end; that must not look like a lost tunnel.
        self.assertIn(event.how, ("done", "remote_reset"))

    def test_curl_without_a_certificate_is_refused(self):
        done = self.curl("http://%s/" % self.echo, "--proxytunnel")
        self.assertEqual(done.returncode, 56, done.stderr)
        self.assertIn("certificate required", done.stderr)

    def test_curl_is_told_why_a_destination_is_refused(self):
        done = self.curl("--proxy-cert", self.cert.chain, "--proxy-key", self.cert.key,
                         "-v", "--proxytunnel", "http://10.9.8.7/")
        self.assertEqual(done.returncode, 56, done.stderr)
        self.assertIn("403", done.stderr)
        self.assertRegex(done.stderr, r"(?i)proxy-status: .*error=")


class Connect(Case):
    def test_a_channel_by_http11_for_a_client_without_alpn_or_with_http11_only(self):
        for alpn in (("http/1.1",), ()):
            with self.subTest(alpn):
                client = self.client(alpn)
                status, _ = client.connect(self.echo)
                self.assertEqual(status, 200)
                client.send(b"ping")
                self.assertEqual(client.recv(), b"ping")

    def test_openssl_and_gnutls_command_line_clients_get_a_channel(self):
        request = "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\necho this" % (self.echo, self.echo)
        address = "%s:%d" % self.lab.address
        for what, command in {
                "openssl": ("openssl", "s_client", "-quiet", "-no_ign_eof", "-connect", address,
                            "-servername", self.name, "-cert", self.cert.chain, "-key",
                            self.cert.key),
                "gnutls": ("gnutls-cli", "--logfile", os.devnull, "--insecure", "--port",
                           self.lab.address[1], "--sni-hostname", self.name, "--x509certfile",
                           self.cert.chain, "--x509keyfile", self.cert.key, "127.0.0.1")}.items():
            with self.subTest(what):
                process = lab.Interactive(*command)
                self.addCleanup(process.close)
                process.write(request)
                self.assertIn("echo this", process.read_until("echo this"))

    def test_what_is_pipelined_behind_the_head_goes_to_the_destination_after_the_200(self):
        client = self.client()
        client.send(("CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\npipelined" % (self.echo, self.echo))
                    .encode())
        head, rest = client.head()
        self.assertTrue(head.startswith("HTTP/1.1 200"))
        while len(rest) < 9:
            rest += client.recv()
        self.assertEqual(rest, b"pipelined")

    def test_a_200_to_connect_carries_no_length_and_no_encoding(self):
        _, head = self.client().connect(self.echo)
        self.assertNotRegex(head.lower(), r"content-length|transfer-encoding")

    def test_a_megabyte_both_ways_arrives_unchanged(self):
        data = os.urandom(1 << 20)
        client = self.client()
        self.assertEqual(client.connect(self.echo)[0], 200)
        got = client.exchange(data)
        self.assertEqual(len(got), len(data))
        self.assertEqual(hashlib.sha256(got).digest(), hashlib.sha256(data).digest())

    def test_one_channel_a_connection(self):
        target = lab.format_address(self.origin.start(origin.sink))
        client = self.client()
        self.assertEqual(client.connect(self.echo)[0], 200)
        again = b"CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (target.encode(), target.encode())
        client.send(again)
        self.assertEqual(client.recv(), again)  # It is payload now, nothing else


class BadRequests(Case):
    def test_what_is_doubtful_is_400_and_never_guessed(self):
        good = "Host: origin.example:443\r\n"
        cases = {
            "port 88947": "CONNECT origin.example:88947 HTTP/1.1\r\nHost: origin.example:88947\r\n",
            "port 0": "CONNECT origin.example:0 HTTP/1.1\r\nHost: origin.example:0\r\n",
            "no port": "CONNECT origin.example HTTP/1.1\r\nHost: origin.example\r\n",
            "empty port": "CONNECT origin.example: HTTP/1.1\r\nHost: origin.example:\r\n",
            "signed port": "CONNECT origin.example:+443 HTTP/1.1\r\n" + good,
            "two Host headers": "CONNECT origin.example:443 HTTP/1.1\r\n" + good + good,
            "two different Hosts": "CONNECT origin.example:443 HTTP/1.1\r\n" + good +
                                   "Host: other.example:443\r\n",
            "no Host": "CONNECT origin.example:443 HTTP/1.1\r\n",
            "Host of another": "CONNECT origin.example:443 HTTP/1.1\r\nHost: b.example:443\r\n",
            "user info": "CONNECT user@origin.example:443 HTTP/1.1\r\n" + good,
            "user and password": "CONNECT u:p@origin.example:443 HTTP/1.1\r\n" + good,
            "length and encoding": "CONNECT origin.example:443 HTTP/1.1\r\n" + good +
                                   "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "content length": "CONNECT origin.example:443 HTTP/1.1\r\n" + good +
                              "Content-Length: 5\r\n",
            "transfer encoding": "CONNECT origin.example:443 HTTP/1.1\r\n" + good +
                                 "Transfer-Encoding: chunked\r\n",
            "absolute form": "CONNECT http://origin.example:443/ HTTP/1.1\r\n" + good,
            "path": "CONNECT /path HTTP/1.1\r\n" + good,
            "bare IPv6": "CONNECT ::1:443 HTTP/1.1\r\nHost: ::1:443\r\n",
            "zone": "CONNECT [fe80::1%25lo]:443 HTTP/1.1\r\nHost: [fe80::1%25lo]:443\r\n",
            "address by one number": "CONNECT 2130706433:80 HTTP/1.1\r\nHost: 2130706433:80\r\n",
            "hexadecimal address": "CONNECT 0x7f.1:80 HTTP/1.1\r\nHost: 0x7f.1:80\r\n",
            "octal address": "CONNECT 0177.0.0.1:80 HTTP/1.1\r\nHost: 0177.0.0.1:80\r\n",
            "folded line": "CONNECT origin.example:443 HTTP/1.1\r\n" + good + "X: a\r\n b\r\n",
            "space before colon": "CONNECT origin.example:443 HTTP/1.1\r\nHost : "
                                  "origin.example:443\r\n",
            "two spaces": "CONNECT  origin.example:443 HTTP/1.1\r\n" + good,
            "NUL in a value": "CONNECT origin.example:443 HTTP/1.1\r\n" + good + "X: a\0b\r\n",
            "bare CR": "CONNECT origin.example:443 HTTP/1.1\r\n" + good + "X: a\rb\r\n",
            "garbage": "\x01\x02\x03garbage\r\n",
        }
        for what, head in cases.items():
            with self.subTest(what):
                status, answer = self.asked((head + "\r\n").encode("latin-1"))
                self.assertEqual(status, 400, answer)
        with self.subTest("bare LF"):
            status, answer = self.asked(b"CONNECT origin.example:443 HTTP/1.1\n"
                                        b"Host: origin.example:443\n\n")
            self.assertEqual(status, 400, answer)
        self.assertEqual(self.lab.gateway.all("channel"), [])

    def test_a_bad_request_is_logged_with_its_status(self):
        mark = self.lab.gateway.mark()
        self.asked(b"CONNECT origin.example:88947 HTTP/1.1\r\nHost: origin.example:88947\r\n\r\n")
        event = self.lab.gateway.wait("bad_request", since=mark)
        self.assertEqual((event.status, event.tenant), (400, self.lab.a))

    def test_a_request_that_is_not_connect_is_405(self):
        for method in ("GET", "POST", "OPTIONS"):
            status, head = self.asked(("%s / HTTP/1.1\r\nHost: x\r\n\r\n" % method).encode())
            self.assertEqual(status, 405, head)

    def test_an_oversized_head_is_431_whether_or_not_it_ever_ends(self):
        start = b"CONNECT origin.example:443 HTTP/1.1\r\nHost: origin.example:443\r\n"
        for filler in (b"X: " + b"a" * 70000, b"Y: b\r\n" * 20000):
            status, _ = self.asked(start + filler)
            self.assertEqual(status, 431)
        status, _ = self.asked(b"CONNECT " + b"a" * 70000)
        self.assertIn(status, (400, 414, 431))

    def test_a_refusal_closes_the_connection(self):
        client = self.client()
        client.send(b"CONNECT x HTTP/1.1\r\nHost: x\r\n\r\n")
        data, end = tls.read_to_end(client.sock)
        self.assertTrue(data.startswith(b"HTTP/1.1 400"))
        self.assertEqual(end, "end")


if __name__ == "__main__":
    lab.main()
