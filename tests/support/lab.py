"""lab: a laboratory for one test: its folder, its gateway and its agent as real processes.

    class Channels(lab.LabCase):
        def test_something(self):
            self.lab.start()                            # gateway and agent, both `ready`
            self.lab.gateway.wait("channel", lambda e: e["how"] == "done")

Programs write JSON log lines to a pipe that a thread reads, so a test waits for an event and never
sleeps.  Every wait has a deadline.  Processes are stopped by their own pid; a program that does not
end with status 0 after SIGTERM, or that a sanitizer complained about, fails the test.
"""

import ctypes
import json
import os
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import mint

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
# Sanitizers and busy machines are slow: deadlines are multiplied, never removed.
SLOW = float(os.environ.get("SALLYPORT_TEST_SLOW", "1"))
SANITIZER_SIGNS = ("AddressSanitizer", "LeakSanitizer", "ThreadSanitizer", "runtime error:")
# A thousand channels need some thousand descriptors in the test itself; the programs start with
# the limit that a login shell has, because that is what they will meet.
LOGIN_NOFILE = 1024


def _raise_own_limit():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY and hard < 65536 else 65536
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


_raise_own_limit()


def build_folder():
    chosen = os.environ.get("SALLYPORT_BUILD")
    candidates = [chosen] if chosen else [os.path.join(ROOT, d) for d in ("build-test", "build")]
    for folder in candidates:
        if os.path.exists(os.path.join(folder, "gateway", "sallyport-gateway")):
            return os.path.abspath(folder)
    raise RuntimeError("no built programs in %s: run tools/test, or set SALLYPORT_BUILD"
                       % " or ".join(candidates))


def program(name):
    return os.path.join(build_folder(), name.split("-", 1)[1], name)


def memory_factor():
    """What a sanitizer multiplies a process's size by, roughly; 1 for an ordinary build."""
    with open(program("sallyport-gateway"), "rb") as binary:
        data = binary.read()
    return 16 if b"__tsan_init" in data else 2 if b"__asan_init" in data else 1


def environment():
    env = {k: v for k, v in os.environ.items()
           if not k.lower().endswith("_proxy") and k not in ("SSLKEYLOGFILE",)}
    # Little quarantine, so that a process's size still says something about what it holds.
    env["ASAN_OPTIONS"] = "exitcode=99:detect_leaks=1:quarantine_size_mb=8:" + env.get("ASAN_OPTIONS", "")
    env["UBSAN_OPTIONS"] = "halt_on_error=1:print_stacktrace=1:" + env.get("UBSAN_OPTIONS", "")
    env["TSAN_OPTIONS"] = "exitcode=98:halt_on_error=0:" + env.get("TSAN_OPTIONS", "")
    return env


def run(*argv, timeout=20, env=None, **more):
    """A command that ends by itself: its status, output and errors as text. env: set beside ours."""
    if "input" not in more:
        more.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run([str(a) for a in argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, errors="replace", env=dict(environment(), **(env or {})), check=False,
                          timeout=timeout * SLOW, **more)


class Interactive:
    """A command whose input stays open while the test reads its output."""

    def __init__(self, *argv):
        self.process = subprocess.Popen([str(a) for a in argv], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        env=environment())
        self.seen = b""

    def write(self, text):
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def read_until(self, text, timeout=10):
        """All output so far, once it has this text in it, or ends, or the time is over."""
        end = deadline(timeout)
        out = self.process.stdout
        while text.encode() not in self.seen and time.monotonic() < end:
            if select.select([out], [], [], max(0, end - time.monotonic()))[0]:
                more = os.read(out.fileno(), 65536)
                if not more:
                    break
                self.seen += more
        return self.seen.decode("utf-8", "replace")

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def deadline(seconds):
    return time.monotonic() + seconds * SLOW


def until(condition, timeout=10, what="condition", every=0.02):
    """For things that tell nobody when they change (another process's memory, a file)."""
    end = deadline(timeout)
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("not within %g s: %s" % (timeout * SLOW, what))
        time.sleep(every)


class Event(dict):
    """A log line."""

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError("no field %r in %s" % (name, json.dumps(self))) from None


PR_SET_PDEATHSIG = 1
_prctl = ctypes.CDLL(None).prctl


def _before_exec():
    """In the child: the limits of a login shell, and an end when the test is killed."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_NOFILE,
                       (LOGIN_NOFILE, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


class Program:
    """A running gateway or agent."""

    def __init__(self, name, *args, cwd=None, log_file=None, prefix=()):
        """prefix: a command that ends in becoming the one after it (netns.Space.prefix)."""
        self.name = name
        self.lines = []   # as written
        self.events = []  # those that are JSON
        self.changed = threading.Condition()
        self.ended = False
        self.process = subprocess.Popen(
            [*prefix, program(name), *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, cwd=cwd, env=environment(), preexec_fn=_before_exec)
        self.pid = self.process.pid
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for raw in self.process.stdout:
            line = raw.decode("utf-8", "backslashreplace").rstrip("\n")
            with self.changed:
                self.lines.append(line)
                if line.startswith("{"):
                    try:
                        self.events.append(Event(json.loads(line)))
                    except ValueError:
                        pass  # Stays in .lines: check_log() complains
                self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def _settle(self):
        """What a test has seen the effect of may still be on its way: a thread of the program writes
        the log, within 5 ms of when it was said (common/log_writer.h)."""
        quiet, end = 0.03 * SLOW, time.monotonic() + 1
        while not self.ended and time.monotonic() < end:
            seen = len(self.lines)
            if not self.changed.wait_for(lambda: self.ended or len(self.lines) != seen, quiet):
                break

    def mark(self):
        """The place in the log up to now, for `since`."""
        with self.changed:
            self._settle()
            return len(self.events)

    def all_lines(self):
        with self.changed:
            self._settle()
            return list(self.lines)

    def wait(self, event, where=None, since=0, timeout=10):
        """The first event of that name for which where(event) holds, now or later."""
        end = deadline(timeout)
        with self.changed:
            at = since
            while True:
                while at < len(self.events):
                    e = self.events[at]
                    at += 1
                    if e.get("event") == event and (where is None or where(e)):
                        return e
                left = end - time.monotonic()
                if left <= 0 or self.ended:
                    raise AssertionError("%s: no event %r %s; last lines:\n%s" % (
                        self.name, event, "before it ended" if self.ended else "in time",
                        "\n".join(self.lines[-15:])))
                self.changed.wait(min(left, 1))

    def all(self, event, where=None, since=0):
        with self.changed:
            self._settle()
            return [e for e in self.events[since:]
                    if e.get("event") == event and (where is None or where(e))]

    def wait_count(self, event, count, where=None, since=0, timeout=10):
        """Waits until there are at least that many such events; returns them."""
        end = deadline(timeout)
        with self.changed:
            while True:
                found = [e for e in self.events[since:]
                         if e.get("event") == event and (where is None or where(e))]
                if len(found) >= count:
                    return found
                left = end - time.monotonic()
                if left <= 0 or self.ended:
                    raise AssertionError("%s: %d of %d events %r; last lines:\n%s" % (
                        self.name, len(found), count, event, "\n".join(self.lines[-15:])))
                self.changed.wait(min(left, 1))

    def signal(self, number):
        self.process.send_signal(number)

    def alive(self):
        return self.process.poll() is None

    def wait_exit(self, timeout=15):
        """The exit status; negative: the signal that ended it."""
        try:
            status = self.process.wait(timeout * SLOW)
        except subprocess.TimeoutExpired:
            raise AssertionError("%s (pid %d) does not end; last lines:\n%s" % (
                self.name, self.pid, "\n".join(self.lines[-15:]))) from None
        self.reader.join(5 * SLOW)
        self.process.stdout.close()
        return status

    def kill(self):
        """kill -9, for tests of exactly that and for cleaning up."""
        if self.alive():
            self.process.kill()
        return self.wait_exit()

    def rss_kib(self):
        with open("/proc/%d/status" % self.pid, encoding="ascii") as status:
            for line in status:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1])
        return 0

    def open_files(self):
        return len(os.listdir("/proc/%d/fd" % self.pid))

    def complaints(self):
        """What sanitizers said, and lines that are not the JSON they should be."""
        return [line for line in self.lines
                if any(sign in line for sign in SANITIZER_SIGNS) or not line.startswith("{")]


class Lab:
    """The folder that `sallyport-certs init` makes, with ports 0 and logs on stderr.

    Attributes gateway_config, agent_config and tenants[id] are the parsed files: change them and
    call save() (start() does).  ca[id] is a CA of the test's own that the tenant trusts as well, so
    that tests may mint clients of every kind; pki mints them.
    """

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="sallyport-test-")
        self.path = os.path.join(self.folder, "lab")
        made = run(program("sallyport-certs"), "init", self.path)
        if made.returncode != 0:
            shutil.rmtree(self.folder)
            raise AssertionError("sallyport-certs init: " + made.stdout + made.stderr)
        self.pki = mint.Pki(os.path.join(self.folder, "pki"))
        self.gateway = None
        self.agent = None
        self.programs = []
        self.gateway_prefix = self.agent_prefix = ()
        self._load()
        self.a, self.b = self._two_tenants()
        self.ca = {}
        for tenant in (self.a, self.b):
            self.ca[tenant] = self.pki.ca("Test CA of " + tenant)
            self.tenants[tenant]["client_validation"]["trusted_cas"].append(self.ca[tenant].pem)
            self.tenants[tenant]["egress"] = {"mode": "direct",
                                              "allow": ["127.0.0.0/8:*", "[::1]:*"]}
        self.gateway_config["listen"] = ["127.0.0.1:0"]
        self.gateway_config["workers"] = 2
        self.gateway_config["log"] = {"level": "debug", "format": "json"}
        self.agent_config["log"] = {"level": "debug", "format": "json"}
        self.agent_config["doors"] = [{"type": "http", "listen": "127.0.0.1:0"}]

    # -- files --
    def file(self, *parts):
        return os.path.join(self.path, *parts)

    def write(self, name, content):
        path = os.path.join(self.folder, name)
        with open(path, "w" if isinstance(content, str) else "wb") as out:
            out.write(content)
        return path

    def tenant_file(self, tenant):
        return self.file("tenants.d", tenant + ".json")

    def _load(self):
        def load(path):
            with open(path, encoding="utf-8") as source:
                return json.load(source)
        self.gateway_config = load(self.file("gateway.json"))
        self.agent_config = load(self.file("agent.json"))
        folder = self.file(self.gateway_config["tenants"])
        self.tenants = {name[:-5]: load(os.path.join(folder, name))
                        for name in sorted(os.listdir(folder)) if name.endswith(".json")}

    def _two_tenants(self):
        """The agent's tenant, and another one."""
        name = self.agent_config["server_name"]
        first = [t for t, c in self.tenants.items() if name in c["server_names"]]
        others = [t for t in self.tenants if t not in first]
        return first[0], others[0]

    def save(self):
        def dump(path, value):
            with open(path, "w", encoding="utf-8") as out:
                json.dump(value, out, indent=2)
        dump(self.file("gateway.json"), self.gateway_config)
        dump(self.file("agent.json"), self.agent_config)
        for tenant, value in self.tenants.items():
            dump(self.tenant_file(tenant), value)

    def name_of(self, tenant):
        return self.tenants[tenant]["server_names"][0]

    def client(self, tenant, name="tester", **spec):
        """A good client of the tenant, or what spec makes of it (mint.Pki.leaf)."""
        return self.pki.leaf(name, spec.pop("issuer", self.ca[tenant]), **spec)

    # -- processes --
    def start_gateway(self):
        self.save()
        self.gateway = Program("sallyport-gateway", "--config", self.file("gateway.json"),
                               prefix=self.gateway_prefix)
        self.programs.append(self.gateway)
        ready = self.gateway.wait("ready", timeout=20)
        self.listen = [parse_address(text) for text in ready["listen"]]
        self.address = self.listen[0]
        return self.gateway

    def start_agent(self, wait_up=True):
        self.agent_config["gateways"] = [format_address(self.address)]
        return self.start_agent_as_it_is(wait_up)

    def start_agent_as_it_is(self, wait_up=True):
        """With the gateways that agent_config has."""
        self.save()
        self.agent = Program("sallyport-agent", "--config", self.file("agent.json"),
                             prefix=self.agent_prefix)
        self.programs.append(self.agent)
        ready = self.agent.wait("ready", timeout=20)
        self.doors = [parse_address(door.split("=", 1)[1]) for door in ready["doors"]]
        if wait_up:
            self.wait_up()
        return self.agent

    def wait_up(self, since=0, count=1, timeout=20):
        return self.agent.wait_count("tunnel", count, lambda e: e.get("action") != "block"
                                     and e.get("state", "up") == "up", since, timeout)

    def start(self):
        self.start_gateway()
        self.start_agent()

    def stop(self, which, timeout=15):
        """SIGTERM, and status 0 is asked for."""
        if which.alive():
            which.signal(signal.SIGTERM)
        status = which.wait_exit(timeout)
        self.programs.remove(which)
        said = which.complaints()
        if said or status != 0:
            raise AssertionError("%s ended with status %d and said:\n%s" % (
                which.name, status, "\n".join(said or which.lines[-15:])))

    def forget(self, which):
        """A program that a test ended in another way."""
        self.programs.remove(which)

    def reload(self, expect_ok=True):
        """SIGHUP to the gateway after save(); the `reload` event."""
        self.save()
        return self.hup(expect_ok)

    def hup(self, expect_ok=True):
        mark = self.gateway.mark()
        self.gateway.signal(signal.SIGHUP)
        event = self.gateway.wait("reload", since=mark, timeout=20)
        if event["ok"] != expect_ok:
            raise AssertionError("reload: " + json.dumps(event))
        return event

    def dump(self):
        for one in [self.gateway, self.agent]:
            if one:
                print("---- %s: the last of %d lines" % (one.name, len(one.lines)),
                      *one.lines[-60:], sep="\n", file=sys.stderr)

    def close(self):
        """Stops what still runs; the agent first, so that it has nothing to complain about."""
        problems = []
        for one in sorted(self.programs, key=lambda p: p.name):
            try:
                self.stop(one)
            except AssertionError as problem:
                problems.append(str(problem))
                one.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
        if problems:
            raise AssertionError("\n".join(problems))


def parse_address(text):
    """(host, port); a UNIX socket's is its path."""
    if text.startswith("unix:"):
        return text[len("unix:"):]
    host, port = text.rsplit(":", 1)
    return host.strip("[]"), int(port)


def format_address(address):
    return ("[%s]:%d" if ":" in address[0] else "%s:%d") % (address[0], address[1])


def connect(address, timeout=10):
    if isinstance(address, str):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(timeout * SLOW)
        sock.connect(address)
        return sock
    sock = socket.create_connection(address[:2], timeout=timeout * SLOW)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def wait_taken(sock, timeout=10):
    """Until the server of this connection, on IPv4 here, has accepted it and read all of it."""
    def key(address):
        return "%08X:%04X" % (int.from_bytes(socket.inet_aton(address[0]), sys.byteorder),
                              address[1])

    ends = [key(sock.getpeername()), key(sock.getsockname())]

    def is_taken():
        with open("/proc/net/tcp", encoding="ascii") as table:
            for row in map(str.split, table):
                if row[1:3] == ends:
                    return row[4].endswith(":00000000") and row[9] != "0"
        return True  # it was closed: nothing is left to be read

    until(is_taken, timeout, "the connection to be accepted and read")


class LabCase(unittest.TestCase):
    """A test with a laboratory of its own; its logs are shown when it fails."""

    def setUp(self):
        self.lab = Lab()
        self.addCleanup(self._close_lab)

    def _close_lab(self):
        outcome = getattr(self, "_outcome", None)
        if outcome is not None and not outcome.success:
            self.lab.dump()
        self.lab.close()


class _Result(unittest.TextTestResult):
    """Counts test cases: one with several failing subtests has failed once."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.failed_cases = set()

    def _note(self, test):
        self.failed_cases.add(getattr(test, "test_case", test).id())

    def addFailure(self, test, err):  # pylint: disable=invalid-name
        super().addFailure(test, err)
        self._note(test)

    def addError(self, test, err):  # pylint: disable=invalid-name
        super().addError(test, err)
        self._note(test)

    def addSubTest(self, test, subtest, err):  # pylint: disable=invalid-name
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._note(test)


def main():
    """For the end of every test file: verbose, a line that tools/test counts by, and a status."""
    runner = unittest.TextTestRunner(stream=sys.stdout, verbosity=2, resultclass=_Result)
    result = unittest.main(testRunner=runner, exit=False).result
    failed, skipped = len(result.failed_cases), len(result.skipped)
    print("cases: %d passed, %d failed, %d skipped"
          % (result.testsRun - failed - skipped, failed, skipped))
    for test, why in result.skipped:
        print("skipped: %s: %s" % (test.id(), why))
    sys.exit(0 if result.testsRun and not failed else 1)
