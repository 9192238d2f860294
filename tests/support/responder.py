"""An OCSP responder for tests: openssl answers, an HTTP server of ours carries the answers, so that
it can also be slow, silent, wrong or away, and count what it is asked."""
import http.server
import os
import subprocess
import tempfile
import threading
import time


def _index_time(when):
    return time.strftime("%y%m%d%H%M%SZ", time.gmtime(when))


class Responder:
    """Answers for the certificates of one CA.

    url; asked: the number of questions; mode: what becomes of them (see _answer). signer: a
    mint.Cert (default: the CA itself).
    """

    def __init__(self, folder, ca, signer=None, minutes=10):
        self.ca, self.signer, self.minutes = ca, signer or ca, minutes
        self.work = tempfile.mkdtemp(dir=folder)
        self.index = os.path.join(self.work, "index")
        self.rows = {}
        self.asked = 0
        self.mode = "good"
        self.body = None          # mode "body": this, whatever was asked, or what it makes of the question
        self.more = []            # for openssl ocsp
        self.release = threading.Event()  # ends mode "hang"
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        responder = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                with responder.changed:
                    responder.asked += 1
                    responder.changed.notify_all()
                responder._serve(self, body)

            def log_message(self, *args):
                pass

        class Server(http.server.ThreadingHTTPServer):
            request_queue_size = 256
            daemon_threads = True

            def handle_error(self, request, client_address):
                pass  # who asks may have gone

        self._write()
        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = "http://127.0.0.1:%d/ocsp" % self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.release.set()
        self.server.shutdown()
        self.server.server_close()

    # -- what it knows --
    def know(self, cert):
        self.rows[cert.field("serial")] = "V\t%s\t\t%s\tunknown\t/CN=%s" % (
            _index_time(time.time() + 86400), cert.field("serial"), cert.field("serial"))
        self._write()

    def revoke(self, cert, why="keyCompromise"):
        self.rows[cert.field("serial")] = "R\t%s\t%s,%s\t%s\tunknown\t/CN=%s" % (
            _index_time(time.time() + 86400), _index_time(time.time() - 60), why,
            cert.field("serial"), cert.field("serial"))
        self._write()

    def forget(self, cert):
        self.rows.pop(cert.field("serial"), None)
        self._write()

    def _write(self):
        with open(self.index + ".new", "w", encoding="ascii") as out:
            out.write("".join(row + "\n" for row in self.rows.values()))
        os.rename(self.index + ".new", self.index)

    # -- answers --
    def respond(self, request, minutes=None, more=()):
        """What `openssl ocsp` answers to a DER request."""
        with tempfile.TemporaryDirectory(dir=self.work) as folder:
            asked, out = os.path.join(folder, "request"), os.path.join(folder, "response")
            with open(asked, "wb") as file:
                file.write(request)
            subprocess.run(
                ["openssl", "ocsp", "-index", self.index, "-CA", self.ca.pem, "-rsigner",
                 self.signer.pem, "-rkey", self.signer.key, "-rmd", "sha256", "-reqin", asked,
                 "-respout", out, "-nmin", str(minutes or self.minutes), *self.more, *more],
                check=True, capture_output=True)
            with open(out, "rb") as file:
                return file.read()

    def response_for(self, cert, minutes=None, more=()):
        """A response to nobody's question: to be stapled or replayed."""
        request = os.path.join(self.work, "own-request")
        subprocess.run(["openssl", "ocsp", "-issuer", self.ca.pem, "-cert", cert.pem, "-no_nonce",
                        "-reqout", request], check=True, capture_output=True)
        with open(request, "rb") as file:
            return self.respond(file.read(), minutes, more)

    def wait_asked(self, count, timeout=10):
        end = time.monotonic() + timeout
        with self.changed:
            while self.asked < count:
                left = end - time.monotonic()
                if left <= 0:
                    raise AssertionError("asked %d times, %d wanted" % (self.asked, count))
                self.changed.wait(left)

    def _serve(self, handler, body):
        mode = self.mode
        if mode == "hang":
            self.release.wait(60)
            return
        if mode == "drip":
            handler.send_response(200)
            handler.send_header("Content-Length", "1000")
            handler.end_headers()
            while not self.release.wait(0.1):
                handler.wfile.write(b"\x30")
                handler.wfile.flush()
            return
        if mode == "error":
            handler.send_error(503)
            return
        if mode == "redirect":
            handler.send_response(302)
            handler.send_header("Location", self.body)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        if mode == "hold":  # a true answer, later
            self.release.wait(60)
        if mode == "body":
            answer = self.body(body) if callable(self.body) else self.body
        else:
            answer = self.respond(body)
        handler.send_response(200)
        handler.send_header("Content-Type", "application/ocsp-response")
        handler.send_header("Content-Length", str(len(answer)))
        handler.end_headers()
        handler.wfile.write(answer)
