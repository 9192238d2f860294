"""tools: the programs that make load, and how their words become numbers."""

import json
import os
import re
import select
import subprocess
import time

import procs
from procs import BenchError

UNITS_US = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6}


def wrk(port, seconds, close=False, connections=32):
    threads = min(2, os.cpu_count() or 1)
    command = ["wrk", "-t%d" % threads, "-c%d" % connections, "-d%gs" % seconds, "--latency"]
    if close:
        command += ["-H", "Connection: close"]
    command.append("http://127.0.0.1:%d/" % port)
    done = subprocess.run(command, capture_output=True, text=True, check=False,
                          timeout=seconds + 60)
    if done.returncode:
        raise BenchError("wrk: " + (done.stderr or done.stdout).strip()[-300:])
    return parse_wrk(done.stdout)


def parse_wrk(text):
    """{"requests", "seconds", "rate", "p50", "p99" (us), "errors"}"""
    total = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m)\b", text)
    if not total or not int(total.group(1)):
        raise BenchError("wrk: no requests: " + text.strip()[-300:])
    found = {"requests": int(total.group(1)),
             "seconds": float(total.group(2)) * UNITS_US[total.group(3)] / 1e6}
    found["rate"] = found["requests"] / found["seconds"]
    for share in ("50", "99"):
        match = re.search(r"^\s+%s(?:\.\d+)?%%\s+([\d.]+)(us|ms|s|m)\s*$" % share, text, re.M)
        if not match:
            raise BenchError("wrk: no %s%% in: %s" % (share, text.strip()[-300:]))
        found["p" + share] = float(match.group(1)) * UNITS_US[match.group(2)]
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)",
                       text)
    found["errors"] = sum(int(n) for n in errors.groups()) if errors else 0
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    found["errors"] += int(bad.group(1)) if bad else 0
    return found


def iperf3(port, seconds, streams, down, each=None):
    """each: bits a second of a stream, as iperf3 wants it; None: as many as go."""
    command = ["iperf3", "-c", "127.0.0.1", "-p", str(port), "-t", str(max(1, round(seconds))),
               "-P", str(streams), "-J"] + (["-R"] if down else []) + (["-b", each] if each else [])
    done = subprocess.run(command, capture_output=True, text=True, check=False,
                          timeout=seconds + 60)
    return parse_iperf3(done.stdout or done.stderr)


def parse_iperf3(text):
    """{"bytes", "seconds", "gbit"} as received."""
    try:
        report = json.loads(text)
    except ValueError:
        raise BenchError("iperf3: " + text.strip()[-300:]) from None
    if "error" in report:
        raise BenchError("iperf3: " + report["error"])
    total = report["end"]["sum_received"]
    if not total["bytes"]:
        raise BenchError("iperf3: nothing arrived")
    return {"bytes": total["bytes"], "seconds": total["seconds"],
            "gbit": total["bits_per_second"] / 1e9}


class Lines:
    """A program of ours that talks with us in lines."""

    def __init__(self, command, nice=0):
        if nice:
            command = ["nice", "-n", str(nice)] + command
        self.what = os.path.basename(command[0])
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, bufsize=0, start_new_session=True,
                                        preexec_fn=procs.die_with_driver)
        if nice:
            procs.autogroup_nice(self.process.pid, nice)
        self.buffer = b""

    def line(self, seconds):
        end = time.monotonic() + seconds
        while b"\n" not in self.buffer:
            left = end - time.monotonic()
            ready = left > 0 and select.select([self.process.stdout], [], [], left)[0]
            if not ready:
                self.stop()
                raise BenchError("%s said nothing for %d s" % (self.what, seconds))
            data = os.read(self.process.stdout.fileno(), 65536)
            if not data:
                said = self.process.stderr.read().decode("utf-8", "replace").strip()
                self.stop()
                raise BenchError(said[-300:] or "%s ended" % self.what)
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.decode("utf-8", "replace")

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            pipe.close()


class Load(Lines):
    """load.c: ready once constructed, works from go() on, result() waits for its end."""

    def __init__(self, bench, mode, *args, nice=0, ready_s=300):
        super().__init__([bench.load, mode] + [str(arg) for arg in args], nice)
        if self.line(ready_s) != "ready":
            self.stop()
            raise BenchError("load: not ready")

    def go(self):
        self.process.stdin.write(b"\n")
        return self

    def result(self, seconds=120):
        found = json.loads(self.line(seconds))
        self.stop()
        return found

    def run(self, seconds=120):
        return self.go().result(seconds)


class Delay(Lines):
    """delay.c, in front of a port."""

    def __init__(self, program, port, delay_ms):
        super().__init__([program, str(port), str(delay_ms)])
        self.port = int(self.line(10).split()[1])


def compile_c(build, name, sources, libraries):
    """One of the bench's own programs, with the same warnings as the rest."""
    target = os.path.join(build, "bench-" + name)
    sources = [os.path.join(procs.HERE, source) for source in sources]
    headers = [os.path.join(procs.HERE, header) for header in os.listdir(procs.HERE)
               if header.endswith(".h")]
    if os.path.exists(target) and all(os.path.getmtime(path) < os.path.getmtime(target)
                                      for path in sources + headers):
        return target
    done = subprocess.run(["gcc", "-std=gnu11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra",
                           "-Werror", "-I", procs.ROOT, "-o", target] + sources + libraries,
                          capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit("tests/bench: %s does not compile:\n%s" % (name, done.stderr))
    return target
