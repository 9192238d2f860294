"""web: a small HTTP server whose answers a test chooses, and that counts what it is asked for.

    server = web.Server()
    server.put("/acme.crl", b"...")            # 200, with an ETag that is honoured
    server.put("/acme.crl", b"no", status=404)
    server.put("/acme.crl", hang=True)         # takes the request, never answers
    server.stop(); server.start()              # down, and back at the same port
"""

import hashlib
import http.server
import socket
import socketserver
import threading
import time

import lab


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        web = self.server.web
        with web.lock:
            page = web.pages.get(self.path, {"status": 404, "body": b"not here", "headers": {}})
            web.requests.append((self.path, dict(self.headers), time.monotonic()))
            web.lock.notify_all()
        if page.get("hang"):
            web.ending.wait(60)
            self.close_connection = True
            return
        body, headers, status = page["body"], dict(page["headers"]), page["status"]
        if status == 200:
            headers["ETag"] = '"%s"' % hashlib.sha256(body).hexdigest()
            if self.headers.get("If-None-Match") == headers["ETag"]:
                status, body = 304, b""
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        if status != 304:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class _Listener(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def handle_error(self, request, client_address):
        pass  # a client that goes away in the middle is no failure of the test


class Server:
    def __init__(self):
        self.pages, self.requests = {}, []
        self.lock = threading.Condition()
        self.ending = threading.Event()
        # The port stays ours while the server is down: bound, not listening.
        self.holder = socket.socket()
        self.holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self.holder.bind(("127.0.0.1", 0))
        self.address = self.holder.getsockname()
        self.listener = None
        self.start()

    def start(self):
        listener = _Listener(self.address, _Handler, bind_and_activate=False)
        listener.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.server_bind()
        listener.server_activate()
        listener.web = self
        self.listener = listener
        threading.Thread(target=listener.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self):
        if self.listener:
            self.listener.shutdown()
            self.listener.server_close()
            self.listener = None

    def close(self):
        self.ending.set()
        self.stop()
        self.holder.close()

    def put(self, path, body=b"", status=200, hang=False, **headers):
        with self.lock:
            self.pages[path] = {"body": body, "status": status, "hang": hang,
                                "headers": {k.replace("_", "-"): v for k, v in headers.items()}}
        return self.url(path)

    def url(self, path):
        return "http://127.0.0.1:%d%s" % (self.address[1], path)

    def count(self, path):
        with self.lock:
            return sum(1 for asked, _, _ in self.requests if asked == path)

    def wait_count(self, path, count, timeout=15):
        """Until that path has been asked for so often; the requests for it."""
        end = lab.deadline(timeout)
        with self.lock:
            while True:
                found = [r for r in self.requests if r[0] == path]
                if len(found) >= count:
                    return found
                left = end - time.monotonic()
                if left <= 0:
                    raise AssertionError("%s was asked for %d times, not %d" % (path, len(found),
                                                                                count))
                self.lock.wait(left)
