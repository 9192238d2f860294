"""fleet: several gateways of one laboratory, and a load of short channels that notes what failed.

    fleet = Fleet(lab, 2)            # two gateways, each at an address of its own, both `ready`
    fleet.start_agent(tunnels=2)     # an agent that has them in this order
    with Load(lab.doors[0], echo) as load:
        fleet.kill(0)
        load.wait_more(20)
    load.unopened                    # channels that an application asked for and did not get
"""

import os
import socket
import threading
import time

import lab


def connect_head(target):
    return ("CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (target, target)).encode()


class Fleet:
    def __init__(self, one, count, prefixes=None, hosts=None):
        self.lab = one
        self.programs, self.addresses = [], []
        self.prefixes = prefixes or [()] * count
        for i in range(count):
            # Addresses that no outgoing connection takes a port of: one that ended can come back.
            host = hosts[i] if hosts else "127.%d.%d.%d" % (64 + os.urandom(1)[0] % 64,
                                                            os.urandom(1)[0], 2 + i)
            self.addresses.append((host, 0))
            self.programs.append(None)
            self.start(i)

    def start(self, i):
        """A gateway at the address that it had before, if it had one."""
        self.lab.gateway_config["listen"] = [lab.format_address(self.addresses[i])]
        self.lab.gateway_prefix = self.prefixes[i]
        self.programs[i] = self.lab.start_gateway()
        self.addresses[i] = self.lab.address
        return self.programs[i]

    def name(self, i):
        return lab.format_address(self.addresses[i])

    def start_agent(self, gateways=None, wait_up=True, **config):
        self.lab.agent_config["gateways"] = gateways or [lab.format_address(a)
                                                         for a in self.addresses]
        self.lab.agent_config.update(config)
        return self.lab.start_agent_as_it_is(wait_up)

    def settle(self, i=0, count=None):
        """Until all of the agent's tunnels are at this gateway: on a busy machine another one may have
        answered first."""
        agent = self.lab.agent
        count = count or self.lab.agent_config["tunnels"]

        def open_at(name):
            return (len(agent.all("tunnel", lambda e: e.gateway == name))
                    - len(agent.all("tunnel_closed", lambda e: e.gateway == name)))

        lab.until(lambda: [open_at(lab.format_address(a)) for a in self.addresses]
                  == [count if k == i else 0 for k in range(len(self.addresses))],
                  60, "%d tunnels at %s and none elsewhere" % (count, self.name(i)))

    def kill(self, i):
        """kill -9: the kernel closes what it had open."""
        self.lab.forget(self.programs[i])
        self.programs[i].kill()


class Load:
    """Short channels through a door, one after the other in each of some threads: opened, some bytes
    there and back, closed."""

    def __init__(self, door, target, threads=3, patience=30):
        self.door, self.target, self.patience = door, target, patience
        self.lock = threading.Condition()
        self.done = 0
        self.unopened = []  # what the application was told
        self.broken = []    # opened, then cut
        self.waits = []     # (when asked, seconds until it was open)
        self.asking = []    # when, of those that are not open yet
        self.over = False
        self.threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        self.wait_more(len(self.threads))
        return self

    def __exit__(self, *_):
        self.over = True
        for thread in self.threads:
            thread.join(self.patience * lab.SLOW + 10)

    def _note(self, unopened=None, broken=None, wait=None):
        with self.lock:
            if unopened:
                self.unopened.append(unopened)
            if broken:
                self.broken.append(broken)
            if wait:
                self.waits.append(wait)
                self.done += not broken
            self.lock.notify_all()

    def _run(self):
        while not self.over:
            self._one()

    def _one(self):
        begun = time.monotonic()
        with self.lock:
            self.asking.append(begun)
        try:
            sock = socket.create_connection(self.door[:2], timeout=self.patience * lab.SLOW)
            sock.sendall(connect_head(self.target))
            head = b""
            while b"\r\n\r\n" not in head:
                more = sock.recv(4096)
                if not more:
                    break
                head += more
        except OSError as error:
            self._note(unopened=repr(error))
            return
        finally:
            with self.lock:
                self.asking.remove(begun)
                self.lock.notify_all()
        wait = (begun, time.monotonic() - begun)
        with sock:
            if not head.startswith(b"HTTP/1.1 200"):
                self._note(unopened=head.decode(errors="replace"))
                return
            sent, got = os.urandom(2000), b""
            try:
                sock.sendall(sent)
                while len(got) < len(sent):
                    more = sock.recv(4096)
                    if not more:
                        break
                    got += more
            except OSError as error:
                self._note(broken=repr(error), wait=wait)
                return
        self._note(broken=None if got == sent else "%d of %d bytes" % (len(got), len(sent)),
                   wait=wait)

    def wait_more(self, count, timeout=30):
        """So many more channels that went well."""
        with self.lock:
            wanted = self.done + count
            if not self.lock.wait_for(lambda: self.done >= wanted, timeout * lab.SLOW):
                raise AssertionError("only %d of %d channels went well; not opened: %s" % (
                    self.done - wanted + count, count, self.unopened[-3:]))

    def wait_answered(self, before, timeout=30):
        """Until none of those that asked before then waits to be opened."""
        with self.lock:
            if not self.lock.wait_for(lambda: all(asked >= before for asked in self.asking),
                                      timeout * lab.SLOW):
                raise AssertionError("%d channels are not open yet" % len(self.asking))

    def longest_wait(self, since):
        """Of those that were asked for from then on, or were waiting then."""
        return max((seconds for asked, seconds in self.waits if asked + seconds >= since),
                   default=0)


class Relay:
    """A TCP relay to one address that takes so long with each piece, and can be told to go dumb."""

    def __init__(self, to, delay=0.0):
        self.to, self.delay = to, delay
        self.server = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.address = self.server.getsockname()[:2]
        self.socks = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near = self.server.accept()[0]
                far = socket.create_connection(self.to)
            except OSError:
                return
            for sock in (near, far):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socks += [near, far]
            for pair in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source, sink):
        try:
            while True:
                data = source.recv(65536)
                time.sleep(self.delay)
                if not data:
                    sink.shutdown(socket.SHUT_WR)
                    return
                sink.sendall(data)
        except OSError:
            for sock in (source, sink):
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def close(self):
        self.server.close()
        for sock in self.socks:
            sock.close()
