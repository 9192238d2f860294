"""dns: a small DNS server for tests: answers A and AAAA from a table, on UDP, loopback, port 0."""

import ipaddress
import socket
import struct
import threading


class Server:
    """names: {"name": ["address", ...]}; an unknown name is NXDOMAIN, an empty list no data.

    asked counts the questions, so that a test can tell how often a name was looked up.
    """

    def __init__(self, names, port=0, sock=None):
        """sock: a UDP socket to be used, perhaps one of another network namespace."""
        self.names = {name.lower(): list(addresses) for name, addresses in names.items()}
        self.asked = []
        self.silent = set()  # names that get no answer at all
        self.failing = set()  # names that get SERVFAIL
        self.sock = sock or socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        if not sock:
            self.sock.bind(("127.0.0.1", port))
        self.address = "127.0.0.1:%d" % self.sock.getsockname()[1]
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while True:
            try:
                query, peer = self.sock.recvfrom(4096)
            except OSError:
                return
            if not query:
                return
            answer = self._answer(query)
            if answer:
                self.sock.sendto(answer, peer)

    def _answer(self, query):
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode("ascii", "replace").lower())
            at += 1 + query[at]
        end = at + 5
        kind = struct.unpack(">H", query[at + 1:at + 3])[0]
        name = ".".join(labels)
        self.asked.append((name, {1: "A", 28: "AAAA"}.get(kind, str(kind))))
        if name in self.silent:
            return None
        if name in self.failing:
            return query[:2] + struct.pack(">HHHHH", 0x8182, 1, 0, 0, 0) + query[12:end]
        known = name in self.names
        records = b""
        count = 0
        for text in self.names.get(name, []):
            address = ipaddress.ip_address(text)
            if (kind, address.version) in ((1, 4), (28, 6)):
                packed = address.packed
                records += struct.pack(">HHHIH", 0xC00C, kind, 1, 0, len(packed)) + packed
                count += 1
        flags = 0x8180 | (0 if known else 3)
        return (query[:2] + struct.pack(">HHHHH", flags, 1, count, 0, 0) + query[12:end]
                + records)

    def close(self):
        # An end of reading wakes the thread, which then sees that it is over.
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # not connected, but woken all the same
        self.thread.join(5)
        self.sock.close()
