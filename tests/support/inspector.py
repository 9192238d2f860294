#!/usr/bin/env python3
"""inspector: a middlebox that opens TLS connections, as a process of its own.

    inspector.py FOLDER CA.pem CA.key LISTEN:PORT TO:PORT

For each server name it is asked for, it mints a certificate by its own CA, ends TLS with it, opens
TLS to TO itself and passes on what is said.  Prints "ready", then one line for each connection:
the name, and how many bytes of the client's it has read in the clear.
"""

import os
import socket
import ssl
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import mint


class Inspector:
    def __init__(self, folder, ca, to):
        self.pki = mint.Pki(folder)
        self.ca = ca
        self.to = to
        self.lock = threading.Lock()
        self.contexts = {}

    def context_for(self, name):
        with self.lock:
            if name not in self.contexts:
                leaf = self.pki.leaf(name, self.ca, eku="serverAuth", dns=[name])
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.set_alpn_protocols(["h2", "http/1.1"])
                context.load_cert_chain(self.pki.bundle("shown.pem", leaf, self.ca), leaf.key)
                self.contexts[name] = context
            return self.contexts[name]

    def serve(self, sock):
        asked = []

        def on_name(tls, name, _):
            asked.append(name)
            tls.context = self.context_for(name or "nobody.invalid")

        first = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        first.sni_callback = on_name
        first.set_alpn_protocols(["h2", "http/1.1"])
        read = 0
        try:
            # The name decides in the callback; something has to be there before it.
            first.load_cert_chain(self.context_chain, self.context_key)
            client = first.wrap_socket(sock, server_side=True)
            plain = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            plain.check_hostname = False
            plain.verify_mode = ssl.CERT_NONE
            if client.selected_alpn_protocol():
                plain.set_alpn_protocols([client.selected_alpn_protocol()])
            server = plain.wrap_socket(socket.create_connection(self.to, 10),
                                       server_hostname=asked[0] if asked else None)
            back = threading.Thread(target=self.copy, args=(server, client), daemon=True)
            back.start()
            while True:
                data = client.recv(65536)
                if not data:
                    break
                read += len(data)
                server.sendall(data)
        except (OSError, ssl.SSLError):
            pass
        finally:
            sock.close()
            print("connection", asked[0] if asked else "-", read, flush=True)

    @staticmethod
    def copy(source, sink):
        try:
            while True:
                data = source.recv(65536)
                if not data:
                    return
                sink.sendall(data)
        except (OSError, ssl.SSLError):
            pass

    def prepare(self):
        leaf = self.pki.leaf("nobody.invalid", self.ca, eku="serverAuth", dns=["nobody.invalid"])
        self.context_chain, self.context_key = leaf.pem, leaf.key


def address(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


def main():
    folder, ca_pem, ca_key, listen, to = sys.argv[1:]
    box = Inspector(folder, mint.Cert(ca_pem, ca_key, None, ca_pem), address(to))
    box.prepare()
    with socket.create_server(address(listen)) as server:
        print("ready", flush=True)
        while True:
            sock, _ = server.accept()
            threading.Thread(target=box.serve, args=(sock,), daemon=True).start()


main()
