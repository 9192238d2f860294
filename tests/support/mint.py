"""mint: certificates for tests, made with the openssl command when a test runs.

The laboratory's own certificates come from `sallyport-certs`; these come from somebody else's
code on purpose, and may be wrong in any way a test asks for.  Nothing here is ever checked in.
"""

import os
import shutil
import subprocess
import time

HOUR = 3600
DAY = 24 * HOUR


def _asn1_time(seconds):
    return time.strftime("%Y%m%d%H%M%SZ", time.gmtime(seconds))


def _openssl(*args, stdin=None):
    done = subprocess.run(["openssl", *args], input=stdin, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, check=False)
    if done.returncode != 0:
        raise RuntimeError("openssl %s: %s" % (" ".join(args), done.stderr.decode()))
    return done.stdout


class Cert:
    """A certificate with its key: paths of PEM files, and the certificate that issued it."""

    def __init__(self, pem, key, issuer, chain):
        self.pem = pem        # the certificate alone
        self.key = key        # its private key, mode 0600
        self.issuer = issuer  # a Cert; None: self-signed
        self.chain = chain    # the certificate and what is above it, without the root

    def der(self):
        return _openssl("x509", "-in", self.pem, "-outform", "DER")

    def field(self, option):
        """'serial', 'fingerprint' and the like, as openssl prints them after the '='."""
        text = _openssl("x509", "-in", self.pem, "-noout", "-" + option, "-sha256").decode()
        return text.strip().split("=", 1)[1]

    def fingerprint(self):
        """As Sallyport's log writes it."""
        return "sha256:" + self.field("fingerprint").replace(":", "").lower()


class Pki:
    """Makes certificates into one folder."""

    def __init__(self, folder):
        self.folder = folder
        os.makedirs(folder, exist_ok=True)
        self.count = 0

    def ca(self, name, issuer=None, path_len=None, permitted_dns=None, **more):
        constraints = "critical,CA:TRUE"
        if path_len is not None:
            constraints += ",pathlen:%d" % path_len
        extensions = ["basicConstraints=" + constraints,
                      "keyUsage=critical,keyCertSign,cRLSign",
                      "subjectKeyIdentifier=hash"]
        if issuer:
            extensions.append("authorityKeyIdentifier=keyid")
        if permitted_dns:
            extensions.append("nameConstraints=critical,permitted;DNS:" + permitted_dns)
        return self._sign("/CN=" + name, extensions, issuer, **more)

    def leaf(self, name, issuer, eku="clientAuth", dns=(), ips=(), subject=None, extra=(),
             ocsp_uri=None, **more):
        """extra: more extensions, as openssl's configuration writes them."""
        extensions = ["basicConstraints=CA:FALSE", "keyUsage=critical,digitalSignature",
                      "subjectKeyIdentifier=hash"]
        if issuer:
            extensions.append("authorityKeyIdentifier=keyid")
        if eku:
            extensions.append("extendedKeyUsage=" + eku)
        names = ["DNS:" + d for d in dns] + ["IP:" + i for i in ips]
        if names:
            extensions.append("subjectAltName=" + ",".join(names))
        extensions += extra
        if ocsp_uri:
            extensions.append("authorityInfoAccess=OCSP;URI:" + ocsp_uri)
        return self._sign(subject or "/CN=" + name, extensions, issuer, **more)

    def broken_signature(self, cert):
        """The same certificate with one bit of its signature turned over."""
        der = bytearray(cert.der())
        der[-1] ^= 1
        pem = self._path("broken.pem")
        with open(pem, "wb") as out:
            out.write(_openssl("x509", "-inform", "DER", stdin=bytes(der)))
        return Cert(pem, cert.key, cert.issuer, self._bundle("broken-chain.pem", pem, cert.issuer))

    def bundle(self, name, *certs):
        """One PEM file with these certificates, in this order."""
        path = self._path(name)
        with open(path, "wb") as out:
            for cert in certs:
                with open(cert.pem, "rb") as one:
                    out.write(one.read())
        return path

    def _path(self, name):
        self.count += 1
        return os.path.join(self.folder, "%03d-%s" % (self.count, name))

    def _bundle(self, name, pem, issuer):
        path = self._path(name)
        with open(path, "wb") as out:
            with open(pem, "rb") as one:
                out.write(one.read())
            while issuer and issuer.issuer:
                with open(issuer.pem, "rb") as one:
                    out.write(one.read())
                issuer = issuer.issuer
        return path

    def _sign(self, subject, extensions, issuer, key="ec", md="sha256", not_before=None,
              not_after=None, reuse=None):
        now = time.time()
        not_before = now - HOUR if not_before is None else not_before
        not_after = now + 30 * DAY if not_after is None else not_after
        stem = "".join(c if c.isalnum() else "-" for c in subject.split("CN=")[-1])[:40]
        work = self._path(stem + ".work")
        os.mkdir(work)
        key_path = self._path(stem + ".key")
        kind = (["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"] if key == "ec" else
                ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:" + key.split(":")[1]])
        if reuse:  # the private key of another one, as after a renewal
            shutil.copy(reuse, key_path)
        else:
            with open(os.open(key_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
                out.write(_openssl("genpkey", *kind))
        config = os.path.join(work, "ca.cnf")
        with open(config, "w", encoding="utf-8") as out:
            out.write("[ca]\ndefault_ca=d\n[d]\ndatabase=%s/index\nnew_certs_dir=%s\n"
                      "rand_serial=yes\npolicy=p\nunique_subject=no\nemail_in_dn=no\n"
                      "[p]\ncommonName=optional\norganizationName=optional\n"
                      "organizationalUnitName=optional\ncountryName=optional\n"
                      "[req]\ndistinguished_name=dn\nstring_mask=utf8only\n[dn]\n[x]\n%s\n"
                      % (work, work, "\n".join(extensions)))
        open(os.path.join(work, "index"), "w", encoding="utf-8").close()
        request = os.path.join(work, "request")
        _openssl("req", "-new", "-utf8", "-config", config, "-key", key_path, "-subj", subject,
                 "-out", request)
        signer = (["-cert", issuer.pem, "-keyfile", issuer.key] if issuer else
                  ["-selfsign", "-keyfile", key_path])
        pem = self._path(stem + ".pem")
        _openssl("ca", "-batch", "-notext", "-preserveDN", "-utf8", "-config", config, "-md", md,
                 "-extensions", "x", "-startdate", _asn1_time(not_before), "-enddate",
                 _asn1_time(not_after), "-in", request, "-out", pem, *signer)
        chain = self._bundle(stem + "-chain.pem", pem, issuer)
        return Cert(pem, key_path, issuer, chain)
