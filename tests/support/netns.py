"""netns: network namespaces for one test, with links between them; needs root, leaves nothing.

    with netns.Space("agent") as agent, netns.Space("far") as far:
        netns.link(agent, "eth0", "10.77.1.2/24", far, "eth0", "10.77.1.1/24")
        agent.run("ping", "-c1", "10.77.1.1")
        agent.nft("add table ip t")
        lab.Program("sallyport-agent", ..., prefix=agent.prefix)

A namespace (network and mounts) lives as long as the process that holds it; it has no name outside
of the test, and nothing of the machine's own network or files is touched.
"""

import ctypes
import functools
import os
import shutil
import signal
import socket
import subprocess
import threading

import lab

CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)
# --root: that of the one who holds it, else it would be the machine's where we are in a chroot.
ENTER = ("nsenter", "--target", "{}", "--net", "--mount", "--root")


@functools.cache
def why_not():
    """Why no namespace can be made here; None: they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for tool in ("unshare", "nsenter", "ip", "nft"):
        if not shutil.which(tool):
            return "network namespaces need the command " + tool
    # As Space does it; and the files must be the same in there, which they need not be in a chroot.
    tried = subprocess.run(
        ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-e", "-c",
         "ip link set lo up; nft list ruleset; %s -- test -e \"$0\"" % " ".join(ENTER).format("$$"),
         os.path.abspath(__file__)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if tried.returncode != 0:
        return "no network namespace can be made: " + tried.stdout.decode(errors="replace").strip()
    return None


def _die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


class Space:
    """One namespace; its loopback is up."""

    def __init__(self, name):
        self.name = name
        self.holder = subprocess.Popen(
            ["unshare", "--net", "--mount", "--propagation", "private", "sleep", "infinity"],
            stdin=subprocess.DEVNULL, preexec_fn=_die_with_parent)
        self.path = "/proc/%d/ns/net" % self.holder.pid
        own = os.readlink("/proc/self/ns/net")
        # Its mounts are its own a moment after its network is: wait for what comes last.
        lab.until(lambda: self._runs_sleep() and os.readlink(self.path) != own,
                  what="the namespace " + name)
        self.prefix = (*(word.format(self.holder.pid) for word in ENTER), "--")
        self.processes = []
        self.ip("link", "set", "lo", "up")

    def _runs_sleep(self):
        with open("/proc/%d/comm" % self.holder.pid, encoding="ascii") as comm:
            return comm.read().strip() == "sleep"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def run(self, *argv, **more):
        return lab.run(*self.prefix, *argv, **more)

    def must(self, *argv, **more):
        done = self.run(*argv, **more)
        if done.returncode != 0:
            raise AssertionError("%s in %s: %s%s" % (" ".join(map(str, argv)), self.name,
                                                     done.stdout, done.stderr))
        return done.stdout

    def ip(self, *argv):
        return self.must("ip", *argv)

    def nft(self, rules):
        """In the language of `nft -f`."""
        self.must("nft", "-f", "-", input=rules)

    def forward(self):
        """Packets that are not its own go on to where they want to."""
        self.must("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")

    def name_servers(self, folder, *servers):
        """An /etc/resolv.conf of its own; folder: where the file may be written."""
        path = os.path.join(folder, "resolv.conf." + self.name)
        with open(path, "w", encoding="ascii") as out:
            out.write("".join("nameserver %s\n" % s for s in servers) + "options timeout:1\n")
        self.must("mount", "--bind", path, "/etc/resolv.conf")

    def socket(self, kind, address):
        """A socket of this namespace, bound; whoever has it may be anywhere."""
        made = []

        def make():
            with open(self.path, "rb") as ns:
                if _libc.setns(ns.fileno(), CLONE_NEWNET) != 0:
                    return
            sock = socket.socket(socket.AF_INET, kind)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
            made.append(sock)

        # Only the thread changes its namespace, and ends.
        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        if not made:
            raise AssertionError("no socket at %s in %s" % (address, self.name))
        return made[0]

    def start(self, *argv):
        """A process that serves until the end; ready when it has written a line, which is
        returned with it."""
        process = subprocess.Popen([*self.prefix, *map(str, argv)], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, preexec_fn=_die_with_parent,
                                   env=lab.environment())
        self.processes.append(process)
        line = process.stdout.readline().decode().strip()
        if not line:
            raise AssertionError("%s in %s did not start" % (" ".join(map(str, argv)), self.name))
        return process, line

    def stop(self, process):
        process.kill()
        process.wait()
        process.stdout.close()
        self.processes.remove(process)

    def close(self):
        for process in list(self.processes):
            self.stop(process)
        self.holder.kill()
        self.holder.wait()


def link(one, one_name, one_address, other, other_name, other_address):
    """A cable between two namespaces; addresses with their prefix length."""
    one.ip("link", "add", one_name, "type", "veth", "peer", "name", other_name, "netns",
           str(other.holder.pid))
    for space, name, address in ((one, one_name, one_address), (other, other_name, other_address)):
        space.ip("addr", "add", address, "dev", name)
        space.ip("link", "set", name, "up")
