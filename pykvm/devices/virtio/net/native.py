"""Moving frames in C (``native/virtio_net.h``): a thread for each pair of queues.

The rings are Python's while nothing runs: a start hands their positions to C, a stop takes them
back.
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from typing import Any

from pykvm._native import ffi, lib
from pykvm.devices import netcounts
from pykvm.devices.netcounts import NetCounts
from pykvm.devices.virtio.device import VirtioDevice
from pykvm.devices.virtio.features import Ring as Feature
from pykvm.devices.virtio.net.engine import LARGEST, Session
from pykvm.devices.virtio.net.filters import Filters
from pykvm.devices.virtio.queue import Queue
from pykvm.devices.virtio.ring import Ring, RingError
from pykvm.errors import DeviceError, HostError
from pykvm.interfaces import NetBackend
from pykvm.net.vnet import Offload

_MODES = (
    (Feature.RING_PACKED, lib.PK_VQ_PACKED),
    (Feature.EVENT_IDX, lib.PK_VQ_EVENT_IDX),
    (Feature.INDIRECT_DESC, lib.PK_VQ_INDIRECT),
)
_WRONGS = {
    lib.PK_VQ_NO_RAM: "a ring, a table or a buffer is not RAM",
    lib.PK_VQ_BAD_INDEX: "an index past the end of its ring",
    lib.PK_VQ_BAD_CHAIN: "a chain without end, or in the wrong order",
    lib.PK_VQ_BAD_INDIRECT: "an indirect table where none may be, or of an odd length",
    lib.PK_VQ_TOO_LONG: "a chain that is too long",
}
_MODES_OF_FILTER = (
    "promiscuous all_multicast all_unicast no_multicast no_unicast no_broadcast by_vlan"
).split()


class _Pair:
    """A receive and a transmit queue with their thread."""

    def __init__(
        self, number: int, fd: int, device: VirtioDevice, poll: bool, by_vcpu: bool
    ) -> None:
        self._device = device
        self.number = number
        self._queues: tuple[Queue, Queue] | None = None
        self.net: Any = ffi.gc(ffi.new("struct pk_vnet *"), lib.pk_vnet_free)
        self.net.fd = fd
        self.net.poll = poll
        self.net.by_vcpu = by_vcpu

    def start(self, session: Session, queues: tuple[Queue, Queue]) -> None:
        """Raises DeviceError for a ring that cannot be, HostError when there are no more threads;
        ``stop`` is due in either case."""
        net = self.net
        net.rx_on = net.tx_on = False
        net.kick = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        net.notice = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._queues = queues
        net.header, net.mergeable, net.link = session.header, session.mergeable, session.link
        net.requests = session.requests
        net.plain = session.receive == Offload.NONE
        net.standard = session.header + session.longest
        big = session.receive & ~Offload.CSUM
        net.longest = session.header + LARGEST if big else net.standard
        _fill_filter(net.filter, session.filters)
        for ring, on, call, queue in (
            (net.rx, "rx_on", net.rx_call, queues[0]), (net.tx, "tx_on", net.tx_call, queues[1]),
        ):  # fmt: skip
            if queue.ring is not None:
                self._hand_over(ring, queue, queue.ring)
                setattr(net, on, True)
            self._wire(call, queue.index)
        wires = self._device.wires
        if wires is not None:
            self._kicks = net.kick_at = wires.kicks_of(net.kick)
            if net.kick_at:
                lib.pk_kicks_switch(net.kick_at, False)
            wires.listen(net.kick, (queue.index for queue in queues))
            self._device.loop.add_reader(net.notice, self._noticed)
            error = lib.pk_vnet_start(net)
            if error:
                raise HostError(f"a network card's thread cannot start: {os.strerror(error)}")
            lib.pk_virtio_attach(wires.pairs, self.number, net)

    def _wire(self, call: Any, queue: int) -> None:
        wires = self._device.wires
        call.isr = wires.isr if wires is not None else ffi.NULL
        call.fd = wires.call(queue) if wires is not None else -1

    def _hand_over(self, native: Any, queue: Queue, ring: Ring) -> None:
        features = self._device.features
        mode = sum(bit for feature, bit in _MODES if features & feature)
        error = lib.pk_vq_init(
            ffi.addressof(native), self._device.dma.native(), mode, *queue.layout
        )
        if error:
            raise RingError(_WRONGS.get(error, "a ring that cannot be"))
        state = ring.state()
        native.next, native.seen, native.used = state["next"], state["next"], state["used"]
        if mode & lib.PK_VQ_PACKED:
            native.avail_wrap, native.used_wrap = state["avail_wrap"], state["used_wrap"]
            native.signalled = state["unsignalled"]
        else:
            native.signalled = state["signalled"]

    def run(self) -> None:
        """The thread's work on this one, until there is nothing to do."""
        if self._queues is None:
            return
        calls = self.net.rx_call, self.net.tx_call
        before = [call.count for call in calls]
        lib.pk_vnet_run(self.net)
        for call, count, queue in zip(calls, before, self._queues, strict=True):
            if call.count != count:
                self._device.interrupt(queue.vector, False)
        self.check()

    def stop(self) -> None:
        net, queues = self.net, self._queues
        if queues is None:
            return
        self._queues = None
        wires = self._device.wires
        if wires is not None:
            lib.pk_virtio_attach(wires.pairs, self.number, ffi.NULL)
            wires.ignore(net.kick)
            self._device.loop.remove_reader(net.notice)
        lib.pk_vnet_stop(net)
        for native, on, queue in ((net.rx, net.rx_on, queues[0]), (net.tx, net.tx_on, queues[1])):
            if on and queue.ring is not None:
                queue.ring.restore(_position(native))
        os.close(net.kick)
        os.close(net.notice)

    def _noticed(self) -> None:
        """A ring broke."""
        with suppress(BlockingIOError):
            os.eventfd_read(self.net.notice)
        self.check()

    def check(self) -> None:
        """Break the device if a ring broke."""
        for native, on in ((self.net.rx, self.net.rx_on), (self.net.tx, self.net.tx_on)):
            if on and native.error:
                self._device.broke(DeviceError(_WRONGS.get(native.error, "a broken ring")))
                return


class NativeEngine:
    """See ``engine.Engine``. Without the device's wires nothing runs by itself, but ``work`` does
    what the threads would (for tests). With ``poll`` off a thread never looks for work that it was
    not told of. With ``by_vcpu`` the vCPU that kicks does the work, always; without it only while
    the thread has no processor of its own."""

    def __init__(
        self, device: VirtioDevice, backend: NetBackend, *, poll: bool = True,
        by_vcpu: bool = False,
    ) -> None:  # fmt: skip
        self._device = device
        self._backend = backend
        fds = backend.native_fds
        self.pairs = [_Pair(n, fd, device, poll, by_vcpu) for n, fd in enumerate(fds)]
        self._running: list[_Pair] = []

    def start(self, session: Session) -> None:
        self._backend.tune(session.header, session.receive, len(session.pairs))
        for pair, queues in zip(self.pairs, session.pairs, strict=False):
            self._running.append(pair)
            pair.start(session, queues)

    def stop(self) -> None:
        running, self._running = self._running, []
        for pair in running:
            pair.stop()

    def close(self) -> None:
        for pair in self.pairs:
            lib.pk_vnet_free(pair.net)

    def counts(self) -> list[NetCounts]:
        return [netcounts.read(partial(lib.pk_vnet_counts, pair.net)) for pair in self.pairs]

    def kicked(self, queue: Queue) -> None:
        if self._device.wires is None:
            self.work()
        else:  # a kick that KVM did not take, of another width
            os.eventfd_write(self._running[queue.index // 2].net.kick, 1)

    def work(self) -> None:
        """The work of all threads, on this one."""
        for pair in list(self._running):
            pair.run()


def _position(native: Any) -> dict[str, Any]:
    if native.mode & lib.PK_VQ_PACKED:
        return {
            "next": native.next, "avail_wrap": bool(native.avail_wrap), "used": native.used,
            "used_wrap": bool(native.used_wrap), "unsignalled": native.signalled,
        }  # fmt: skip
    return {"next": native.next, "used": native.used, "signalled": native.signalled}


def _fill_filter(native: Any, filters: Filters) -> None:
    for name in _MODES_OF_FILTER:
        setattr(native, name, getattr(filters, name))
    native.all_unicast |= filters.unicast_overflow
    native.all_multicast |= filters.multicast_overflow
    ffi.memmove(native.mac, filters.mac, 6)
    for table, count, addresses in (
        (native.unicast, "unicast_count", filters.unicast),
        (native.multicast, "multicast_count", filters.multicast),
    ):
        setattr(native, count, len(addresses))
        for n, address in enumerate(addresses):
            ffi.memmove(table[n], address, 6)
    ffi.memmove(native.vlans, filters.vlans.to_bytes(512, "little"), 512)
