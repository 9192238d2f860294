#!/usr/bin/env python3
"""Which tenant, which certificate: the server name of the ClientHello decides."""

import os
import ssl
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import lab
import tls


class Case(lab.LabCase):
    """Tenant A has its own certificate (for a name, and a wildcard below another); tenant B has
    none, so that the common one serves it."""

    def setUp(self):
        super().setUp()
        pki = self.lab.pki
        ca = pki.ca("Test service CA")
        a, b = self.lab.a, self.lab.b
        self.common = pki.leaf("common", ca, eku="serverAuth",
                               dns=["secure.example.net", "*.secure.example.net"])
        self.own = pki.leaf("own", ca, eku="serverAuth",
                            dns=["a.secure.example.net", "*.c1.example"])
        self.lab.gateway_config["common"] = {"server_names": ["secure.example.net"],
                                             "certificate": self.common.chain,
                                             "private_key": self.common.key}
        self.lab.tenants[a].update({"server_names": ["a.secure.example.net", "*.c1.example"],
                                    "certificate": self.own.chain, "private_key": self.own.key})
        self.lab.tenants[b]["server_names"] = ["b.secure.example.net"]
        self.lab.tenants[b].pop("certificate", None)
        self.lab.tenants[b].pop("private_key", None)
        self.client_a = tls.context(self.lab.client(a))
        self.client_b = tls.context(self.lab.client(b))

    def decided(self, name, ctx):
        """The answer to a client, and what the gateway logged about it."""
        mark = self.lab.gateway.mark()
        answer, peer = tls.ask(self.lab.address, name, ctx)
        return answer, self.lab.gateway.wait("tunnel", lambda e: e.peer == peer, mark)


class Certificates(Case):
    def setUp(self):
        super().setUp()
        self.lab.start_gateway()

    def served(self, name):
        return tls.served_certificate(self.lab.address, name, tls.context())

    def test_a_tenants_own_certificate_is_served_under_its_name(self):
        self.assertEqual(self.served("a.secure.example.net"), self.own.der())
        answer, event = self.decided("a.secure.example.net", self.client_a)
        self.assertEqual((answer, event.tenant, event.sni),
                         ("ok", self.lab.a, "a.secure.example.net"))

    def test_the_common_certificate_serves_a_tenant_without_its_own(self):
        self.assertEqual(self.served("b.secure.example.net"), self.common.der())
        answer, event = self.decided("b.secure.example.net", self.client_b)
        self.assertEqual((answer, event.tenant), ("ok", self.lab.b))

    def test_s_client_sees_tenant_and_common_certificate_under_two_names(self):
        for name, subject in (("a.secure.example.net", "CN = own"),
                              ("secure.example.net", "CN = common")):
            shown = lab.run("openssl", "s_client", "-connect", "%s:%d" % self.lab.address,
                            "-servername", name)
            self.assertIn("subject=" + subject, shown.stdout + shown.stderr)

    def test_under_a_common_name_a_stranger_is_nobodys(self):
        self.assertEqual(self.served("secure.example.net"), self.common.der())
        stranger = self.lab.pki.leaf("stranger", self.lab.pki.ca("Stranger CA"))
        answer, event = self.decided("secure.example.net", tls.context(stranger))
        self.assertEqual(answer, "access_denied")
        self.assertEqual(event.action, "block")
        self.assertEqual(event.reason, "tenant_unknown")
        self.assertIn("tenant_unknown", event.observed_errors)

    def test_a_wildcard_stands_for_exactly_one_label(self):
        answer, event = self.decided("x.c1.example", self.client_a)
        self.assertEqual((answer, event.tenant), ("ok", self.lab.a))
        for name in ("c1.example", "y.x.c1.example", "xc1.example"):
            with self.subTest(name):
                self.assertEqual(tls.verdict(self.lab.address, name, self.client_a),
                                 "unrecognized_name")

    def test_case_and_a_trailing_dot_make_no_difference(self):
        for name in (b"A.Secure.EXAMPLE.net", b"a.secure.example.net.", b"X.C1.exAMPLE."):
            with self.subTest(name):
                hello = tls.client_hello(tls.host_name(name))
                self.assertEqual(tls.answer_to_hello(self.lab.address, hello), "server_hello")
        answer, event = self.decided("A.Secure.EXAMPLE.net", self.client_a)
        self.assertEqual((answer, event.tenant, event.sni),
                         ("ok", self.lab.a, "a.secure.example.net"))

    def test_tls12_serves_by_name_as_well_where_it_is_allowed(self):
        self.lab.gateway_config["tls"] = {"min_version": "1.2"}
        self.lab.reload()
        old = tls.context(self.lab.client(self.lab.a), version=ssl.TLSVersion.TLSv1_2)
        answer, event = self.decided("a.secure.example.net", old)
        self.assertEqual((answer, event.tls), ("ok", "TLS1.2"))
        self.assertEqual(tls.verdict(self.lab.address, "unknown.example", old),
                         "unrecognized_name")

    def test_tls12_is_refused_unless_min_version_allows_it(self):
        old = tls.context(self.lab.client(self.lab.a), version=ssl.TLSVersion.TLSv1_2)
        self.assertEqual(tls.verdict(self.lab.address, "a.secure.example.net", old),
                         "protocol_version")


class Refused(Case):
    def setUp(self):
        super().setUp()
        self.lab.start_gateway()

    def refused(self, hello, expected="unrecognized_name"):
        mark = self.lab.gateway.mark()
        self.assertEqual(tls.answer_to_hello(self.lab.address, hello), expected)
        return self.lab.gateway.wait("tunnel", since=mark)

    def test_an_unknown_name_is_refused_with_unrecognized_name(self):
        event = self.refused(tls.client_hello(tls.host_name("nobody.example")))
        self.assertEqual((event.action, event.reason), ("block", "unknown_server_name"))
        self.assertEqual(event.observed_errors, ["unknown_server_name"])
        self.assertEqual((event.sni, event.detail),
                         ("nobody.example", "no tenant has this server name"))

    def test_no_name_at_all_is_refused(self):
        event = self.refused(tls.client_hello(b""))
        self.assertEqual((event.reason, event.detail),
                         ("unknown_server_name", "no server name was sent"))

    def test_malformed_names_are_refused_and_harm_nobody(self):
        good = "a.secure.example.net"
        bad = {
            "empty": tls.host_name(""),
            "IPv4 address": tls.host_name("127.0.0.1"),
            "IPv6 address": tls.host_name("::1"),
            "NUL inside": tls.host_name(good.encode() + b"\0.evil.example"),
            "NUL at the end": tls.host_name(good.encode() + b"\0"),
            "space": tls.host_name("a.secure.example.net "),
            "two trailing dots": tls.host_name(good + ".."),
            "leading dot": tls.host_name("." + good),
            "only a dot": tls.host_name("."),
            "empty label": tls.host_name("a..example.net"),
            "the wildcard itself": tls.host_name("*.c1.example"),
            "CRLF": tls.host_name(b"a.secure.example.net\r\nX: y"),
            "bytes above 127": tls.host_name("ä.example".encode()),
            "label of 64": tls.host_name("x" * 64 + ".c1.example"),
            "254 bytes": tls.host_name(("x" * 49 + ".") * 5 + "abcd"),
            "1000 bytes": tls.host_name("x" * 1000),
            "unknown name type": tls.sni((1, good.encode())),
        }
        for what, extension in bad.items():
            with self.subTest(what):
                event = self.refused(tls.client_hello(extension))
                self.assertEqual((event.action, event.reason), ("block", "unknown_server_name"))
                self.assertNotIn("tenant", {k for k, v in event.items() if v})
        self.assertEqual(tls.verdict(self.lab.address, good, self.client_a), "ok")

    def test_broken_server_name_extensions_never_reach_a_tenant(self):
        good = b"a.secure.example.net"
        bad = {
            "list longer than the extension": tls.extension(0, b"\0\x50" + b"\0\0\x14" + good),
            "name longer than the list": tls.extension(0, b"\0\x17" + b"\0\0\x40" + good),
            "empty extension": tls.extension(0, b""),
            "empty list": tls.extension(0, b"\0\0"),
            "two names": tls.sni((0, good), (0, b"b.secure.example.net")),
            "extension twice": tls.host_name(good) + tls.host_name("b.secure.example.net"),
        }
        for what, extension in bad.items():
            with self.subTest(what):
                answer = tls.answer_to_hello(self.lab.address, tls.client_hello(extension))
                self.assertIn(answer, ("unrecognized_name", "decode_error", "illegal_parameter",
                                       "unexpected_message", "unsupported_extension"))
        self.assertEqual(tls.verdict(self.lab.address, good.decode(), self.client_a), "ok")

    def test_a_second_hello_with_another_name_is_refused(self):
        for second, expected in (("b.secure.example.net", "illegal_parameter"),
                                 ("a.secure.example.net", "server_hello")):
            with self.subTest(second), lab.connect(self.lab.address) as sock:
                random, session = os.urandom(32), os.urandom(32)
                sock.sendall(tls.client_hello(tls.host_name("a.secure.example.net"),
                                              tls.KEY_SHARE_NONE, random, session_id=session))
                self.assertEqual(tls.answer_to(sock), "hello_retry")
                sock.sendall(tls.client_hello(tls.host_name(second), random=random,
                                              session_id=session))
                self.assertEqual(tls.answer_to(sock), expected)

    def test_a_second_hello_with_another_name_is_logged(self):
        mark = self.lab.gateway.mark()
        with lab.connect(self.lab.address) as sock:
            random, session = os.urandom(32), os.urandom(32)
            sock.sendall(tls.client_hello(tls.host_name("a.secure.example.net"),
                                          tls.KEY_SHARE_NONE, random, session_id=session))
            self.assertEqual(tls.answer_to(sock), "hello_retry")
            sock.sendall(tls.client_hello(tls.host_name("b.secure.example.net"), random=random,
                                          session_id=session))
            self.assertEqual(tls.answer_to(sock), "illegal_parameter")
        event = self.lab.gateway.wait("tunnel", since=mark)
        self.assertEqual(event.action, "block")


class UnknownNameCommon(Case):
    def test_unknown_server_name_common_is_as_a_common_name(self):
        self.lab.gateway_config["unknown_server_name"] = "common"
        self.lab.start_gateway()
        stranger = tls.context(self.lab.pki.leaf("stranger", self.lab.pki.ca("Stranger CA")))
        for name in ("nobody.example", None):
            with self.subTest(name):
                ctx = self.client_a
                self.assertEqual(tls.served_certificate(self.lab.address, name, tls.context()),
                                 self.common.der())
                answer, event = self.decided(name, ctx)
                self.assertEqual((answer, event.action, event.tenant),
                                 ("ok", "allow", self.lab.a))
                answer, event = self.decided(name, stranger)
                self.assertEqual((answer, event.action), ("access_denied", "block"))
                self.assertEqual(event.reason, "tenant_unknown")


class Many(Case):
    def test_nine_thousand_names_are_found_as_fast_as_one(self):
        names = ["n%d.many.example" % i for i in range(9000)]
        cert = self.lab.pki.leaf("many", self.lab.pki.ca("Many CA"), eku="serverAuth",
                                 dns=["*.many.example", "a.secure.example.net", "*.c1.example"])
        self.lab.tenants[self.lab.a].update({
            "server_names": names + ["a.secure.example.net"],
            "certificate": cert.chain, "private_key": cert.key})
        self.lab.start_gateway()
        for name in ("n0.many.example", "n8999.many.example", "a.secure.example.net"):
            answer, event = self.decided(name, self.client_a)
            self.assertEqual((answer, event.tenant, event.sni), ("ok", self.lab.a, name))
        self.assertEqual(tls.verdict(self.lab.address, "n9000.many.example", self.client_a),
                         "unrecognized_name")


if __name__ == "__main__":
    lab.main()
