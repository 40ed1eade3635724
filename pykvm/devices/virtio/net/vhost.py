"""Moving frames in the kernel: vhost-net works the rings, and nothing here runs meanwhile.

The rings are Python's while nothing runs, as with ``native.py``; numbers and layouts are those of
<linux/vhost.h>. What the kernel cannot do here goes to the native engine for that session: a driver
that interrupts by INTx, a cable that is pulled.
"""

from __future__ import annotations

import fcntl
import os
import struct
from contextlib import suppress
from typing import Any

from pykvm._native import ffi, lib
from pykvm.devices.netcounts import NetCounts
from pykvm.devices.virtio.device import VirtioDevice
from pykvm.devices.virtio.features import Ring as Feature
from pykvm.devices.virtio.net.engine import Session
from pykvm.devices.virtio.net.features import Feature as NetFeature
from pykvm.devices.virtio.net.native import NativeEngine
from pykvm.devices.virtio.queue import Queue
from pykvm.errors import DeviceError, HostError
from pykvm.interfaces import NetBackend

PATH = "/dev/vhost-net"
WITHHELD = Feature.IN_ORDER | Feature.RING_PACKED
"""What the kernel's rings do not do."""

_GET_FEATURES, _SET_FEATURES, _SET_OWNER = 0x8008AF00, 0x4008AF00, 0xAF01
_SET_MEM_TABLE, _SET_VRING_NUM, _SET_VRING_ADDR = 0x4008AF03, 0x4008AF10, 0x4028AF11
_SET_VRING_BASE, _GET_VRING_BASE = 0x4008AF12, 0xC008AF12
_SET_VRING_KICK, _SET_VRING_CALL, _NET_SET_BACKEND = 0x4008AF20, 0x4008AF21, 0x4008AF30
_RINGS = Feature.EVENT_IDX | Feature.INDIRECT_DESC | Feature.VERSION_1 | int(NetFeature.MRG_RXBUF)


def check() -> None:
    """Raises HostError where there is no vhost-net, or it is not ours to use."""
    os.close(_open())


def available() -> bool:
    """Whether this host has vhost-net, and lets us use it."""
    try:
        check()
    except HostError:
        return False
    return True


def _open() -> int:
    try:
        return os.open(PATH, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise HostError(
            f"--nic: vhost=on: {PATH}: {error.strerror}; load it with: sudo modprobe vhost_net"
        ) from error


class VhostEngine:
    """See ``engine.Engine``. The backend must have ``native_fds`` of TAPs."""

    def __init__(self, device: VirtioDevice, backend: NetBackend, *, poll: bool = True) -> None:
        self._device = device
        self._backend = backend
        self._native = NativeEngine(device, backend, poll=poll)
        self._pairs: list[_Pair] = []
        self._by_native = False

    def start(self, session: Session) -> None:
        wires = self._device.wires
        queues = [queue for pair in session.pairs for queue in pair]
        if wires is None or not session.link or any(wires.call(q.index) < 0 for q in queues):
            self._by_native = True
            self._native.start(session)
            return
        self._backend.tune(session.header, session.receive, len(session.pairs))
        for fd, pair in zip(self._backend.native_fds, session.pairs, strict=False):
            self._pairs.append(_Pair(self._device, fd, pair))
        for one in self._pairs:
            one.start()

    def stop(self) -> None:
        if self._by_native:
            self._by_native = False
            self._native.stop()
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            pair.stop()

    def close(self) -> None:
        self._native.close()

    def counts(self) -> list[NetCounts]:
        """The kernel's own work is not counted."""
        counts = self._native.counts()
        return counts if any(any(pair.values()) for pair in counts) else []

    def kicked(self, queue: Queue) -> None:
        """A kick that KVM did not take, of another width."""
        if self._by_native:
            self._native.kicked(queue)
        else:
            os.eventfd_write(self._pairs[queue.index // 2].kicks[queue.index % 2], 1)


class _Pair:
    """A receive and a transmit queue: vhost-net's rings 0 and 1, with a descriptor of their own."""

    def __init__(self, device: VirtioDevice, tap: int, queues: tuple[Queue, Queue]) -> None:
        self._device, self._tap = device, tap
        self._queues = [(n, queue) for n, queue in enumerate(queues) if queue.ring is not None]
        self._fd = _open()  # first: it may fail, and nothing else is to be given back then
        self.kicks = [os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK) for _ in queues]

    def _call(self, request: int, layout: str, *values: int) -> bytes:
        return bytes(fcntl.ioctl(self._fd, request, struct.pack(layout, *values)))

    def start(self) -> None:
        """Raises HostError when the kernel refuses, DeviceError for a ring that is no RAM."""
        try:
            fcntl.ioctl(self._fd, _SET_OWNER)
            offered = int.from_bytes(self._call(_GET_FEATURES, "Q", 0), "little")
            self._call(_SET_FEATURES, "Q", offered & self._device.features & int(_RINGS))
            self._map_memory()
            for number, queue in self._queues:
                self._hand_over(number, queue)
            for number, _ in self._queues:
                self._call(_NET_SET_BACKEND, "Ii", number, self._tap)
        except OSError as error:
            raise HostError(f"{PATH}: {error.strerror}") from error

    def _map_memory(self) -> None:
        memory = self._device.dma.native()
        table = struct.pack("II", memory.count, 0)
        for slot in memory.slots[0 : memory.count]:
            host = int(ffi.cast("uintptr_t", slot.host))
            table += struct.pack("QQQQ", slot.base, slot.size, host, 0)
        fcntl.ioctl(self._fd, _SET_MEM_TABLE, table)

    def _hand_over(self, number: int, queue: Queue) -> None:
        assert self._device.wires is not None
        size, descriptors, driver, device = queue.layout
        self._call(_SET_VRING_NUM, "II", number, size)
        self._call(_SET_VRING_BASE, "II", number, _position(queue)["next"])
        self._call(
            _SET_VRING_ADDR, "IIQQQQ", number, 0, self._host(descriptors, 16 * size),
            self._host(device, 6 + 8 * size), self._host(driver, 6 + 2 * size), 0,
        )  # fmt: skip
        self._device.wires.listen(self.kicks[number], [queue.index])
        self._call(_SET_VRING_KICK, "Ii", number, self.kicks[number])
        self._call(_SET_VRING_CALL, "Ii", number, self._device.wires.call(queue.index))

    def _host(self, address: int, length: int) -> int:
        found = lib.pk_guest_ptr(self._device.dma.native(), address, length, True)
        if found == ffi.NULL:
            raise DeviceError("a ring is not RAM")
        return int(ffi.cast("uintptr_t", found))

    def stop(self) -> None:
        """Take the rings back where the kernel left them."""
        for number, queue in self._queues:
            with suppress(OSError):  # it had not come so far
                self._call(_NET_SET_BACKEND, "Ii", number, -1)
                base = self._call(_GET_VRING_BASE, "II", number, 0)
                used = int.from_bytes(self._device.dma.read(queue.device + 2, 2), "little")
                position = {"next": struct.unpack("II", base)[1], "used": used, "signalled": used}
                if queue.ring is not None:
                    queue.ring.restore(_position(queue) | position)
        os.close(self._fd)
        for kick in self.kicks:
            if self._device.wires is not None:
                self._device.wires.ignore(kick)
            os.close(kick)


def _position(queue: Queue) -> dict[str, Any]:
    return queue.ring.state() if queue.ring is not None else {}
