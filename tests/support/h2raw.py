"""h2raw: HTTP/2 frames by hand over a TLS connection, for requests that no honest client sends.

Header fields go out as literals without Huffman; of answers only :status is read.
"""

import struct

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# Static table entries of HPACK (RFC 7541 appendix A) that are whole :status fields.
_STATUS = {8: 200, 9: 204, 10: 206, 11: 304, 12: 400, 13: 404, 14: 500}
_DIGITS = {"00000": "0", "00001": "1", "00010": "2", "011001": "3", "011010": "4",
           "011011": "5", "011100": "6", "011101": "7", "011110": "8", "011111": "9"}


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + \
        struct.pack(">I", stream) + payload


def _string(text):
    data = text if isinstance(text, bytes) else text.encode()
    if len(data) < 127:
        return bytes([len(data)]) + data
    rest, out = len(data) - 127, b"\x7f"
    while rest >= 128:
        out += bytes([rest % 128 + 128])
        rest //= 128
    return out + bytes([rest]) + data


def fields(*pairs):
    """A header block of (name, value) pairs, in this order."""
    return b"".join(b"\0" + _string(name) + _string(value) for name, value in pairs)


def connect_fields(target):
    return fields((":method", "CONNECT"), (":authority", target))


def _huffman_digits(data):
    bits = "".join("{:08b}".format(b) for b in data)
    text = ""
    while len(text) < 3:
        for length in (5, 6):
            if bits[:length] in _DIGITS:
                text += _DIGITS[bits[:length]]
                bits = bits[length:]
                break
        else:
            raise ValueError("not digits: " + bits)
    return text


def status_of(block):
    """The :status, which comes first."""
    while block[0] & 0xE0 == 0x20:  # a change of the table's size
        block = block[1:]
    first = block[0]
    if first & 0x80:
        return _STATUS[first & 0x7F]
    if first & 0x3F in range(8, 15) or first & 0x0F in range(8, 15):
        length, value = block[1] & 0x7F, block[2:]
        return int(_huffman_digits(value[:length]) if block[1] & 0x80 else value[:length])
    raise ValueError("no :status first in %r" % block[:8])


class Connection:
    """The frames of one connection; `client` is a tls.Client with ALPN h2."""

    def __init__(self, client, settings=b""):
        self.client = client
        self.buffer = b""
        client.send(PREFACE + frame(SETTINGS, 0, 0, settings))

    def send(self, *frames):
        self.client.send(b"".join(frames))

    def next(self):
        """(kind, flags, stream, payload); None at the end of the connection."""
        while True:
            if len(self.buffer) >= 9:
                length = int.from_bytes(self.buffer[:3], "big")
                if len(self.buffer) >= 9 + length:
                    head, payload = self.buffer[3:9], self.buffer[9:9 + length]
                    self.buffer = self.buffer[9 + length:]
                    stream = struct.unpack(">I", head[2:])[0] & 0x7FFFFFFF
                    if head[0] == SETTINGS and not head[1] & ACK:
                        self.send(frame(SETTINGS, ACK, 0))
                    return head[0], head[1], stream, payload
            more = self.client.recv()
            if not more:
                return None
            self.buffer += more

    def wait(self, kind, stream=None):
        """The next frame of that kind (and stream); AssertionError when there is none."""
        while found := self.next():
            if found[0] == kind and (stream is None or found[2] == stream):
                return found
        raise AssertionError("the connection ended before a frame of type %d" % kind)

    def answer(self, stream):
        """What came of a request: its status, or "reset CODE", or "goaway CODE", or "closed"."""
        while found := self.next():
            if found[0] == HEADERS and found[2] == stream:
                return status_of(found[3])
            if found[0] == RST_STREAM and found[2] == stream:
                return "reset %d" % struct.unpack(">I", found[3])[0]
            if found[0] == GOAWAY:
                return "goaway %d" % struct.unpack(">I", found[3][4:8])[0]
        return "closed"
