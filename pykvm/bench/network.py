"""A network of the measurement's own: a namespace that ends with the process, and a TAP in it."""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import socket
import struct
import time
from pathlib import Path
from typing import NamedTuple

from pykvm.errors import HostError, PykvmError
from pykvm.kvm.abi import ffi, lib
from pykvm.net.vnet import VnetHeader

NAME, SEVERAL = "pykvm0", "pykvm0mq"
QUEUE = 20_000
_CLONE_NEWNET = 0x40000000
_TUNSETIFF, _TUNSETPERSIST, _TUNSETOFFLOAD = 0x400454CA, 0x400454CB, 0x400454D0
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR, _IFF_MULTI_QUEUE = 0x0002, 0x1000, 0x4000, 0x0100
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _SIOCSIFTXQLEN = 0x8913, 0x8914, 0x8943
_SIOCSIFADDR, _SIOCSIFNETMASK = 0x8916, 0x891C
_IFF_UP = 0x1
_PATIENCE = 5.0
_TUN_F_CSUM_TSO = 0x1 | 0x2 | 0x4
_SOL_PACKET, _PACKET_VNET_HDR = 263, 15
_PLAIN = VnetHeader()


def enter(queues: int = 1) -> None:
    """Move this thread, and what it starts from now on, into a network of its own with a TAP that
    stays there, and with another if a card shall have several pairs of ``queues``. Raises
    HostError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) != 0:
        error = os.strerror(ctypes.get_errno())
        raise HostError(f"cannot make a network namespace ({error}); run this bench as root")
    _add(NAME, 1)
    if queues > 1:
        _add(SEVERAL, queues)


def tap(queues: int) -> str:
    """Which of them is for a card with so many pairs: a TAP has several queues or one for good."""
    return SEVERAL if queues > 1 else NAME


def _add(name: str, queues: int) -> None:
    os.close(attach(name, queues=queues, keep=True))
    quiet(name)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCSIFTXQLEN, struct.pack("16si20x", name.encode(), QUEUE))
        bring_up(control, name)


def quiet(name: str) -> None:
    """The kernel's own chatter on a new interface would be counted along."""
    switch = Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6")
    if switch.exists():
        switch.write_text("1", encoding="ascii")


def bring_up(control: socket.socket, name: str) -> None:
    """Set IFF_UP, with any socket as ``control``."""
    request = struct.pack("16sH22x", name.encode(), 0)
    flags: int = struct.unpack("16xH22x", fcntl.ioctl(control, _SIOCGIFFLAGS, request))[0]
    fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH22x", name.encode(), flags | _IFF_UP))


class Traffic(NamedTuple):
    """What has passed through the TAP so far, as the kernel counts it. A segment that the kernel
    shall cut is one frame."""

    sent: int  # frames that whoever has opened the TAP has written
    sent_bytes: int
    taken: int  # frames that it has read
    taken_bytes: int
    dropped: int  # frames that found the TAP's queue full, or nobody who reads


def traffic(tap: str = NAME) -> Traffic:
    """The TAP's counters now. Raises PykvmError when there is no TAP."""
    for line in Path("/proc/thread-self/net/dev").read_text(encoding="ascii").splitlines():
        name, _, counts = line.partition(":")
        if name.strip() == tap:
            words = [int(word) for word in counts.split()]
            return Traffic(words[1], words[0], words[9], words[8], words[11])
    raise PykvmError(f"{tap} is gone")


def set_address(address: str, netmask: str = "255.255.255.0") -> None:
    """Give the host's side of the TAP an IPv4 address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for request, value in ((_SIOCSIFADDR, address), (_SIOCSIFNETMASK, netmask)):
            packed = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(value))
            fcntl.ioctl(control, request, struct.pack("16s16s8x", NAME.encode(), packed))


def attach(name: str = NAME, *, queues: int = 1, keep: bool = False) -> int:
    """A descriptor of the TAP, which it makes if there is none, with virtio-net headers; the caller
    closes it. With ``keep`` the TAP stays. Raises HostError."""
    kind = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR | (_IFF_MULTI_QUEUE if queues > 1 else 0)
    try:
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), kind))
        if keep:
            fcntl.ioctl(fd, _TUNSETPERSIST, 1)
        return fd
    except OSError as error:
        raise HostError(f"cannot make a TAP: {error.strerror}; run this bench as root") from error


def write_ceiling(frame: bytes, header: VnetHeader, count: int, ring: int = 256) -> float:
    """Nanoseconds per bare ``writev`` of ``frame``; a short one comes from each buffer of a ring in
    turn, as a card's frames do."""
    fd = attach()
    try:
        packed = header.pack()
        stride = 2048
        buffers = ring if len(frame) <= stride else 1
        frames = frame.ljust(stride, b"\0") * buffers if buffers > 1 else frame
        spent = lib.pk_floor_write(
            fd, packed, len(packed), frames, len(frame), stride, buffers, count
        )
    finally:
        os.close(fd)
    if not spent:
        raise PykvmError("the TAP takes no frames")
    return float(spent / count)


def read_ceiling(frame: bytes, count: int, header: VnetHeader = _PLAIN) -> float:
    """Nanoseconds per bare ``readv`` of a frame that waits, into each of as many buffers in turn as
    a ring of 256 has, or as one has room for."""
    stride = 2048 if len(frame) < 2048 else 1 << 17
    memory = bytearray(256 * 2048 if stride == 2048 else 8 * stride)
    fd = attach()
    try:
        os.set_blocking(fd, False)
        fcntl.ioctl(fd, _TUNSETOFFLOAD, _TUN_F_CSUM_TSO)
        fill(frame, count, header, fd=fd)
        buffers = len(memory) // stride
        spent = lib.pk_floor_read(
            fd, len(header.pack()), ffi.from_buffer(memory), stride, buffers, count
        )  # fmt: skip
    finally:
        os.close(fd)
    if not spent:
        raise PykvmError("the TAP lost frames")
    return float(spent / count)


def fill(frame: bytes, count: int, header: VnetHeader = _PLAIN, *, fd: int = -1) -> None:
    """Put ``count`` copies of ``frame`` and a few more into the TAP's queue, from the host's side;
    ``header`` says what they still need. ``fd`` is the TAP's, if it is not read meanwhile."""
    if count > QUEUE:
        raise ValueError(f"the queue takes {QUEUE} frames")
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
        wire.bind((NAME, 0))
        whole = header.pack() + frame
        # For a while after somebody has opened the TAP, the kernel drops everything.
        before, deadline = traffic().taken, time.monotonic() + _PATIENCE
        while not (select.select([fd], [], [], 0)[0] if fd >= 0 else traffic().taken > before):
            if time.monotonic() > deadline:
                raise PykvmError("the TAP takes no frames")
            wire.send(whole)
            time.sleep(0.001)
        for _ in range(count):
            wire.send(whole)
