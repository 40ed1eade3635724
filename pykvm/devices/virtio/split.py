"""The split ring: descriptor table, avail ring, used ring (VIRTIO 1.2, 2.7). The reference."""

from __future__ import annotations

import struct
from typing import Any

from pykvm.devices.pci.dma import BusMaster
from pykvm.devices.virtio import ring as r
from pykvm.devices.virtio.features import Ring as Feature
from pykvm.errors import DeviceError

_DESCRIPTOR = struct.Struct("<QIHH")
_NO_INTERRUPT = _NO_NOTIFY = 1
_HEADER = 4  # flags and idx
_USED_ENTRY = 8


class SplitRing:
    """See ``ring.Ring``. Raises DeviceError when the areas are not RAM or not aligned."""

    def __init__(self, dma: BusMaster, layout: r.Layout, features: int) -> None:
        size = layout.size
        if not 1 <= size <= r.MAX_SIZE or size & (size - 1):
            raise r.RingError(f"a split ring of {size} entries")
        if layout.descriptors % 16 or layout.driver % 2 or layout.device % 4:
            raise r.RingError("a part of the ring is not aligned (2.7)")
        dma.view(layout.descriptors, size * r.DESCRIPTOR, write=False)
        dma.view(layout.driver, _HEADER + 2 * size + 2, write=False)
        dma.view(layout.device, _HEADER + _USED_ENTRY * size + 2)
        self._dma = dma
        self._layout = layout
        self._event_idx = bool(features & Feature.EVENT_IDX)
        self._indirect = bool(features & Feature.INDIRECT_DESC)
        self._next = 0  # of the avail ring
        self._seen = 0  # its index; looked at anew only when all of that is done, as C does
        self._used = 0  # as far as the driver knows
        self._pushed = 0  # beyond that
        self._signalled = 0  # the used index of the last decision about an interrupt
        self._broken = False

    def _u16(self, address: int) -> int:
        return int.from_bytes(self._dma.read(address, 2), "little")

    def _put16(self, address: int, value: int) -> None:
        self._dma.write(address, (value & 0xFFFF).to_bytes(2, "little"))

    def _waiting(self) -> int:
        """Chains that the driver has offered and the device not popped."""
        if self._broken:
            raise r.RingError("the ring is broken until the device is reset")
        if self._seen == self._next:
            self._seen = self._u16(self._layout.driver + 2)
        waiting = (self._seen - self._next) & 0xFFFF
        if waiting > self._layout.size:
            self._broken = True
            raise r.RingError(f"{waiting} chains offered in a ring of {self._layout.size}")
        return waiting

    def pop(self) -> r.Chain | None:
        if not self._waiting():
            return None
        size, driver = self._layout.size, self._layout.driver
        head = self._u16(driver + _HEADER + self._next % size * 2)
        chain = r.Chain(head, 1)
        try:
            self._collect(r.Walk(self._dma, chain), head)
        except DeviceError:
            self._broken = True
            raise
        self._next = (self._next + 1) & 0xFFFF
        return chain

    def _collect(self, walk: r.Walk, at: int) -> None:
        for _ in range(self._layout.size):
            if at >= self._layout.size:
                raise r.RingError(f"descriptor {at} in a ring of {self._layout.size}")
            where = self._layout.descriptors + at * r.DESCRIPTOR
            address, length, flags, at = _DESCRIPTOR.unpack(self._dma.read(where, r.DESCRIPTOR))
            if flags & r.INDIRECT:
                if flags & r.NEXT or not self._indirect:
                    raise r.RingError("an indirect descriptor where none may be (2.7.5.3)")
                self._collect_table(walk, walk.table(address, length))
                return
            walk.add(address, length, flags)
            if not flags & r.NEXT:
                return
        raise r.RingError("a chain longer than its ring")

    @staticmethod
    def _collect_table(walk: r.Walk, table: bytes) -> None:
        rows = list(_DESCRIPTOR.iter_unpack(table))
        at = 0
        for _ in rows:
            if at >= len(rows):
                raise r.RingError(f"descriptor {at} in a table of {len(rows)}")
            address, length, flags, at = rows[at]
            walk.add(address, length, flags)
            if not flags & r.NEXT:
                return
        raise r.RingError("a chain longer than its table")

    def unpop(self, chain: r.Chain) -> None:
        self._next = (self._next - 1) & 0xFFFF

    def push(self, chain: r.Chain, written: int) -> None:
        at = (self._used + self._pushed) % self._layout.size
        row = struct.pack("<II", chain.id, written)
        self._dma.write(self._layout.device + _HEADER + at * _USED_ENTRY, row)
        self._pushed += 1

    def flush(self) -> bool:
        if not self._pushed:
            return False
        self._used = (self._used + self._pushed) & 0xFFFF
        self._pushed = 0
        self._put16(self._layout.device + 2, self._used)
        old, self._signalled = self._signalled, self._used
        if not self._event_idx:
            return not self._u16(self._layout.driver) & _NO_INTERRUPT
        used_event = self._u16(self._layout.driver + _HEADER + 2 * self._layout.size)
        return r.need_event(used_event, self._used, old)

    def disable_kicks(self) -> None:
        if not self._event_idx:  # else it is enough not to move avail_event
            self._put16(self._layout.device, _NO_NOTIFY)

    def enable_kicks(self) -> bool:
        if self._event_idx:
            self._put16(self._layout.device + _HEADER + _USED_ENTRY * self._layout.size, self._next)
        else:
            self._put16(self._layout.device, 0)
        return self._waiting() > 0

    def state(self) -> dict[str, Any]:
        return {"next": self._next, "used": self._used, "signalled": self._signalled}

    def restore(self, state: Any) -> None:
        self._next, self._used = state["next"], state["used"]
        self._seen = self._next
        self._signalled = state["signalled"]
