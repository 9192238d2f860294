"""Doors at UNIX sockets, and who may use a door: SO_PEERCRED there, the owner of the connecting
socket on loopback TCP.
"""

import contextlib
import encodings.idna  # now: another user may not be able to read it
import os
import shutil
import signal
import socket
import stat
import struct
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import lab
import origin

NOBODY = 65534
STRANGER = 54321  # no name
HELLO = b"\x05\x01\x00"


@contextlib.contextmanager
def user(uid):
    """What this process does meanwhile is done by that user; sockets made now are his."""
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)


def read_to_end(sock):
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while more := sock.recv(65536):
            data += more
    return data


def socks_request(address):
    return (b"\x05\x01\x00\x01" + socket.inet_aton(address[0]) + struct.pack(">H", address[1]))


class Case(lab.LabCase):
    def setUp(self):
        super().setUp()
        # Others may come as far as the socket, unlike into the laboratory's own folder
        self.folder = tempfile.mkdtemp(prefix="sallyport-doors-")
        os.chmod(self.folder, 0o755)
        self.addCleanup(shutil.rmtree, self.folder)
        self.origin = origin.Origin()
        self.addCleanup(self.origin.close)
        self.echo = self.origin.start(origin.echo)
        self.path = os.path.join(self.folder, "proxy.sock")

    def connect_head(self):
        target = "%s:%d" % self.echo
        return ("CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (target, target)).encode()

    def open_channel(self, address, uid=None):
        """None: not let in; then .answer is what was said instead."""
        with user(uid) if uid is not None else contextlib.nullcontext():
            sock = lab.connect(address)
        self.addCleanup(sock.close)
        sock.sendall(self.connect_head())
        self.answer = b""
        while not self.answer.endswith(b"\r\n\r\n") or b" 200 " not in self.answer:
            with contextlib.suppress(ConnectionResetError):
                if more := sock.recv(1):
                    self.answer += more
                    continue
            return None
        sock.sendall(b"hello")
        self.assertEqual(sock.recv(5), b"hello")
        return sock

    def channel(self, since=0, **fields):
        return self.lab.agent.wait("channel", lambda e: fields.items() <= e.items(), since)


class Sockets(Case):
    def test_each_kind_of_door_serves_at_a_unix_socket(self):
        self.lab.agent_config["doors"] = [
            {"type": "http", "listen": "unix:" + self.path},
            {"type": "socks5", "listen": "unix:" + self.path + "2"},
            {"type": "mixed", "listen": "unix:" + self.path + "3"},
            {"type": "forward", "listen": "unix:" + self.path + "4", "to": "%s:%d" % self.echo}]
        self.lab.start()
        self.assertEqual(self.lab.agent.wait("ready").doors,
                         ["%s=unix:%s%s" % pair for pair in zip(
                             ("http", "socks5", "mixed", "forward"), (self.path,) * 4,
                             ("", "2", "3", "4"))])
        for door in (self.path, self.path + "3"):
            self.open_channel(door).close()
        for door in (self.path + "2", self.path + "3"):
            with lab.connect(door) as sock:
                sock.sendall(HELLO + socks_request(self.echo) + b"first")
                self.assertEqual(sock.recv(2, socket.MSG_WAITALL), b"\x05\x00")
                self.assertEqual(sock.recv(10, socket.MSG_WAITALL)[1], 0)
                self.assertEqual(sock.recv(5, socket.MSG_WAITALL), b"first")
        with lab.connect(self.path + "4") as sock:
            sock.sendall(b"to the one")
            self.assertEqual(sock.recv(10, socket.MSG_WAITALL), b"to the one")
        for event in self.lab.agent.wait_count("channel", 5):
            self.assertEqual((event.client, event.uid, event.how), ("unix", os.getuid(), "done"))

    def test_curl_by_socks_at_a_unix_socket(self):
        nginx = origin.Nginx(self.lab.pki)
        self.addCleanup(nginx.close)
        self.lab.agent_config["doors"] = [{"type": "socks5", "listen": "unix:" + self.path}]
        self.lab.start()
        done = lab.run("curl", "--silent", "--show-error", "--proxy",
                       "socks5h://localhost" + self.path, "--cacert", nginx.ca.pem,
                       "https://127.0.0.1:%d/hello" % nginx.https[1])
        self.assertEqual(done.stdout, "hello from the origin\n", done.stderr)

    def test_a_relative_path_is_relative_to_the_file_and_the_mode_is_as_configured(self):
        self.lab.agent_config["doors"] = [
            {"type": "http", "listen": "unix:a.sock"},
            {"type": "http", "listen": "unix:b.sock", "mode": "0660"}]
        before = os.umask(0o077)  # must not matter
        try:
            self.lab.start()
        finally:
            os.umask(before)
        for name, mode in (("a.sock", 0o600), ("b.sock", 0o660)):
            path = self.lab.file(name)
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), mode)
            self.open_channel(path)
        self.lab.agent_config["doors"][0]["mode"] = "0640"
        self.lab.save()
        self.lab.agent.signal(signal.SIGHUP)
        self.assertTrue(self.lab.agent.wait("reload").ok)
        self.assertEqual(stat.S_IMODE(os.stat(self.lab.file("a.sock")).st_mode), 0o640)
        self.assertEqual([n for n in os.listdir(self.lab.path) if n.startswith(".")], [])

    def test_the_file_goes_with_its_door_unless_it_is_anothers(self):
        self.lab.agent_config["doors"] = [
            {"type": "http", "listen": "unix:" + self.path},
            {"type": "http", "listen": "unix:" + self.path + "2"},
            {"type": "http", "listen": "unix:" + self.path + "3"}]
        self.lab.start()
        kept = self.open_channel(self.path)
        del self.lab.agent_config["doors"][0]
        self.lab.save()
        self.lab.agent.signal(signal.SIGHUP)
        self.assertTrue(self.lab.agent.wait("reload").ok)
        self.assertFalse(os.path.exists(self.path))
        kept.sendall(b"still")
        self.assertEqual(kept.recv(5), b"still")
        kept.close()
        os.unlink(self.path + "2")
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(self.path + "2")
            self.lab.agent.signal(signal.SIGTERM)
            self.assertEqual(self.lab.agent.wait_exit(), 0)
            self.assertTrue(os.path.exists(self.path + "2"))
        self.assertFalse(os.path.exists(self.path + "3"))

    def test_what_an_agent_that_was_killed_left_is_replaced(self):
        self.lab.agent_config["doors"] = [{"type": "http", "listen": "unix:" + self.path}]
        self.lab.start()
        self.lab.agent.kill()
        self.lab.programs.remove(self.lab.agent)
        self.assertTrue(os.path.exists(self.path))
        self.lab.start_agent()
        self.open_channel(self.path)

    def refused_start(self):
        self.lab.start_gateway()
        self.lab.agent_config["gateways"] = [lab.format_address(self.lab.address)]
        self.lab.save()
        done = lab.run(lab.program("sallyport-agent"), "--config", self.lab.file("agent.json"))
        self.assertNotEqual(done.returncode, 0)
        return done.stderr

    def test_a_socket_at_which_somebody_listens_is_left_alone(self):
        self.lab.agent_config["doors"] = [{"type": "http", "listen": "unix:" + self.path}]
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(self.path)
            other.listen(1)
            said = self.refused_start()
            self.assertIn("$.doors[0].listen: %s: another process listens" % self.path, said)
            with lab.connect(self.path):
                pass  # the first in its queue was the agent's question
        self.assertEqual(os.listdir(self.folder), ["proxy.sock"])

    def test_a_file_that_is_no_socket_is_left_alone(self):
        self.lab.agent_config["doors"] = [{"type": "http", "listen": "unix:" + self.path}]
        with open(self.path, "w", encoding="ascii") as out:
            out.write("precious")
        self.assertIn("no socket", self.refused_start())
        with open(self.path, encoding="ascii") as source:
            self.assertEqual(source.read(), "precious")
        os.unlink(self.path)
        os.symlink("elsewhere", self.path)
        self.lab.gateway.kill()
        self.lab.programs.remove(self.lab.gateway)
        self.assertIn("no socket", self.refused_start())
        self.assertTrue(os.path.islink(self.path))


@unittest.skipUnless(os.geteuid() == 0, "only root can be another user")
class Users(Case):
    def test_at_a_unix_socket_the_user_is_asked_of_the_kernel(self):
        self.lab.agent_config["doors"] = [
            {"type": "http", "listen": "unix:" + self.path, "mode": "0666",
             "allow_users": ["nobody", 1234]},
            {"type": "socks5", "listen": "unix:" + self.path + "2", "mode": "0666",
             "allow_users": ["nobody"]},
            {"type": "forward", "listen": "unix:" + self.path + "3", "mode": "0666",
             "allow_users": ["nobody"], "to": "%s:%d" % self.echo}]
        self.lab.start()
        for uid in (NOBODY, 1234):
            self.assertIsNotNone(self.open_channel(self.path, uid), self.answer)
        for uid in (0, STRANGER):
            mark = self.lab.agent.mark()
            self.assertIsNone(self.open_channel(self.path, uid))
            self.assertTrue(self.answer.startswith(b"HTTP/1.1 403 "), self.answer)
            self.assertIn(b"allow_users", self.answer)
            event = self.channel(mark, uid=uid)
            self.assertEqual((event.how, event.status, event.error),
                             ("refused", 403, "http_request_denied"))
            self.assertIn("uid %d" % uid, event.detail)
            with lab.connect(self.path + "2") as sock:  # still root
                sock.sendall(HELLO + socks_request(self.echo))
                self.assertEqual(read_to_end(sock)[:4], b"\x05\x00\x05\x02")
            with lab.connect(self.path + "3") as sock:
                self.assertEqual(read_to_end(sock), b"")
        with user(NOBODY):
            sock = lab.connect(self.path + "3")
        with sock:
            sock.sendall(b"in")
            self.assertEqual(sock.recv(2), b"in")

    def test_the_mode_keeps_others_out_before_they_are_asked(self):
        self.lab.agent_config["doors"] = [{"type": "http", "listen": "unix:" + self.path}]
        self.lab.start()
        with user(NOBODY), self.assertRaises(PermissionError):
            lab.connect(self.path)

    def test_on_loopback_the_owner_of_the_connecting_socket_is_asked_of_the_kernel(self):
        self.lab.agent_config["doors"] = [
            {"type": "http", "listen": "127.0.0.1:0", "allow_users": ["nobody"]},
            {"type": "http", "listen": "[::1]:0", "allow_users": ["nobody"]},
            {"type": "socks5", "listen": "127.0.0.2:0", "allow_users": ["root", "54321"]}]
        self.lab.start()
        v4, v6, socks = self.lab.doors
        for door in (v4, v6, ("::ffff:127.0.0.1", v4[1])):
            with self.subTest(door):
                self.assertIsNotNone(self.open_channel(door, NOBODY), self.answer)
                mark = self.lab.agent.mark()
                self.assertIsNone(self.open_channel(door, STRANGER))
                self.assertTrue(self.answer.startswith(b"HTTP/1.1 403 "), self.answer)
                self.assertEqual(self.channel(mark, uid=STRANGER).status, 403)
                self.assertIsNone(self.open_channel(door, 0))
        for uid, code in ((STRANGER, 0), (0, 0), (NOBODY, 2)):
            with user(uid):
                sock = lab.connect(socks)
            with sock:
                sock.sendall(HELLO + socks_request(self.echo))
                self.assertEqual(sock.recv(2, socket.MSG_WAITALL), b"\x05\x00")
                self.assertEqual(sock.recv(10, socket.MSG_WAITALL)[1], code)
        self.assertEqual(self.channel(door="socks5", status=403).detail,
                         "this door is not for the user with uid 65534 (allow_users)")

    def test_curl_of_another_user(self):
        nginx = origin.Nginx(self.lab.pki)
        self.addCleanup(nginx.close)
        self.lab.agent_config["doors"] = [
            {"type": "http", "listen": "127.0.0.1:0", "allow_users": ["nobody"]}]
        self.lab.start()
        for prefix, good in ((["setpriv", "--reuid=65534", "--clear-groups"], True), ([], False)):
            done = lab.run(*prefix, "curl", "--silent", "--show-error", "--insecure", "--proxy",
                           "http://%s:%d" % self.lab.doors[0],
                           "https://127.0.0.1:%d/hello" % nginx.https[1])
            self.assertEqual(done.stdout == "hello from the origin\n", good, done.stderr)
        self.assertIn("403", done.stderr)

    def test_a_connection_whose_process_has_closed_it_is_nobodys(self):
        """The kernel says 0 of it, which is not root."""
        self.lab.agent_config["doors"] = [
            {"type": "http", "listen": "127.0.0.1:0", "allow_users": ["root"]}]
        self.lab.start()
        self.lab.agent.signal(signal.SIGSTOP)
        with user(NOBODY):
            sock = lab.connect(self.lab.doors[0])
        sock.sendall(self.connect_head())
        sock.close()
        self.lab.agent.signal(signal.SIGCONT)
        event = self.channel(how="refused")
        self.assertEqual(event.status, 403)
        self.assertNotIn("uid", event)
        self.assertIn("cannot be told", event.detail)

    def test_strangers_take_no_place_from_those_who_may_come_in(self):
        self.lab.agent_config["limits"] = {"connections": 2}
        self.lab.agent_config["doors"] = [
            {"type": "http", "listen": "127.0.0.1:0", "allow_users": ["nobody"]}]
        self.lab.start()
        crowd = []

        def more():  # each waits a second to be told
            crowd.extend(lab.connect(self.lab.doors[0]) for _ in range(100))
            return self.lab.agent.all("limit")
        lab.until(more, what="too many of them")
        self.assertIsNotNone(self.open_channel(self.lab.doors[0], NOBODY), self.answer)
        self.assertIn("turned away unheard", self.lab.agent.wait("limit").message)
        self.assertLess(len(self.lab.agent.all("limit")), 20)
        for sock in crowd:
            sock.close()

    def test_a_reload_takes_the_users_as_they_are_now(self):
        doors = self.lab.agent_config["doors"] = [{"type": "http", "listen": "127.0.0.1:0"}]
        self.lab.start()
        door = self.lab.doors[0]
        self.assertIsNotNone(self.open_channel(door, STRANGER))
        for allowed, good in ((["nobody"], False), (["54321"], True)):
            mark = self.lab.agent.mark()
            doors[0]["allow_users"] = allowed
            self.lab.save()
            self.lab.agent.signal(signal.SIGHUP)
            self.assertTrue(self.lab.agent.wait("reload", since=mark).ok)
            self.assertEqual(self.open_channel(door, STRANGER) is not None, good)


class Mistakes(Case):
    def test_each_is_found_by_check_and_named(self):
        http = {"type": "http"}
        for door, path, text in (
                ({"listen": "unix:"}, "listen", "names no file"),
                ({"listen": "unix:/run/"}, "listen", "names no file"),
                ({"listen": "unix:/" + "x" * 107}, "listen", "longer than the 107 bytes"),
                ({"listen": "unix:/x", "mode": "rw"}, "mode", "wanted: octal digits, as in 0660"),
                ({"listen": "unix:/x", "mode": "7777"}, "mode", "is not the mode of a file"),
                ({"listen": "127.0.0.1:0", "mode": "0600"}, "mode", "unix:"),
                ({"listen": "0.0.0.0:0", "allow_users": ["root"]}, "allow_users", "loopback"),
                ({"listen": "[::]:0", "allow_users": ["root"]}, "allow_users", "loopback"),
                ({"listen": "unix:/x", "allow_users": ["root", "no such"]}, "allow_users[1]",
                 "\"no such\" is no user of this machine"),
                ({"listen": "unix:/x", "allow_users": ["4294967295"]}, "allow_users[0]", "is no user"),
                ({"listen": "unix:/x", "allow_users": []}, "allow_users", "")):
            with self.subTest(door):
                self.lab.agent_config["doors"] = [http | door]
                self.lab.agent_config["gateways"] = ["127.0.0.1:1"]
                self.lab.save()
                done = lab.run(lab.program("sallyport-agent"), "--check", "--config",
                               self.lab.file("agent.json"))
                self.assertEqual(done.returncode, 2)
                self.assertIn("$.doors[0]." + path, done.stderr)
                self.assertIn(text, done.stderr)

    def test_two_doors_at_one_socket(self):
        self.lab.agent_config["doors"] = [{"type": "http", "listen": "unix:x"},
                                          {"type": "socks5", "listen": "unix:x"}]
        self.lab.save()
        done = lab.run(lab.program("sallyport-agent"), "--check", "--config",
                       self.lab.file("agent.json"))
        self.assertIn("$.doors[1].listen: \"unix:x\" is already that of $.doors[0]", done.stderr)

    def test_a_socket_for_everybody_is_warned_of(self):
        self.lab.agent_config["doors"] = [{"type": "http", "listen": "unix:x", "mode": "0666"}]
        self.lab.save()
        done = lab.run(lab.program("sallyport-agent"), "--check", "--config",
                       self.lab.file("agent.json"))
        self.assertIn("$.doors[0].mode: warning: every user", done.stdout)


if __name__ == "__main__":
    lab.main()
