"""room: a machine of this test's own: its loopback, hosts file and name servers.

Enter it before anything else, since it is for this process and all that it starts:

    room.enter(hosts="127.0.0.1 localhost\\n", name_server="127.0.0.1")

Nothing of it is left when the process ends.
"""

import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import tempfile

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x00020000, 0x10000000, 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1


def _unshare(flags):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _write(path, text):
    with open(path, "w", encoding="ascii") as out:
        out.write(text)


def _become_root_of_a_namespace():
    """For who is not root already."""
    user, group = os.geteuid(), os.getegid()
    _unshare(CLONE_NEWUSER)
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", "0 %d 1" % user)
    _write("/proc/self/gid_map", "0 %d 1" % group)


def _loopback_up():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = bytearray(struct.pack("16sH22x", b"lo", 0))
        fcntl.ioctl(sock, SIOCGIFFLAGS, request)
        flags = struct.unpack_from("H", request, 16)[0]
        struct.pack_into("H", request, 16, flags | IFF_UP)
        fcntl.ioctl(sock, SIOCSIFFLAGS, request)


class Room:
    """The files, to be written again by the test."""

    def __init__(self, hosts, name_server):
        self.folder = tempfile.TemporaryDirectory(prefix="sallyport-room-")
        self.hosts = os.path.join(self.folder.name, "hosts")
        resolv_conf = os.path.join(self.folder.name, "resolv.conf")
        _write(self.hosts, hosts)
        _write(resolv_conf, "nameserver %s\n" % name_server)
        for ours, path in ((self.hosts, "/etc/hosts"), (resolv_conf, "/etc/resolv.conf")):
            subprocess.run(["mount", "--bind", ours, os.path.realpath(path)], check=True,
                           stderr=subprocess.DEVNULL)

    def write_hosts(self, text):
        _write(self.hosts, text)


def enter(hosts, name_server):
    """The Room; or, where no namespaces may be made, a sentence that says why."""
    try:
        if os.geteuid() != 0:
            _become_root_of_a_namespace()
        _unshare(CLONE_NEWNS | CLONE_NEWNET)
        subprocess.run(["mount", "--make-rprivate", "/"], check=True, stderr=subprocess.DEVNULL)
        _loopback_up()
        return Room(hosts, name_server)
    except (OSError, subprocess.CalledProcessError) as problem:
        return "no namespaces may be made here: %s" % problem
