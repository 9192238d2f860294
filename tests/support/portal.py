#!/usr/bin/env python3
"""portal: a captive portal's web server, as a process of its own.

    portal.py NAME ADDRESS:PORT...

Whoever asks for another host than NAME is sent to http://NAME/login, a page of NAME's.  Prints
"ready", then one line a request.
"""

import http.server
import socketserver
import sys
import threading


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        host = self.headers.get("Host", "").split(":")[0]
        print("GET", host, self.path, flush=True)
        if host != self.server.portal:
            self.answer(302, b"", "http://%s/login" % self.server.portal)
        elif self.path == "/login":
            self.answer(200, b"<title>Sign in</title>please sign in")
        else:
            self.answer(404, b"not here")

    def answer(self, status, body, location=None):
        self.send_response(status)
        if location:
            self.send_header("Location", location)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request, client_address):
        pass


def main():
    name, *addresses = sys.argv[1:]
    for text in addresses:
        host, port = text.rsplit(":", 1)
        server = Server((host, int(port)), Handler)
        server.portal = name
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print("ready", flush=True)
    threading.Event().wait()


main()
