"""origin: servers that channels end at: one asyncio loop in a thread, loopback, port 0; and nginx.

    with origin.Origin() as o:
        address = o.start(origin.echo)
"""

import asyncio
import hashlib
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading

CHUNK = 64 * 1024


class Origin:
    """Runs handlers (coroutines of reader and writer) on listeners of their own."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.servers = []
        self.thread.start()

    def _run(self):
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def call(self, coroutine, timeout=60):
        """Runs a coroutine on the loop, from the test's thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout)

    def start(self, handler, host="127.0.0.1", port=0, **more):
        async def go():
            async def guarded(reader, writer):
                try:
                    await handler(reader, writer)
                except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                    pass  # the peer went away, or close() did
                finally:
                    writer.close()
            return await asyncio.start_server(guarded, host, port, backlog=2048, **more)
        server = self.call(go())
        self.servers.append(server)
        return server.sockets[0].getsockname()[:2]

    def stop_listening(self, address):
        async def go():
            for server in self.servers:
                if server.sockets and server.sockets[0].getsockname()[:2] == address:
                    server.close()
        self.call(go())

    def close(self):
        async def go():
            for server in self.servers:
                server.close()
            own = asyncio.current_task()
            tasks = [t for t in asyncio.all_tasks() if t is not own]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self.call(go())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


async def echo(reader, writer):
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


async def sink(reader, writer):
    """Reads to the end, then says how much it was."""
    total = 0
    while data := await reader.read(CHUNK):
        total += len(data)
    writer.write(b"%d\n" % total)
    await writer.drain()


async def source(_reader, writer):
    """Sends without an end."""
    block = os.urandom(CHUNK)
    while True:
        writer.write(block)
        await writer.drain()


async def late_answer(reader, writer):
    """Half-close from the client first: reads to the end, then sends the digest of it."""
    digest = hashlib.sha256()
    while data := await reader.read(CHUNK):
        digest.update(data)
    writer.write(digest.hexdigest().encode())
    await writer.drain()


async def early_end(reader, writer):
    """Half-close from the server first: sends a line, ends its half, and reads on; what it read is
    answered on the connection that asks for it (see `early_end_heard`)."""
    writer.write(b"no more from me\n")
    writer.write_eof()
    digest = hashlib.sha256()
    while data := await reader.read(CHUNK):
        digest.update(data)
    early_end_heard.append(digest.hexdigest())


early_end_heard = []


def _linger_zero(writer):
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                               struct.pack("ii", 1, 0))


async def reset_after_a_line(reader, writer):
    """Waits for a line, answers, then resets."""
    await reader.readline()
    writer.write(b"and now a reset\n")
    await writer.drain()
    await reader.readline()
    _linger_zero(writer)
    writer.transport.abort()


async def silent(reader, _writer):
    """Accepts and never reads: its receive buffer fills."""
    reader._transport.pause_reading()  # pylint: disable=protected-access
    await asyncio.sleep(3600)  # a timer: what nothing but itself refers to would be collected


def expecting_reset(seen):
    """A handler that appends to `seen` how the client's end came: 'reset' or 'end'."""
    async def handler(reader, _writer):
        try:
            while await reader.read(CHUNK):
                pass
            seen.append("end")
        except ConnectionResetError:
            seen.append("reset")
    return handler


# duplex: random bytes both ways at the same time, each direction checked by its receiver.
# Client: two 8-byte lengths (up, down), `up` bytes, their SHA-256.  Server: `down` bytes, their
# SHA-256, then the SHA-256 of what came up.
DUPLEX_HEAD = struct.Struct(">QQ")


async def _send_random(writer, length):
    digest = hashlib.sha256()
    block = os.urandom(min(length, CHUNK)) if length else b""
    while length:
        piece = block[:length]
        # Another content in every block, without paying for fresh random bytes each time.
        piece = length.to_bytes(8, "big")[:len(piece)] + piece[8:]
        digest.update(piece)
        writer.write(piece)
        await writer.drain()
        length -= len(piece)
    writer.write(digest.digest())
    await writer.drain()
    return digest.digest()


async def _receive_random(reader, length):
    digest = hashlib.sha256()
    while length:
        data = await reader.read(min(length, CHUNK))
        if not data:
            raise ConnectionResetError("%d bytes are missing" % length)
        digest.update(data)
        length -= len(data)
    sent = await reader.readexactly(32)
    if digest.digest() != sent:
        raise ValueError("bytes arrived that were not sent")
    return sent


async def duplex(reader, writer):
    up, down = DUPLEX_HEAD.unpack(await reader.readexactly(DUPLEX_HEAD.size))
    got, _ = await asyncio.gather(_receive_random(reader, up), _send_random(writer, down))
    writer.write(got)
    await writer.drain()


async def duplex_client(reader, writer, up, down):
    """The other end of `duplex`; raises when a byte is not what was sent."""
    writer.write(DUPLEX_HEAD.pack(up, down))
    sent, _ = await asyncio.gather(_send_random(writer, up), _receive_random(reader, down))
    if await reader.readexactly(32) != sent:
        raise ValueError("the server saw other bytes than were sent")


async def open_connect(address, target):
    """A channel through an HTTP CONNECT door: reader, writer and the head of the answer."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (target.encode(), target.encode()))
    head = await reader.readuntil(b"\r\n\r\n")
    return reader, writer, head.decode("latin-1")


class Nginx:
    """A real origin: HTTPS and HTTP on loopback, serving a folder.

    nginx knows no port 0; the listening sockets are opened here and inherited by it (its own
    mechanism for upgrades), so that no port is ever guessed.
    """

    def __init__(self, pki, host="127.0.0.1"):
        binary = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        if not binary:
            raise RuntimeError("nginx is not installed: run tools/deps test")
        self.folder = tempfile.mkdtemp(prefix="sallyport-nginx-")
        self.root = os.path.join(self.folder, "www")
        os.mkdir(self.root)
        os.chmod(self.folder, 0o755)
        self.ca = pki.ca("Origin CA")
        cert = pki.leaf("origin", self.ca, eku="serverAuth", dns=["origin.example", "localhost"],
                        ips=["127.0.0.1"])
        sockets = [self._listener(host) for _ in range(2)]
        self.https, self.http = [s.getsockname()[:2] for s in sockets]
        config = os.path.join(self.folder, "nginx.conf")
        with open(config, "w", encoding="utf-8") as out:
            out.write("""
daemon off;
worker_processes 1;
pid %(folder)s/pid;
error_log %(folder)s/error.log;
events { worker_connections 4096; }
http {
  access_log off;
  client_body_temp_path %(folder)s/body; proxy_temp_path %(folder)s/proxy;
  fastcgi_temp_path %(folder)s/fastcgi; uwsgi_temp_path %(folder)s/uwsgi;
  scgi_temp_path %(folder)s/scgi;
  server {
    listen %(https)s ssl http2; listen %(http)s;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_certificate %(cert)s; ssl_certificate_key %(key)s;
    root %(root)s;
    location = /hello { default_type text/plain; return 200 "hello from the origin\\n"; }
  }
}
""" % {"folder": self.folder, "root": self.root, "cert": cert.chain, "key": cert.key,
                "https": "%s:%d" % self.https, "http": "%s:%d" % self.http})
        env = dict(os.environ)
        env["NGINX"] = "".join("%d;" % s.fileno() for s in sockets)
        self.process = subprocess.Popen([binary, "-e", self.folder + "/error.log", "-c", config],
                                        pass_fds=[s.fileno() for s in sockets], env=env,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for s in sockets:
            s.close()

    @staticmethod
    def _listener(host):
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, 0))
        sock.listen(512)
        return sock

    def file(self, name, content):
        with open(os.path.join(self.root, name), "wb") as out:
            out.write(content)

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
