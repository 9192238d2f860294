"""network: TCP as Debian 12 has it, for all of the bench alike. Where the kernel's default congestion
control is another one (BBR paces each packet with a timer, over loopback too, which in a virtual
machine is dear), the bench goes into a network namespace of its own, with nothing but loopback in
it; that needs root. It is gone when the bench ends; nothing of the machine's is changed."""

import ctypes
import fcntl
import os
import socket
import struct

WANTED = "cubic"
SETTING = "/proc/sys/net/ipv4/tcp_congestion_control"
CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS = 0x8914
IFF_UP = 1


def congestion_control():
    with open(SETTING, encoding="ascii") as setting:
        return setting.read().strip()


def loopback_up():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", IFF_UP))


def enter(wanted=WANTED):
    """Before anything is started. Returns what to say about it, or None."""
    default = congestion_control()
    if default == wanted:
        return None if default == WANTED else "TCP congestion control: %s" % default
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        return "TCP congestion control: %s (Debian 12: %s); no network namespace with another: %s" % (
            default, WANTED, os.strerror(ctypes.get_errno()))
    loopback_up()
    with open(SETTING, "w", encoding="ascii") as setting:
        setting.write(wanted)
    return "TCP congestion control: %s, in a network namespace of the bench; this machine's default " \
           "is %s" % (wanted, default)
