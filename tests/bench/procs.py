"""procs: the programs of one side, what they cost, ports and folders; nothing outlives its owner."""

import ctypes
import os
import random
import resource
import signal
import socket
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))


class BenchError(Exception):
    """Something of one peer failed: it is reported, and the rest goes on."""


LIBC = ctypes.CDLL(None)


def die_with_driver():
    """In a child before exec: SIGTERM when the driver is gone (PR_SET_PDEATHSIG), however it went."""
    LIBC.prctl(1, signal.SIGTERM)


def raise_file_limit(wanted):
    """As many descriptors as wanted, or as may be had."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(wanted, hard), max(wanted, hard)))
    except (ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


class Ports:
    """Free ports below the range of which the kernel takes source ports: the bench itself opens
    tens of thousands of connections, and one of them would sit on a port chosen above."""

    def __init__(self):
        self.taken = set()
        try:
            with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as text:
                self.end = int(text.read().split()[0])
        except OSError:
            self.end = 32768

    def one(self):
        for _ in range(1000):
            port = random.randrange(10240, max(self.end, 12000))
            if port in self.taken:
                continue
            with socket.socket() as probe:
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
            self.taken.add(port)
            return port
        raise BenchError("no free port between 10240 and %d" % self.end)


def children_of(pid):
    """pid and all below it."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open("/proc/%s/stat" % name, encoding="ascii", errors="replace") as stat:
                    parents.setdefault(int(stat.read().rsplit(")", 1)[1].split()[1]),
                                       []).append(int(name))
            except OSError:
                pass
    found, todo = [], [pid]
    while todo:
        one = todo.pop()
        found.append(one)
        todo += parents.get(one, [])
    return found


def autogroup_nice(pid, nice):
    """Each side is a session of its own, and where the kernel groups sessions (sched_autogroup) a
    nice value orders the processes of one session only: between sessions the group's counts."""
    try:
        with open("/proc/%d/autogroup" % pid, "w", encoding="ascii") as group:
            group.write(str(nice))
    except OSError:
        pass  # no such grouping here: the process's own value counts


class Side:
    """The processes of one end of a pair: one program and its children."""

    def __init__(self, name, command, log, nice=0, env=None):
        self.name = name
        self.log = log
        if nice:
            command = ["nice", "-n", str(nice)] + command
        with open(log, "ab") as out:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out,
                                            stderr=out, env=env, start_new_session=True,
                                            preexec_fn=die_with_driver)
        if nice:
            autogroup_nice(self.process.pid, nice)
        self.pids = [self.process.pid]
        self.spent = {}  # pid -> CPU seconds when last seen

    def settle(self):
        """Once it serves: its children are there now."""
        self.pids = children_of(self.process.pid)

    def alive(self):
        return self.process.poll() is None

    def cpu(self):
        """CPU seconds, user and system, of all threads, those that ended too."""
        for pid in self.pids:
            try:
                # The process's own clock (clock_getcpuclockid): utime + stime, in nanoseconds
                # where /proc/PID/stat has hundredths.
                self.spent[pid] = time.clock_gettime((~pid << 3) | 2)
            except OSError as error:
                if not self.alive():  # a helper may end, the program itself may not
                    raise BenchError("%s died: %s" % (self.name, self.tail())) from error
        return sum(self.spent.values())

    def threads_cpu(self):
        """{thread: CPU seconds}"""
        found = {}
        for pid in self.pids:
            for tid in os.listdir("/proc/%d/task" % pid):
                with open("/proc/%d/task/%s/schedstat" % (pid, tid), encoding="ascii") as stat:
                    found[tid] = int(stat.read().split()[0]) / 1e9
        return found

    def rss(self):
        """Resident bytes of all its processes; pages they share count in each, before and after."""
        total = 0
        for pid in self.pids:
            try:
                with open("/proc/%d/statm" % pid, encoding="ascii") as statm:
                    total += int(statm.read().split()[1]) * resource.getpagesize()
            except OSError as error:
                if not self.alive():
                    raise BenchError("%s died: %s" % (self.name, self.tail())) from error
        return total

    def tail(self):
        try:
            with open(self.log, encoding="utf-8", errors="replace") as log:
                return " / ".join(log.read().strip().split("\n")[-3:])[-500:] or "no message"
        except OSError:
            return "no message"

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            # A second one ends a drain; others do not mind it.
            for wait in (1, 3):
                try:
                    self.process.wait(wait)
                    break
                except subprocess.TimeoutExpired:
                    self.process.send_signal(signal.SIGTERM)
            else:
                self.process.kill()
        self.process.wait()
        for pid in self.pids[1:]:  # children that outlived their parent
            try:
                if os.getsid(pid) == self.process.pid:
                    os.kill(pid, signal.SIGKILL)
            except OSError:
                pass


def steady_rss(side, seconds=8):
    """RSS once it has stopped changing: buffers go back a little after they were used."""
    before = side.rss()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.7)
        now = side.rss()
        if abs(now - before) < 0.002 * before:
            return now
        before = now
    return before


def wait_for(what, check, seconds, *sides):
    """Until check() is true; a side that ends meanwhile ends the wait."""
    end = time.monotonic() + seconds
    while not check():
        for side in sides:
            if not side.alive():
                raise BenchError("%s ended: %s" % (side.name, side.tail()))
        if time.monotonic() > end:
            raise BenchError("%s: not within %d s (%s)" % (
                what, seconds, "; ".join(side.name + ": " + side.tail() for side in sides)))
        time.sleep(0.005)


def http_ok(port):
    """One request on a new connection to this port is answered with 200."""
    try:
        with socket.create_connection(("127.0.0.1", port), 2) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: bench.example\r\nConnection: close\r\n\r\n")
            return sock.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def connects(port):
    try:
        socket.create_connection(("127.0.0.1", port), 2).close()
        return True
    except OSError:
        return False
