"""resign: an OCSP response with other times, signed again: openssl ocsp counts in minutes, tests in
seconds."""

import re
import subprocess
import tempfile
import time

_TIMES = re.compile(rb"\x18\x0f\d{14}Z\xa0\x11\x18\x0f\d{14}Z")  # thisUpdate, nextUpdate


def _element(data, at=0):
    """Where the content begins and ends."""
    length, begin = data[at + 1], at + 2
    if length & 0x80:
        begin += length & 0x7F
        length = int.from_bytes(data[at + 2:begin], "big")
    return begin, begin + length


def _children(data):
    """The elements in an element's content."""
    found, at = [], 0
    while at < len(data):
        end = _element(data, at)[1]
        found.append(data[at:end])
        at = end
    return found


def _content(element):
    return element[slice(*_element(element))]


def _wrap(tag, content):
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    text = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(text)]) + text + content


def _time(when):
    return b"\x18\x0f" + time.strftime("%Y%m%d%H%M%SZ", time.gmtime(when)).encode()


def _sign(data, key):
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        return subprocess.run(["openssl", "dgst", "-sha256", "-sign", key, file.name], check=True,
                              capture_output=True).stdout


def resign(response, key, begin, end):
    """The same from `begin` to `end`, both in seconds from now."""
    now = time.time()
    status, outer = _children(_content(response))
    kind, octets = _children(_content(_content(outer)))
    tbs, algorithm, _, *certs = _children(_content(_content(octets)))
    tbs = _TIMES.sub(_time(now + begin) + b"\xa0\x11" + _time(now + end), tbs)
    signature = _wrap(0x03, b"\0" + _sign(tbs, key))
    basic = _wrap(0x30, b"".join([tbs, algorithm, signature, *certs]))
    return _wrap(0x30, status + _wrap(0xA0, _wrap(0x30, kind + _wrap(0x04, basic))))
