"""ocsp_der: OCSP responses byte by byte, for what `openssl ocsp` would never say."""
import calendar
import hashlib
import os
import subprocess
import tempfile
import time

GOOD, UNKNOWN = b"\x80\x00", b"\x82\x00"
_OCSP_BASIC = bytes.fromhex("06092b0601050507300101")
_ECDSA_SHA256 = bytes.fromhex("06082a8648ce3d040302")


def tlv(tag, *parts):
    body = b"".join(parts)
    if len(body) < 128:
        return bytes([tag, len(body)]) + body
    size = (len(body).bit_length() + 7) // 8
    return bytes([tag, 128 + size]) + len(body).to_bytes(size, "big") + body


def _read(der):
    """(tag, the whole element, its content, what follows it)."""
    size, at = der[1], 2
    if size >= 128:
        at += size - 128
        size = int.from_bytes(der[2:at], "big")
    return der[0], der[:at + size], der[at:at + size], der[at + size:]


def _time(when):
    return tlv(0x18, time.strftime("%Y%m%d%H%M%SZ", time.gmtime(when)).encode())


def revoked(when):
    return tlv(0xa1, _time(when))


def question(request):
    """The CertID that is asked about, and the request's extensions (the nonce) or b""."""
    tbs = _read(_read(request)[2])[2]
    _, _, listed, rest = _read(tbs)
    cert_id = _read(_read(listed)[2])[1]
    extensions = _read(rest)[2] if rest and rest[0] == 0xa2 else b""
    return cert_id, extensions


def other_serial(cert_id):
    return cert_id[:-1] + bytes([cert_id[-1] ^ 1])


def entry(cert_id, status=GOOD, begin=-10, end=600, now=None):
    """A SingleResponse; begin and end: seconds from now; end None: no nextUpdate."""
    now = calendar.timegm(time.gmtime()) if now is None else now
    more = tlv(0xa0, _time(now + end)) if end is not None else b""
    return tlv(0x30, cert_id, status, _time(now + begin), more)


def response(signer, entries, extensions=b""):
    """Signed by a mint.Cert with an EC key of P-256."""
    public = subprocess.run("openssl x509 -in '%s' -noout -pubkey | openssl pkey -pubin -outform DER"
                            % signer.pem, shell=True, check=True, capture_output=True).stdout[-65:]
    responder = tlv(0xa2, tlv(0x04, hashlib.sha1(public).digest()))
    tbs = tlv(0x30, responder, _time(time.time()), tlv(0x30, *entries),
              tlv(0xa1, extensions) if extensions else b"")
    with tempfile.NamedTemporaryFile(delete=False) as file:
        file.write(tbs)
    signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", signer.key, file.name],
                               check=True, capture_output=True).stdout
    os.unlink(file.name)
    basic = tlv(0x30, tbs, tlv(0x30, _ECDSA_SHA256), tlv(0x03, b"\0", signature))
    return tlv(0x30, b"\x0a\x01\x00", tlv(0xa0, tlv(0x30, _OCSP_BASIC, tlv(0x04, basic))))
