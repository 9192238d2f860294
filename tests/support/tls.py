"""tls: TLS clients for tests: Python's ssl (OpenSSL), and ClientHellos built byte by byte.

What a server answered is a word: "ok", or the name of its alert as RFC 8446 section 6 has it.
"""

import os
import re
import select
import socket
import ssl
import struct
import time
import warnings

import lab

# OpenSSL's words for alerts, as they stand in its error reasons.
_ALERTS = {
    "TLSV1_UNRECOGNIZED_NAME": "unrecognized_name",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "certificate_required",
    "TLSV13_ALERT_MISSING_EXTENSION": "missing_extension",
    "TLSV1_ALERT_UNKNOWN_CA": "unknown_ca",
    "TLSV1_ALERT_ACCESS_DENIED": "access_denied",
    "TLSV1_ALERT_PROTOCOL_VERSION": "protocol_version",
    "TLSV1_ALERT_NO_APPLICATION_PROTOCOL": "no_application_protocol",
    "TLSV1_ALERT_DECODE_ERROR": "decode_error",
    "TLSV1_ALERT_INTERNAL_ERROR": "internal_error",
    "SSLV3_ALERT_BAD_CERTIFICATE": "bad_certificate",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "unsupported_certificate",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "certificate_revoked",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "certificate_expired",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "certificate_unknown",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "handshake_failure",
    "SSLV3_ALERT_ILLEGAL_PARAMETER": "illegal_parameter",
}
ALERT_NUMBERS = {
    0: "close_notify", 10: "unexpected_message", 20: "bad_record_mac", 22: "record_overflow",
    40: "handshake_failure", 42: "bad_certificate", 43: "unsupported_certificate",
    44: "certificate_revoked", 45: "certificate_expired", 46: "certificate_unknown",
    47: "illegal_parameter", 48: "unknown_ca", 49: "access_denied", 50: "decode_error",
    51: "decrypt_error", 70: "protocol_version", 71: "insufficient_security",
    80: "internal_error", 86: "inappropriate_fallback", 90: "user_canceled",
    109: "missing_extension", 110: "unsupported_extension", 112: "unrecognized_name",
    116: "certificate_required", 120: "no_application_protocol",
}


def context(cert=None, alpn=("http/1.1",), version=None, chain=True):
    """A client that judges nothing itself and sends what it is told to send."""
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ctx.check_hostname = False
    ctx.verify_mode = ssl.CERT_NONE
    ctx.set_ciphers("DEFAULT:@SECLEVEL=0")
    if version:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            ctx.minimum_version = ctx.maximum_version = version
    if alpn:
        ctx.set_alpn_protocols(list(alpn))
    if cert:
        ctx.load_cert_chain(cert.chain if chain else cert.pem, cert.key)
    return ctx


def alert_of(error):
    """The alert's name that an ssl.SSLError stands for."""
    reason = getattr(error, "reason", None) or str(error)
    if reason in _ALERTS:
        return _ALERTS[reason]
    number = re.search(r"ALERT[^0-9]*(\d+)", reason)
    return ALERT_NUMBERS.get(int(number.group(1)), reason) if number else reason


class Client:
    """An open TLS connection to the gateway; the peer's verdict may still be under way (TLS 1.3)."""

    def __init__(self, address, name, ctx, session=None, timeout=10, raw=None):
        raw = raw or lab.connect(address, timeout)
        try:
            self.sock = ctx.wrap_socket(raw, server_hostname=name, session=session)
        except Exception:
            raw.close()
            raise

    def send(self, data):
        self.sock.sendall(data)

    def recv(self, limit=65536):
        return self.sock.recv(limit)

    def head(self):
        """An HTTP/1.1 answer's head as text, and what came after it."""
        data = b""
        while b"\r\n\r\n" not in data:
            more = self.recv()
            if not more:
                raise AssertionError("the connection ended in the head: %r" % data)
            data += more
        head, rest = data.split(b"\r\n\r\n", 1)
        return head.decode("latin-1"), rest

    def connect(self, target):
        """CONNECT; the status and the whole head."""
        self.send(b"CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (target.encode(), target.encode()))
        head, rest = self.head()
        self.rest = rest
        return int(head.split()[1]), head

    def exchange(self, data, timeout=30):
        """Sends data and reads as many bytes at the same time. In one thread: Python's SSL sockets
        are not safe in two (a read can then end without data)."""
        sent, got, deadline = 0, b"", time.monotonic() + timeout
        self.sock.setblocking(False)
        while len(got) < len(data) and time.monotonic() < deadline:
            moved = False
            try:
                if sent < len(data):
                    sent += self.sock.send(data[sent:sent + 65536])
                    moved = True
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                pass
            try:
                more = self.sock.recv(65536)
                if not more:
                    break
                got += more
                moved = True
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                pass
            if not moved:
                select.select([self.sock], [self.sock] if sent < len(data) else [], [], 1)
        return got

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


# A request that a gateway which accepted us answers at once (405: only CONNECT is served), so that
# a client learns the verdict without a channel.
PROBE = b"OPTIONS * HTTP/1.1\r\nHost: probe\r\n\r\n"


def ask(address, name, ctx):
    """verdict(), and our own address as the gateway's log writes it."""
    raw = lab.connect(address)
    peer = lab.format_address(raw.getsockname())
    try:
        with Client(address, name, ctx, raw=raw) as client:
            client.send(PROBE)
            data = client.recv()
            return "ok" if data.startswith(b"HTTP/1.1 ") else "closed", peer
    except ssl.SSLError as error:
        return alert_of(error), peer
    except ConnectionResetError:
        return "reset", peer


def verdict(address, name, ctx):
    """"ok" when the gateway lets this client speak, otherwise the name of its alert."""
    return ask(address, name, ctx)[0]


def served_certificate(address, name, ctx):
    """The DER of the leaf that is served under a name."""
    raw = lab.connect(address)
    with raw, ctx.wrap_socket(raw, server_hostname=name) as sock:
        return sock.getpeercert(True)


# ---- ClientHellos by hand ----

def _vector(size, data):
    return len(data).to_bytes(size, "big") + data


def extension(number, body):
    return struct.pack(">H", number) + _vector(2, body)


def sni(*entries):
    """server_name with these (type, bytes) entries."""
    return extension(0, _vector(2, b"".join(bytes([t]) + _vector(2, n) for t, n in entries)))


def host_name(name):
    return sni((0, name if isinstance(name, bytes) else name.encode()))


KEY_SHARE_X25519 = extension(51, _vector(2, struct.pack(">H", 29) + _vector(2, os.urandom(32))))
KEY_SHARE_NONE = extension(51, _vector(2, b""))  # Makes the server ask again: HelloRetryRequest


def client_hello(server_name, key_share=KEY_SHARE_X25519, random=None, more=b"", session_id=None):
    """A TLS 1.3 ClientHello record; server_name: the whole extension as bytes, b"" for none."""
    extensions = (server_name
                  + extension(10, _vector(2, struct.pack(">H", 29)))                # x25519
                  + extension(13, _vector(2, struct.pack(">HHH", 0x0403, 0x0804, 0x0401)))
                  + extension(43, _vector(1, struct.pack(">H", 0x0304)))            # TLS 1.3
                  + extension(45, _vector(1, b"\1"))
                  + extension(16, _vector(2, _vector(1, b"http/1.1")))
                  + key_share + more)
    body = (struct.pack(">H", 0x0303) + (random or os.urandom(32))
            + _vector(1, os.urandom(32) if session_id is None else session_id)
            + _vector(2, struct.pack(">HH", 0x1301, 0x1302)) + _vector(1, b"\0")
            + _vector(2, extensions))
    return b"\x16\x03\x01" + _vector(2, b"\x01" + _vector(3, body))


def read_record(sock):
    """(type, body) of the next record; (None, b"") at the end or at a reset."""
    def exactly(count):
        data = b""
        while len(data) < count:
            more = sock.recv(count - len(data))
            if not more:
                raise EOFError
            data += more
        return data
    try:
        head = exactly(5)
        return head[0], exactly(int.from_bytes(head[3:5], "big"))
    except (EOFError, ConnectionResetError):
        return None, b""


def answer_to(sock):
    """What the server says next: "server_hello", "hello_retry", an alert's name, or "closed"."""
    kind, body = read_record(sock)
    if kind == 20:  # change_cipher_spec of the compatibility mode
        kind, body = read_record(sock)
    if kind is None:
        return "closed"
    if kind == 21:
        return ALERT_NUMBERS.get(body[1], str(body[1]))
    if kind == 22 and body[0] == 2:
        retry = bytes.fromhex("CF21AD74E59A6111BE1D8C021E65B891C2A211167ABB8C5E079E09E2C8A8339C")
        return "hello_retry" if body[6:38] == retry else "server_hello"
    return "record %d" % kind


def answer_to_hello(address, hello):
    with lab.connect(address) as sock:
        sock.sendall(hello)
        return answer_to(sock)


def read_to_end(sock):
    """All that comes until the end; says whether it was an orderly one."""
    data = b""
    try:
        while more := sock.recv(65536):
            data += more
        return data, "end"
    except ConnectionResetError:
        return data, "reset"
    except socket.timeout:
        return data, "timeout"
    except ssl.SSLError as error:
        return data, alert_of(error)
