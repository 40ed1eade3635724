"""A network of the measurement's own: a namespace that ends with the process, and a TAP in it."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from pathlib import Path

from pykvm.errors import HostError, PykvmError
from pykvm.kvm.abi import lib
from pykvm.net.vnet import VnetHeader

NAME = "pykvm0"
QUEUE = 20_000
_CLONE_NEWNET = 0x40000000
_TUNSETIFF, _TUNSETPERSIST, _TUNSETOFFLOAD = 0x400454CA, 0x400454CB, 0x400454D0
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _SIOCSIFTXQLEN, _IFF_UP = 0x8913, 0x8914, 0x8943, 0x1
_TUN_F_CSUM_TSO = 0x1 | 0x2 | 0x4


def enter() -> None:
    """Move this thread, and what it starts from now on, into a network of its own with a TAP that
    stays there. Raises HostError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) != 0:
        error = os.strerror(ctypes.get_errno())
        raise HostError(f"cannot make a network namespace ({error}); run this bench as root")
    fd = attach()
    fcntl.ioctl(fd, _TUNSETPERSIST, 1)
    os.close(fd)
    # The kernel's own chatter on a new interface would be counted along.
    quiet = Path(f"/proc/sys/net/ipv6/conf/{NAME}/disable_ipv6")
    if quiet.exists():
        quiet.write_text("1", encoding="ascii")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        name = NAME.encode()
        fcntl.ioctl(control, _SIOCSIFTXQLEN, struct.pack("16si20x", name, QUEUE))
        request = fcntl.ioctl(control, _SIOCGIFFLAGS, struct.pack("16sH22x", name, 0))
        flags = struct.unpack("16xH22x", request)[0] | _IFF_UP
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH22x", name, flags))


def attach() -> int:
    """A descriptor of the TAP, with virtio-net headers; the caller closes it. Raises HostError."""
    try:
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        wanted = struct.pack("16sH22x", NAME.encode(), _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR)
        fcntl.ioctl(fd, _TUNSETIFF, wanted)
        return fd
    except OSError as error:
        raise HostError(f"cannot make a TAP: {error.strerror}; run this bench as root") from error


def write_ceiling(frame: bytes, header: VnetHeader, count: int) -> float:
    """Nanoseconds per bare ``writev`` of ``frame``; a short one comes from each buffer of a ring of
    256 in turn, as a card's frames do."""
    fd = attach()
    try:
        packed = header.pack()
        stride = 2048
        buffers = 256 if len(frame) <= stride else 1
        frames = frame.ljust(stride, b"\0") * buffers if buffers > 1 else frame
        spent = lib.pk_floor_write(
            fd, packed, len(packed), frames, len(frame), stride, buffers, count
        )
    finally:
        os.close(fd)
    if not spent:
        raise PykvmError("the TAP takes no frames")
    return float(spent / count)


def read_ceiling(frame: bytes, count: int) -> float:
    """Nanoseconds per bare ``read`` of a frame that waits."""
    fd = attach()
    try:
        fill(frame, count)
        spent = lib.pk_floor_read(fd, count)
    finally:
        os.close(fd)
    if not spent:
        raise PykvmError("the TAP lost frames")
    return float(spent / count)


def fill(frame: bytes, count: int) -> None:
    """Put ``count`` copies of ``frame`` into the TAP's queue, from the host's side."""
    if count > QUEUE:
        raise ValueError(f"the queue takes {QUEUE} frames")
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind((NAME, 0))
        for _ in range(count):
            wire.send(frame)
