"""A TAP interface: the guest's card is a port of the host's own network.

Frames carry a virtio-net header in both directions, so that a large TCP segment can be handed
over in one piece for the kernel to cut (Documentation/networking/tuntap.rst, <linux/if_tun.h>).
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from pykvm.errors import HostError, UsageError
from pykvm.interfaces import EventLoop, Frame, NetReceiver
from pykvm.net.vnet import SIZE, Offload, VnetHeader

_TUNSETIFF, _TUNSETOFFLOAD, _TUNSETVNETHDRSZ = 0x400454CA, 0x400454D0, 0x400454D8
_TUNSETQUEUE = 0x400454D9
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR, _IFF_MULTI_QUEUE = 0x0002, 0x1000, 0x4000, 0x0100
_IFF_ATTACH_QUEUE, _IFF_DETACH_QUEUE = 0x0200, 0x0400
_TUN_F = {  # TUN_F_...: what we take unfinished
    Offload.CSUM: 0x01, Offload.TSO4: 0x02, Offload.TSO6: 0x04, Offload.USO4: 0x20,
    Offload.USO6: 0x40,
}  # fmt: skip
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1
_NAME_MAX = 15
_BATCH = 64  # frames taken per wake-up, so that the lock is let go now and then
_LARGEST = 65536 + 64
_PLAIN = VnetHeader().pack()


class TapNet:
    """``name`` is an interface that exists; empty makes one of our own, which goes away with us.
    With several ``queues`` it is one with IFF_MULTI_QUEUE. Raises HostError with the command that
    makes one."""

    def __init__(
        self, name: str, loop: EventLoop, say: Callable[[str], None], *, queues: int = 1
    ) -> None:
        if len(os.fsencode(name)) > _NAME_MAX:
            raise UsageError(f"--nic: an interface name has at most {_NAME_MAX} characters: {name}")
        self._loop = loop
        self._receiver: NetReceiver | None = None
        self._fds: list[int] = []
        self._attached = queues
        self.name = name
        kind = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR | (_IFF_MULTI_QUEUE if queues > 1 else 0)
        try:
            if name:
                _find(name)  # TUNSETIFF would make it, for those who may
            for _ in range(queues):
                self._fds.append(os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK))
                wanted = struct.pack("16sH22x", self.name.encode(), kind)
                given = fcntl.ioctl(self._fds[-1], _TUNSETIFF, wanted)
                self.name = given[:16].rstrip(b"\0").decode()
            self.offloads = self._finishes()
            self._tune(SIZE, Offload.NONE, queues)
            if not name:
                _bring_up(self.name)
                say(f"network interface {self.name}")
        except OSError as error:
            for fd in self._fds:
                os.close(fd)
            shown = name or "a new interface"
            raise HostError(
                f"--nic: cannot open {shown} as a TAP: {error.strerror}; make one with: "
                f"sudo ip tuntap add {name or 'tap0'} mode tap user $USER"
                + (" multi_queue" if queues > 1 else "")
            ) from error

    def _finishes(self) -> Offload:
        """What the kernel does for us; USO since Linux 6.2."""
        plain = Offload.CSUM | Offload.TSO4 | Offload.TSO6
        uso = Offload.USO4 | Offload.USO6
        try:
            fcntl.ioctl(self._fds[0], _TUNSETOFFLOAD, _unfinished(plain | uso))
        except OSError:
            return plain
        return plain | uso

    @property
    def native_fd(self) -> int | None:
        return self._fds[0]

    @property
    def native_fds(self) -> Sequence[int]:
        return self._fds

    def tune(self, header: int, receive: Offload, pairs: int) -> None:
        with suppress(OSError):  # the interface is gone: frames are lost, as after a pulled cable
            self._tune(header, receive, pairs)

    def _tune(self, header: int, receive: Offload, pairs: int) -> None:
        for number, fd in enumerate(self._fds):
            fcntl.ioctl(fd, _TUNSETVNETHDRSZ, struct.pack("i", header))
            if (number < pairs) != (number < self._attached):
                flag = _IFF_ATTACH_QUEUE if number < pairs else _IFF_DETACH_QUEUE
                fcntl.ioctl(fd, _TUNSETQUEUE, struct.pack("16sH22x", b"", flag))
        self._attached = pairs
        if self._fds:
            fcntl.ioctl(self._fds[0], _TUNSETOFFLOAD, _unfinished(receive))

    def connect(self, receiver: NetReceiver) -> None:
        self._receiver = receiver
        self.resume()

    def send(self, frame: Frame, header: VnetHeader | None = None) -> None:
        if not self._fds:
            return
        try:
            os.writev(self._fds[0], [header.pack() if header else _PLAIN, *frame])
        except OSError:
            return  # the interface is down or full: a network loses frames

    def resume(self) -> None:
        for fd in self._fds:
            self._loop.add_reader(fd, partial(self._readable, fd))

    def _readable(self, fd: int) -> None:
        receiver = self._receiver
        for _ in range(_BATCH):
            if receiver is None or not receiver.can_receive():
                self._loop.remove_reader(fd)
                return
            try:
                data = os.read(fd, _LARGEST)
            except BlockingIOError:
                return
            except OSError:  # the interface is gone
                self._loop.remove_reader(fd)
                return
            receiver.receive(data[SIZE:])

    def close(self) -> None:
        for fd in self._fds:
            self._loop.remove_reader(fd)
            os.close(fd)
        self._fds.clear()


def _unfinished(offloads: Offload) -> int:
    if Offload.USO4 not in offloads or Offload.USO6 not in offloads:
        offloads &= ~(Offload.USO4 | Offload.USO6)  # the kernel takes both or none
    return sum(flag for offload, flag in _TUN_F.items() if offload in offloads)


def _find(name: str) -> None:
    try:
        socket.if_nametoindex(name)
    except OSError as error:
        raise OSError(errno.ENODEV, "no such interface") from error


def _bring_up(name: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH22x", name.encode(), 0)
        flags = struct.unpack("16sH22x", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request))[1]
        request = struct.pack("16sH22x", name.encode(), flags | _IFF_UP)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, request)
