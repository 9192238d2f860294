"""softhsm: a PKCS#11 token in a test's own folder (SoftHSM 2).

    token = softhsm.Token(folder, label="lab", pin="1234")
    token.put_key(cert.key, "laptop", "01")        # the key alone, from a PEM file
    token.put_certificate(cert.pem, "laptop", "01")
    os.environ["SOFTHSM2_CONF"] = token.conf       # for who is to use it
"""

import glob
import os
import subprocess

TOOLS = ("softhsm2-util", "p11tool")


def library():
    """The module's path; None: SoftHSM is not installed."""
    found = glob.glob("/usr/lib/softhsm/libsofthsm2.so") + \
        glob.glob("/usr/lib/*/softhsm/libsofthsm2.so")
    return found[0] if found else None


class Token:
    def __init__(self, folder, label="lab", pin="1234"):
        self.label, self.pin = label, pin
        self.folder = os.path.join(folder, "softhsm-" + label)
        os.makedirs(os.path.join(self.folder, "tokens"))
        self.conf = os.path.join(self.folder, "softhsm2.conf")
        with open(self.conf, "w", encoding="ascii") as out:
            out.write("directories.tokendir = %s/tokens\nobjectstore.backend = file\n"
                      "log.level = ERROR\nslots.removable = false\n" % self.folder)
        self._run("softhsm2-util", "--init-token", "--free", "--label", label, "--pin", pin,
                  "--so-pin", "12345678")

    def _run(self, *argv):
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False,
                              env=dict(os.environ, SOFTHSM2_CONF=self.conf, GNUTLS_PIN=self.pin))
        if done.returncode != 0:
            raise RuntimeError("%s: %s" % (" ".join(argv), done.stdout.decode()))

    def uri(self, **attributes):
        return "pkcs11:" + ";".join(["token=" + self.label] +
                                    ["%s=%s" % (k, v) for k, v in attributes.items()])

    def put_key(self, path, label, number):
        self._run("softhsm2-util", "--import", path, "--token", self.label, "--label", label,
                  "--id", number, "--pin", self.pin)

    def forget_public(self, label):
        self._p11("--delete", "--batch", self.uri(object=label, type="public"))

    def put_certificate(self, path, label, number):
        self._p11("--write", "--load-certificate", path, "--label", label, "--id", number,
                  self.uri())

    def forget_certificate(self, label):
        self._p11("--delete", "--batch", self.uri(object=label, type="cert"))

    def _p11(self, *argv):
        self._run("p11tool", "--provider", library(), "--login", *argv)
