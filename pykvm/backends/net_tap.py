"""A TAP interface: the guest's card is a port of the host's own network.

Frames carry a virtio-net header in both directions, so that a large TCP segment can be handed
over in one piece for the kernel to cut (Documentation/networking/tuntap.rst, <linux/if_tun.h>).
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Callable

from pykvm.errors import HostError, UsageError
from pykvm.interfaces import EventLoop, Frame, NetReceiver
from pykvm.net.vnet import SIZE, Offload, VnetHeader

_TUNSETIFF, _TUNSETOFFLOAD, _TUNSETVNETHDRSZ = 0x400454CA, 0x400454D0, 0x400454D8
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1
_NAME_MAX = 15
_BATCH = 64  # frames taken per wake-up, so that the lock is let go now and then
_LARGEST = 65536 + 64
_PLAIN = VnetHeader().pack()


class TapNet:
    """``name`` is an interface (made if it does not exist and we may); empty makes one of our own,
    which goes away with us. Raises HostError with the command that makes one."""

    offloads = Offload.CSUM | Offload.TSO4 | Offload.TSO6

    def __init__(self, name: str, loop: EventLoop, say: Callable[[str], None]) -> None:
        if len(name.encode()) > _NAME_MAX:
            raise UsageError(f"--nic: an interface name has at most {_NAME_MAX} characters: {name}")
        self._loop = loop
        self._receiver: NetReceiver | None = None
        self._fd = -1
        try:
            self._fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
            wanted = struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR)
            given = fcntl.ioctl(self._fd, _TUNSETIFF, wanted)
            self.name = given[:16].rstrip(b"\0").decode()
            fcntl.ioctl(self._fd, _TUNSETVNETHDRSZ, struct.pack("i", SIZE))
            fcntl.ioctl(self._fd, _TUNSETOFFLOAD, 0)  # what comes to us is finished
            if not name:
                _bring_up(self.name)
                say(f"network interface {self.name}")
        except OSError as error:
            if self._fd >= 0:
                os.close(self._fd)
            shown = name or "a new interface"
            raise HostError(
                f"--nic: cannot open {shown} as a TAP: {error.strerror}; make one with: "
                f"sudo ip tuntap add {name or 'tap0'} mode tap user $USER"
            ) from error

    @property
    def native_fd(self) -> int | None:
        return self._fd

    def connect(self, receiver: NetReceiver) -> None:
        self._receiver = receiver
        self.resume()

    def send(self, frame: Frame, header: VnetHeader | None = None) -> None:
        try:
            os.writev(self._fd, [header.pack() if header else _PLAIN, *frame])
        except OSError:
            return  # the interface is down or full: a network loses frames

    def resume(self) -> None:
        if self._fd >= 0:
            self._loop.add_reader(self._fd, self._readable)

    def _readable(self) -> None:
        receiver = self._receiver
        for _ in range(_BATCH):
            if receiver is None or not receiver.can_receive():
                self._loop.remove_reader(self._fd)
                return
            try:
                data = os.read(self._fd, _LARGEST)
            except BlockingIOError:
                return
            except OSError:  # the interface is gone
                self._loop.remove_reader(self._fd)
                return
            receiver.receive(data[SIZE:])

    def close(self) -> None:
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1


def _bring_up(name: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH22x", name.encode(), 0)
        flags = struct.unpack("16sH22x", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request))[1]
        request = struct.pack("16sH22x", name.encode(), flags | _IFF_UP)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, request)
