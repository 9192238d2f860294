#!/usr/bin/env python3
"""Who the agent is: PEM, PKCS#12, a token, one of a folder; and that a renewed certificate is taken
up without a restart, while channels stay open."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import lab
import origin
import softhsm
import web

PASSWORD = "correct horse"


def openssl(*argv):
    done = subprocess.run(["openssl", *argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, check=False)
    if done.returncode != 0:
        raise RuntimeError("openssl %s: %s" % (" ".join(argv), done.stderr.decode()))
    return done.stdout


class Case(lab.LabCase):
    def setUp(self):
        super().setUp()
        self.lab.agent_config["tunnels"] = 1
        self.lab.agent_config["gateways"] = ["127.0.0.1:1"]
        self.web = web.Server()
        self.addCleanup(self.web.close)
        self.page = self.web.put("/page", b"here it is")
        self.issuing = self.lab.pki.ca("Issuing CA", self.lab.ca[self.lab.a])

    def client(self, name="laptop", **spec):
        """Of an intermediate CA, so that the chain matters."""
        spec.setdefault("issuer", self.issuing)
        return self.lab.client(self.lab.a, name, **spec)

    def secret(self, name, text, mode=0o600):
        path = self.lab.write(name, text)
        os.chmod(path, mode)
        return path

    def p12(self, cert, *options, name="laptop.p12", password=PASSWORD, mode=0o600, chain=True):
        path = os.path.join(self.lab.folder, name)
        more = ("-certfile", cert.chain) if chain else ()
        openssl("pkcs12", "-export", "-in", cert.pem, "-inkey", cert.key, *more, "-out", path,
                "-passout", "pass:" + password, *options)
        os.chmod(path, mode)
        return path

    def encrypted(self, cert, password=PASSWORD, *options):
        path = cert.key + ".locked"
        openssl("pkcs8", "-topk8", "-in", cert.key, "-out", path, "-passout", "pass:" + password,
                *options)
        os.chmod(path, 0o600)
        return path

    def identity(self, **what):
        self.lab.agent_config["identity"] = what

    def curl(self):
        return lab.run("curl", "-sS", "--noproxy", "", "--proxy",
                       "http://" + lab.format_address(self.lab.doors[0]), self.page)

    def serves(self, cert, **what):
        """curl gets its page, and the gateway saw this certificate."""
        self.identity(**what)
        self.lab.start_gateway()
        self.lab.start_agent()
        self.seen(cert)
        done = self.curl()
        self.assertEqual((done.stdout, done.stderr), ("here it is", ""))

    def seen(self, cert, since=0):
        return self.lab.gateway.wait("tunnel", lambda e: e.get("fingerprint") == cert.fingerprint()
                                     and e.action == "allow", since, timeout=20)

    def check(self, **what):
        """--check: its status and all it says."""
        self.identity(**what)
        self.lab.save()
        done = lab.run(lab.program("sallyport-agent"), "--config", self.lab.file("agent.json"),
                       "--check")
        self.assertNotIn(PASSWORD, done.stdout + done.stderr)
        return done.returncode, done.stdout + done.stderr

    def refuses(self, place, text, **what):
        status, said = self.check(**what)
        self.assertEqual(status, 2, said)
        self.assertIn("agent.json: $.identity%s: " % place, said)
        self.assertIn(text, said)
        return said


class Files(Case):
    def test_pem_files(self):
        cert = self.client()
        self.serves(cert, certificate=cert.chain, private_key=cert.key)

    def test_an_encrypted_pem_key(self):
        cert = self.client()
        self.serves(cert, certificate=cert.chain, private_key=self.encrypted(cert),
                    password_file=self.secret("password", PASSWORD + "\n"))

    def test_an_encrypted_key_of_the_old_kind(self):
        cert = self.client(key="rsa:2048")
        path = cert.key + ".old"
        openssl("rsa", "-aes256", "-traditional", "-in", cert.key, "-out", path, "-passout",
                "pass:" + PASSWORD)
        os.chmod(path, 0o600)
        self.serves(cert, certificate=cert.chain, private_key=path,
                    password_file=self.secret("password", PASSWORD + "\r\n"))

    def test_pkcs12_as_openssl_makes_it_today(self):
        cert = self.client()
        self.serves(cert, pkcs12=self.p12(cert), password_file=self.secret("password", PASSWORD))

    def test_pkcs12_of_old(self):
        cert = self.client(key="rsa:2048")
        self.serves(cert, pkcs12=self.p12(cert, "-legacy"),
                    password_file=self.secret("password", PASSWORD))

    def test_pkcs12_with_an_empty_password_needs_no_file(self):
        cert = self.client()
        self.serves(cert, pkcs12=self.p12(cert, password=""))

    def test_pkcs12_without_a_mac_is_read_but_not_with_another_password(self):
        cert = self.client()
        path = self.p12(cert, "-nomac")
        status, said = self.check(pkcs12=path, password_file=self.secret("password", PASSWORD))
        self.assertEqual(status, 0, said)
        self.refuses(".pkcs12", "cannot be", pkcs12=path,
                     password_file=self.secret("wrong", "wrong horse"))

    def test_what_is_wrong_with_a_file_is_said(self):
        cert, other = self.client(), self.client("other")
        right = self.secret("password", PASSWORD)
        wrong = self.secret("wrong", "wrong horse")
        locked, p12 = self.encrypted(cert), self.p12(cert)
        pair = {"certificate": cert.chain, "private_key": locked}
        shown = self.secret("shown", PASSWORD, 0o644)
        lines = self.secret("lines", PASSWORD + "\n" + PASSWORD + "\n")
        for place, text, what in (
                (".private_key", "encrypted with a passphrase; wanted is", pair),
                (".private_key", "cannot be decrypted with the password in '%s'" % wrong,
                 dict(pair, password_file=wrong)),
                (".password_file", "can be read by others: its mode is 0644",
                 dict(pair, password_file=shown)),
                (".password_file", "more than one line", dict(pair, password_file=lines)),
                (".password_file", "No such file", dict(pair, password_file="nowhere")),
                (".pkcs12", "is protected by a password; wanted is \"password_file\"",
                 {"pkcs12": p12}),
                (".pkcs12", "the password in '%s' is not this file's" % wrong,
                 {"pkcs12": p12, "password_file": wrong}),
                (".password_file", "can be read by others", {"pkcs12": p12,
                                                             "password_file": shown}),
                (".pkcs12", "the file with the private key can be read by others: its mode is 0640",
                 {"pkcs12": self.p12(cert, name="shown.p12", mode=0o640) if os.geteuid() else
                  self.given_away(self.p12(cert, name="shown.p12", mode=0o640)),
                  "password_file": right}),
                (".pkcs12", "is no PKCS#12 file", {"pkcs12": cert.key}),
                (".pkcs12", "No such file", {"pkcs12": "nowhere.p12"}),
                (".pkcs12", "no private key in it",
                 {"pkcs12": self.p12(cert, "-nokeys", name="nokeys.p12"), "password_file": right}),
                (".pkcs12", "no certificate in it",
                 {"pkcs12": self.without_certificates(cert), "password_file": right}),
                (".private_key", "does not belong to the certificate",
                 {"certificate": cert.chain, "private_key": other.key})):
            with self.subTest(place=place, text=text):
                self.refuses(place, text, **what)
        self.assertEqual(self.check(pkcs12=p12, password_file=right)[0], 0)

    @staticmethod
    def given_away(path):
        """0640 is fine for root's own files alone."""
        os.chown(path, 65534, 65534)
        return path

    def without_certificates(self, cert):
        path = os.path.join(self.lab.folder, "nocerts.p12")
        openssl("pkcs12", "-export", "-nocerts", "-inkey", cert.key, "-out", path, "-passout",
                "pass:" + PASSWORD)
        os.chmod(path, 0o600)
        return path

    def test_exactly_one_kind_of_identity_is_wanted(self):
        cert = self.client()
        pair = {"certificate": cert.chain, "private_key": cert.key}
        for place, text, what in (
                ("", "says no certificate", {}),
                (".pkcs12", "not clear which is meant", dict(pair, pkcs12="x.p12")),
                (".store", "not clear which is meant", dict(pair, store="x")),
                (".store", "not clear which is meant", {"pkcs12": "x.p12", "store": "x"}),
                (".private_key", "required, but missing", {"certificate": cert.chain}),
                (".certificate", "required, but missing", {"private_key": cert.key}),
                (".pin_file", "is for a \"private_key\" in a token", dict(pair, pin_file="x")),
                (".pkcs11_module", "is for a \"private_key\" in a token",
                 dict(pair, pkcs11_module="x")),
                (".subject_contains", "is for \"store\"", dict(pair, subject_contains="x")),
                (".issuer_contains", "is for \"store\"", dict(pair, issuer_contains="x")),
                (".certificate", "the PIN does not belong into the URI",
                 {"certificate": "pkcs11:token=x?pin-value=1", "private_key": cert.key}),
                (".password_file", "a token's PIN is \"pin_file\"",
                 dict(pair, private_key="pkcs11:token=x;object=y", password_file="x"))):
            with self.subTest(place=place, text=text):
                self.refuses(place, text, **what)

    def test_check_tells_who_it_is(self):
        cert = self.client()
        status, said = self.check(certificate=cert.chain, private_key=cert.key)
        self.assertEqual(status, 0, said)
        self.assertIn('agent.json: identity: "CN=laptop", issued by "CN=Issuing CA", valid until ',
                      said)
        self.assertIn(cert.fingerprint() + ", of " + cert.chain, said)


class Token(Case):
    def setUp(self):
        super().setUp()
        if not softhsm.library() or not all(map(shutil.which, softhsm.TOOLS)):
            self.skipTest("softhsm2 or gnutls-bin is not installed (tools/deps test)")
        self.token = softhsm.Token(self.lab.folder)
        before = os.environ.get("SOFTHSM2_CONF")
        os.environ["SOFTHSM2_CONF"] = self.token.conf
        self.addCleanup(self.restore, before)
        self.pin = self.secret("pin", self.token.pin + "\n")

    @staticmethod
    def restore(before):
        if before is None:
            del os.environ["SOFTHSM2_CONF"]
        else:
            os.environ["SOFTHSM2_CONF"] = before

    def of_token(self, cert, **more):
        what = {"certificate": cert.chain, "private_key": self.token.uri(object="laptop"),
                "pin_file": self.pin, "pkcs11_module": softhsm.library()}
        what.update(more)
        return {key: value for key, value in what.items() if value is not None}

    def test_a_p256_key_in_a_token(self):
        cert = self.client()
        self.token.put_key(cert.key, "laptop", "01")
        self.serves(cert, **self.of_token(cert))

    def test_an_rsa_key_in_a_token(self):
        cert = self.client(key="rsa:2048")
        self.token.put_key(cert.key, "laptop", "01")
        self.serves(cert, **self.of_token(cert))

    def test_an_rsa_key_in_a_token_under_tls_1_2(self):
        cert = self.client(key="rsa:2048")
        self.token.put_key(cert.key, "laptop", "01")
        self.lab.agent_config["tls"] = {"min_version": "1.2"}
        self.lab.gateway_config["tls"] = {"min_version": "1.2"}
        self.serves(cert, **self.of_token(cert))

    def test_a_token_that_shows_no_public_key(self):
        cert = self.client()
        self.token.put_key(cert.key, "laptop", "01")
        self.token.forget_public("laptop")
        self.serves(cert, **self.of_token(cert))

    def test_certificate_and_issuer_in_the_token_too_by_the_system_s_modules(self):
        cert = self.client()
        self.token.put_key(cert.key, "laptop", "01")
        self.token.put_certificate(cert.pem, "laptop", "01")
        self.token.put_certificate(self.issuing.pem, "above", "02")
        self.serves(cert, **self.of_token(cert, certificate=self.token.uri(object="laptop"),
                                          pkcs11_module=None))

    def test_of_two_certificates_of_one_key_the_newer_valid_one_counts(self):
        cert = self.client()
        self.token.put_key(cert.key, "laptop", "01")
        now = time.time()
        # The order in which a token shows them is its own: one of many is not the first by chance.
        older = [self.same_key(cert, not_before=now - 7200 - i) for i in range(6)]
        newer = self.same_key(cert, not_before=now - 1800)
        early = self.same_key(cert, not_before=now + 86400)
        for number, one in enumerate([*older, newer, early]):
            self.token.put_certificate(one.pem, "laptop", "0%d" % (number + 1))
        self.token.put_certificate(self.issuing.pem, "above", "09")
        self.serves(newer, **self.of_token(cert, certificate=self.token.uri(object="laptop",
                                                                            type="cert")))

    def same_key(self, cert, **spec):
        return self.client(reuse=cert.key, **spec)

    def test_a_certificate_that_was_renewed_in_the_token_is_taken_up_at_sighup(self):
        cert = self.client()
        self.token.put_key(cert.key, "laptop", "01")
        self.serves(cert, **self.of_token(cert))
        newer = self.same_key(cert)
        shutil.copy(newer.chain, cert.chain)
        mark = self.lab.agent.mark()
        self.lab.agent.signal(signal.SIGHUP)
        event = self.lab.agent.wait("identity", since=mark)
        self.assertEqual((event.cause, event.fingerprint), ("reload", newer.fingerprint()))
        self.seen(newer)
        self.assertEqual(self.curl().stdout, "here it is")

    def test_what_is_wrong_with_a_token_is_said(self):
        cert, other = self.client(), self.client("other")
        self.token.put_key(cert.key, "laptop", "01")
        self.token.put_key(other.key, "twice", "02")
        self.token.put_key(cert.key, "twice", "03")
        for place, text, more in (
                (".pin_file", "the PIN in it is not the token's",
                 {"pin_file": self.secret("wrong", "999999")}),
                (".private_key", "the token wants a PIN; wanted is \"pin_file\"",
                 {"pin_file": None}),
                (".pin_file", "can be read by others",
                 {"pin_file": self.secret("shown", self.token.pin, 0o644)}),
                (".pin_file", "No such file", {"pin_file": "nowhere"}),
                (".private_key", "the token has no such private key",
                 {"private_key": self.token.uri(object="nobody")}),
                (".private_key", "no such token is there; those that are: 'lab'",
                 {"private_key": "pkcs11:token=other;object=laptop"}),
                (".private_key", "names no key", {"private_key": self.token.uri()}),
                (".private_key", "2 private keys of the token fit",
                 {"private_key": self.token.uri(object="twice")}),
                (".private_key", "the PIN does not belong into the URI",
                 {"private_key": self.token.uri(object="laptop") + "?pin-value=1234"}),
                (".pkcs11_module", "cannot be loaded as a PKCS#11 library",
                 {"pkcs11_module": cert.pem}),
                (".certificate", "the token has no such certificate",
                 {"certificate": self.token.uri(object="laptop")}),
                (".private_key", "does not belong to the certificate",
                 {"certificate": other.chain})):
            with self.subTest(place=place, text=text):
                said = self.refuses(place, text, **self.of_token(cert, **more))
                if "pin-value" not in str(more):
                    self.assertNotIn("1234", said.replace(self.lab.folder, ""))
        # None of these locked it.
        self.assertEqual(self.check(**self.of_token(cert))[0], 0)


class Store(Case):
    def setUp(self):
        super().setUp()
        self.store = os.path.join(self.lab.folder, "store")
        os.mkdir(self.store)

    def put(self, cert, name, ending=".pem"):
        shutil.copy(cert.chain, os.path.join(self.store, name + ending))
        shutil.copy(cert.key, os.path.join(self.store, name + ".key"))
        return os.path.join(self.store, name + ending)

    def chosen(self, cert, path, **what):
        status, said = self.check(store=self.store, **what)
        self.assertEqual(status, 0, said)
        self.assertIn("%s, of %s\n" % (cert.fingerprint(), path), said)
        return said

    def test_the_one_that_is_meant_is_used(self):
        alice, bob = self.client("alice"), self.client("bob")
        self.put(alice, "alice")
        self.put(bob, "bob", ".crt")
        self.serves(bob, store=self.store, subject_contains="cn=BOB")
        event = self.lab.agent.wait("identity")
        self.assertEqual((event.cause, event.of), ("start", os.path.join(self.store, "bob.crt")))

    def test_how_one_is_chosen(self):
        now = time.time()
        alice = self.client("alice", not_before=now - 7200)
        path = self.put(alice, "alice")
        shutil.copy(self.issuing.pem, os.path.join(self.store, "ca.pem"))  # no key: passed over
        self.chosen(alice, path)
        newer = self.client("alice", not_before=now - 1800)
        both = os.path.join(self.store, "newer.crt")  # with its key in the same file
        with open(both, "wb") as out:
            for part in (newer.chain, newer.key):
                with open(part, "rb") as one:
                    out.write(one.read())
        os.chmod(both, 0o600)
        self.chosen(newer, both)
        # Those that are not valid do not count while there are others.
        self.put(self.client("alice", not_before=now + 86400), "early")
        self.put(self.client("alice", not_before=now - 600, not_after=now - 60), "expired")
        self.chosen(newer, both)
        # By issuer; and a PKCS#12 file.
        other = self.lab.pki.ca("Other Root")
        carol = self.client("carol", issuer=other)
        path = self.p12(carol, name="store/carol.P12", chain=False)
        password = self.secret("password", PASSWORD)
        said = self.chosen(carol, path, issuer_contains="other root", password_file=password)
        self.assertNotIn(": warning: ", said)
        # One that is broken is named, and the others go on.
        self.lab.write("store/junk.pem", "no PEM here\n")
        shutil.copy(alice.key, os.path.join(self.store, "newest.key"))
        shutil.copy(newer.pem, os.path.join(self.store, "newest.pem"))
        said = self.chosen(newer, both, subject_contains="alice")
        self.assertIn("junk.pem: no certificate in it", said)
        self.assertIn("newest.pem: %s/newest.key: the private key does not belong" % self.store, said)
        self.assertIn("carol.P12: is protected by a password", said)

    def test_the_only_one_is_used_even_when_it_has_expired(self):
        now = time.time()
        old = self.client("alice", not_before=now - 7200, not_after=now - 3600)
        said = self.chosen(old, self.put(old, "alice"))
        self.assertIn("expired 60 minutes ago", said.replace("1 hour", "60 minutes"))

    def test_where_none_can_be_chosen_all_are_listed(self):
        now = time.time()
        names = ["device%d" % i for i in range(6)]
        for i, name in enumerate(names):
            self.put(self.client(name, not_before=now - 7200 - i, not_after=now - 3600), name)
        said = self.refuses(".store: " + self.store, "6 certificates in it fit, none is valid now",
                            store=self.store)
        for name in names:
            self.assertRegex(said, r'%s\.pem: "CN=%s", issued by "CN=Issuing CA", '
                                   r"20.*Z to 20.*Z: expired" % (name, name))
        said = self.refuses(".store: " + self.store, "no certificate in it fits", store=self.store,
                            subject_contains="zebra")
        self.assertEqual(said.count('its subject does not contain "zebra"'), said.count("CN=device"))
        twins = [self.client(name, not_before=int(now) - 60, not_after=int(now) + 3600)
                 for name in ("twin1", "twin2")]
        for i, twin in enumerate(twins):
            self.put(twin, "twin%d" % i)
        said = self.refuses(".store: " + self.store, "none is the newest of them", store=self.store,
                            subject_contains="twin")
        self.assertIn("as new as another one", said)

    def test_an_empty_folder_and_none_at_all(self):
        self.refuses(".store: " + self.store, "no certificate with its private key is in it",
                     store=self.store)
        self.refuses(".store: " + self.lab.file("nowhere"), "No such file", store="nowhere")


class Bulk(threading.Thread):
    """Sends to an echo and compares what comes back, until it is told to end."""

    def __init__(self, door, target):
        super().__init__(daemon=True)
        self.sock = lab.connect(door, 60)
        self.sock.sendall(("CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (target, target)).encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += self.sock.recv(1)
        if b" 200 " not in head.split(b"\r\n")[0]:
            raise AssertionError(head)
        self.ending = threading.Event()
        self.rounds, self.error = 0, None
        self.start()

    def run(self):
        try:
            while not self.ending.is_set():
                block = os.urandom(65536)
                self.sock.sendall(block)
                got = b""
                while len(got) < len(block):
                    more = self.sock.recv(len(block) - len(got))
                    if not more:
                        raise ConnectionResetError("the channel ended")
                    got += more
                if got != block:
                    raise ValueError("other bytes came back")
                self.rounds += 1
        except Exception as error:  # pylint: disable=broad-except
            self.error = error

    def more(self):
        """Until some more has gone both ways."""
        wanted = self.rounds + 5
        lab.until(lambda: self.rounds >= wanted or self.error, 20, "the transfer to go on")
        if self.error:
            raise self.error

    def finish(self):
        self.ending.set()
        self.join(20 * lab.SLOW)
        self.sock.close()
        if self.error:
            raise self.error


class Renewal(Case):
    def setUp(self):
        super().setUp()
        self.origin = origin.Origin()
        self.addCleanup(self.origin.close)
        self.echo = lab.format_address(self.origin.start(origin.echo))
        self.folder = os.path.join(self.lab.folder, "live")
        os.mkdir(self.folder)
        self.pem = os.path.join(self.folder, "laptop.pem")
        self.key = os.path.join(self.folder, "laptop.key")

    def install(self, cert):
        shutil.copy(cert.chain, self.pem)
        shutil.copy(cert.key, self.key)

    def by_rename(self, path, content):
        with open(content, "rb") as source:
            data = source.read()
        temporary = path + ".tmp"
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as out:
            out.write(data)
        os.rename(temporary, path)

    def in_place(self, path, content):
        """As an editor or cp does: truncated, then written piece by piece."""
        with open(content, "rb") as source:
            data = source.read()
        with open(path, "r+b", buffering=0) as out:
            out.truncate()
            half = len(data) // 2
            out.write(data[:half])
            out.write(data[half:])

    def begin(self, cert, **what):
        self.serves(cert, **(what or {"certificate": self.pem, "private_key": self.key}))
        self.bulk = Bulk(self.lab.doors[0], self.echo)
        self.addCleanup(self.bulk.sock.close)
        self.mark = self.lab.agent.mark()
        self.gateway_mark = self.lab.gateway.mark()

    def is_taken_up(self, cert):
        """New channels go by the new one, and what was open goes on."""
        event = self.lab.agent.wait("identity", lambda e: e.ok, self.mark, timeout=20)
        self.assertEqual((event.cause, event.subject, event.fingerprint),
                         ("renewed", "CN=laptop", cert.fingerprint()))
        self.assertIn("serial", event)
        self.assertIn("not_after", event)
        self.seen(cert, self.gateway_mark)
        self.assertEqual(self.curl().stdout, "here it is")
        self.bulk.more()
        self.bulk.finish()
        # The old tunnel ends when its last channel has.
        closed = self.lab.agent.wait("tunnel_closed", since=self.mark, timeout=20)
        self.assertEqual((closed.cut, closed.get("error")), (0, None))

    def test_by_rename_while_a_transfer_runs(self):
        old, new = self.client(), self.client()
        self.install(old)
        self.begin(old)
        self.by_rename(self.pem, new.chain)
        self.by_rename(self.key, new.key)
        self.is_taken_up(new)

    def test_in_place_while_a_transfer_runs(self):
        old, new = self.client(), self.client()
        self.install(old)
        self.begin(old)
        self.in_place(self.key, new.key)
        self.in_place(self.pem, new.chain)
        self.is_taken_up(new)

    def test_a_pkcs12_file(self):
        old, new = self.client(), self.client()
        password = self.secret("password", PASSWORD)
        path = self.p12(old)
        self.begin(old, pkcs12=path, password_file=password)
        os.rename(self.p12(new, name="new.p12"), path)
        self.is_taken_up(new)

    def test_links_that_are_turned_over(self):
        """As certbot and Kubernetes do: the files' names are links, and stay."""
        old, new = self.client(), self.client()
        for name, cert in (("one", old), ("two", new)):
            os.mkdir(os.path.join(self.folder, name))
            shutil.copy(cert.chain, os.path.join(self.folder, name, "laptop.pem"))
            shutil.copy(cert.key, os.path.join(self.folder, name, "laptop.key"))
        data = os.path.join(self.folder, "..data")
        os.symlink("one", data)
        os.symlink("..data/laptop.pem", self.pem)
        os.symlink("..data/laptop.key", self.key)
        self.begin(old)
        os.symlink("two", data + ".new")
        os.rename(data + ".new", data)
        self.is_taken_up(new)

    def test_a_newer_one_in_a_store(self):
        now = time.time()
        old, new = self.client(not_before=now - 7200), self.client(not_before=now - 1800)
        self.install(old)
        self.begin(old, store=self.folder, subject_contains="laptop")
        self.by_rename(os.path.join(self.folder, "next.key"), new.key)
        self.by_rename(os.path.join(self.folder, "next.pem"), new.chain)
        self.is_taken_up(new)

    def test_half_a_pair_is_waited_for_and_told_when_it_stays_so(self):
        old, new = self.client(), self.client()
        self.install(old)
        self.begin(old)
        self.by_rename(self.pem, new.chain)
        event = self.lab.agent.wait("identity", lambda e: not e.ok, self.mark, timeout=20)
        self.assertIn("the private key does not belong to the certificate", event.error)
        self.assertEqual(event.our_fingerprint, old.fingerprint())
        self.assertEqual(self.curl().stdout, "here it is")
        self.by_rename(self.key, new.key)
        self.is_taken_up(new)

    def test_a_bad_renewal_changes_nothing(self):
        old = self.client()
        self.install(old)
        self.begin(old)
        now = time.time()
        expired = self.client(not_before=now - 7200, not_after=now - 3600)
        early = self.client(not_before=now + 86400)
        good = self.client()
        for text, key_mode, cert in (("expired at", 0o600, expired),
                                     ("is not valid before", 0o600, early),
                                     ("can be read by others", 0o644, good)):
            with self.subTest(text):
                mark = self.lab.agent.mark()
                self.by_rename(self.key, cert.key)
                os.chmod(self.key, key_mode)
                self.by_rename(self.pem, cert.chain)
                event = self.lab.agent.wait("identity", lambda e, t=text: t in e.get("error", ""),
                                            mark, timeout=20)
                self.assertEqual(event.our_fingerprint, old.fingerprint())
                self.assertEqual(self.curl().stdout, "here it is")
                self.bulk.more()
        self.assertEqual(self.lab.agent.all("identity", lambda e: e.ok, self.mark), [])
        self.assertEqual(self.lab.gateway.all("tunnel", since=self.gateway_mark), [])
        os.chmod(self.key, 0o600)  # which is all that was wrong with the last one
        self.is_taken_up(good)

    def test_a_reload_at_the_same_moment(self):
        old = self.client()
        self.install(old)
        self.begin(old)
        for _ in range(3):
            new = self.client()
            mark = self.lab.gateway.mark()
            self.by_rename(self.pem, new.chain)
            self.lab.agent.signal(signal.SIGHUP)  # finds half a pair, or a whole one
            self.by_rename(self.key, new.key)
            self.seen(new, mark)
            self.bulk.more()
        self.bulk.finish()
        self.assertEqual(self.curl().stdout, "here it is")


if __name__ == "__main__":
    lab.main()
