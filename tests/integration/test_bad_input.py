"""What is wrong with a request is refused cleanly at every door that reads one, over TCP and at a
UNIX socket: an answer in the door's protocol, one line in the log, nothing passed on.

(Requests for http:// URLs and their bodies: test_doors.py, Smuggling.)
"""

import contextlib
import os
import socket
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import lab
import origin

HELLO = b"\x05\x01\x00"
LABEL = b"a" * 63


def read_to_end(sock):
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while more := sock.recv(65536):
            data += more
    return data


class Case(lab.LabCase):
    def setUp(self):
        super().setUp()
        self.origin = origin.Origin()
        self.addCleanup(self.origin.close)
        self.connections = 0
        self.port = self.origin.start(self._serve)[1]
        self.lab.agent_config["doors"] = [
            {"type": kind, "listen": listen % kind}
            for kind in ("http", "socks5", "mixed") for listen in ("127.0.0.1:0%.0s", "unix:%s")]
        self.lab.agent_config["log"]["level"] = "info"
        self.lab.start()
        self.by_kind = dict(zip(("http", "socks5", "mixed"), zip(*[iter(self.lab.doors)] * 2)))

    async def _serve(self, reader, _writer):
        self.connections += 1
        await reader.read(-1)

    def doors_for(self, kind):
        return self.by_kind[kind] + self.by_kind["mixed"]

    def check(self, door, sent):
        """The answer; there is one line in the log."""
        mark = self.lab.agent.mark()
        with lab.connect(door) as sock:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                sock.sendall(sent)
            answer = read_to_end(sock)
        event = self.lab.agent.wait("channel", since=mark)
        self.assertEqual(event.how, "refused")
        self.assertNotIn("destination", event)
        self.assertTrue(event.detail)
        return answer

    def nothing_passed(self):
        self.assertEqual(self.connections, 0)
        self.assertEqual(self.lab.gateway.all("channel"), [])


class Connect(Case):
    def test_each_doubtful_connect_is_refused_at_each_door(self):
        good = b"127.0.0.1:%d" % self.port
        line = b"CONNECT %s HTTP/1.1\r\n" % good
        host = b"Host: %s\r\n" % good
        table = [
            (line + host + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello", 400),
            (line + host + b"Content-Length: 5\r\n\r\nhello", 400),
            (line + host + b"Content-Length: 0\r\n\r\n", 400),
            (line + host + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
            (line + host + b"X: a\r\n folded\r\n\r\n", 400),
            (line + host + b"\tfolded: a\r\n\r\n", 400),
            (line + host + b"X : a\r\n\r\n", 400),
            (line + host + b"X: a\nY: b\r\n\r\n", 400),
            (line + host + b"X: a\rY: b\r\n\r\n", 400),
            (line.replace(b"\r", b"") + host + b"\r\n", 400),
            (line + host + b"X: a\0b\r\n\r\n", 400),
            (line + host + b"X\0: a\r\n\r\n", 400),
            (line + host + host + b"\r\n", 400),
            (line + b"\r\n", 400),
            (line + b"Host: other.example:1\r\n\r\n", 400),
            (line + host + b"X: " + b"a" * 66000 + b"\r\n\r\n", 431),
            (line + host + b"".join(b"X%d: a\r\n" % i for i in range(9000)) + b"\r\n", 431),
            (b"CONNECT " + b"a" * 66000, 414),
            (line.replace(b"1.1", b"1.2") + host + b"\r\n", 505),
            (line.replace(b"1.1", b"2.0") + host + b"\r\n", 505),
            (b"\r\n" * 3 + b" " + line + host + b"\r\n", 400),
            (b"connect" + line[7:] + host + b"\r\n", 0)]
        for target in (b"127.0.0.1:0", b"127.0.0.1:65536", b"127.0.0.1:99999999999", b"127.0.0.1:",
                       b"127.0.0.1", b"127.0.0.1:-1", b"127.0.0.1:+80", b"127.0.0.1:080x",
                       b"127.0.0.1: 80", b"[fe80::1%25lo]:80", b"[fe80::1%lo]:80", b"[::1%1]:80",
                       b"fe80::1%lo:80", b"::1:80", b"[::1:80", b"[]:80", b":80", b"a..b:80",
                       b".:80", b"-a\0.example:80", b"a\0.example:80", b"127.1:80", b"0x7f.1:80",
                       b"2130706433:80", b"0177.0.0.1:80", LABEL + b"a.example:80",
                       b".".join([LABEL] * 3 + [b"a" * 62]) + b":80",  # 254 bytes
                       b"a." * 200 + b"example:80", b"user@127.0.0.1:80", b"127.0.0.1:80/",
                       b"http://127.0.0.1:80", b"caf\xc3\xa9.example:80"):
            table.append((b"CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (target, target), 400))
        for door in self.doors_for("http"):
            for request, status in table:
                with self.subTest(door=door, request=request[:100]):
                    answer = self.check(door, request)
                    if not status:
                        self.assertRegex(answer, b"^HTTP/1.1 4")
                        continue
                    self.assertTrue(answer.startswith(b"HTTP/1.1 %d " % status), answer[:200])
                    self.assertEqual(answer.count(b"\nContent-Length: "), 1, answer)
                    self.assertIn(b"Proxy-Status: sallyport-agent; error=http_request_error",
                                  answer)
        self.nothing_passed()

    def test_the_longest_name_is_no_mistake(self):
        name = b".".join([LABEL] * 3 + [b"a" * 61])
        self.assertEqual(len(name), 253)
        for door in self.doors_for("http"):
            with lab.connect(door) as sock:
                sock.sendall(b"CONNECT %s:80 HTTP/1.1\r\nHost: %s:80\r\n\r\n" % (name, name))
                self.assertRegex(read_to_end(sock), b"^HTTP/1.1 (403|502|504) ")
        self.assertEqual(self.lab.gateway.wait("channel").destination, name.decode() + ":80")


class Socks(Case):
    def request(self, kind, address, port, command=1):
        return bytes([5, command, 0, kind]) + address + struct.pack(">H", port)

    def name(self, name, port=80):
        return self.request(3, bytes([len(name)]) + name, port)

    def test_each_doubtful_request_is_refused_at_each_door(self):
        local = socket.inet_aton("127.0.0.1")
        good = self.request(1, local, self.port)
        table = [(self.request(1, local, 0), 1),
                 (self.request(4, bytes(15) + b"\1", 0), 1),
                 (self.request(1, local, self.port, 2), 7),
                 (self.request(1, local, self.port, 3), 7),
                 (self.request(1, local, self.port, 0), 7),
                 (self.request(9, local, self.port), 8),
                 (b"\x04" + good[1:], 1), (good[:2] + b"\x01" + good[3:], 1),
                 (self.name(b".".join([LABEL] * 3 + [b"a" * 62])), 1),  # 254 bytes
                 (self.name(b"a" * 255), 1)]
        for name in (b"", b"a\0b.example", b"\0", b"a..b", b"a b", b"a\r\nb.example", b"127.1",
                     b"0x7f.1", b"2130706433", b"fe80::1%lo", b"[::1]", b"::1%1", b"[fe80::1%25lo]",
                     b"user@a.example", b"a.example:80", b"caf\xc3\xa9.example", LABEL + b"a.example",
                     b"a.example/", b"*"):
            table.append((self.name(name), 1))
        table.append((self.name(b"a.example", 0), 1))
        for door in self.doors_for("socks5"):
            for request, code in table:
                with self.subTest(door=door, request=request[:100]):
                    self.assertEqual(self.check(door, HELLO + request + b"and more"),
                                     b"\x05\x00\x05%c\x00\x01" % code + bytes(6))
        self.nothing_passed()

    def test_each_doubtful_greeting_is_refused_at_each_door(self):
        good = self.request(1, socket.inet_aton("127.0.0.1"), self.port)
        for door in self.doors_for("socks5"):
            for greeting, answer in ((b"\x05\x00", b"\x05\xff"), (b"\x05\x01\x02", b"\x05\xff"),
                                     (b"\x05\x02\x01\x80", b"\x05\xff"),
                                     (b"\x05\xff" + b"\x01" * 255, b"\x05\xff"),
                                     (b"\x04\x01", b"\x00\x5b" + bytes(6))):
                with self.subTest(door=door, greeting=greeting[:10]):
                    self.assertEqual(self.check(door, greeting + good), answer)
        self.nothing_passed()


if __name__ == "__main__":
    lab.main()
