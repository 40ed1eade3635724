"""The packed ring: one ring that both sides write (VIRTIO 1.2, 2.8). The reference."""

from __future__ import annotations

import struct
from typing import Any

from pykvm.devices.pci.dma import BusMaster
from pykvm.devices.virtio import ring as r
from pykvm.devices.virtio.features import Ring as Feature
from pykvm.errors import DeviceError

_DESCRIPTOR = struct.Struct("<QIHH")
_AVAIL, _USED = 1 << 7, 1 << 15
_ENABLE, _DISABLE, _DESC = 0, 1, 2  # event suppression (2.8.14)
_SUPPRESSION = 4


class PackedRing:
    """See ``ring.Ring``. Raises DeviceError when the areas are not RAM or not aligned."""

    def __init__(self, dma: BusMaster, layout: r.Layout, features: int) -> None:
        if not 1 <= layout.size <= r.MAX_SIZE:
            raise r.RingError(f"a packed ring of {layout.size} entries")
        if layout.descriptors % 16 or layout.driver % 4 or layout.device % 4:
            raise r.RingError("a part of the ring is not aligned (2.8)")
        dma.view(layout.descriptors, layout.size * r.DESCRIPTOR)
        dma.view(layout.driver, _SUPPRESSION, write=False)
        dma.view(layout.device, _SUPPRESSION)
        self._dma = dma
        self._layout = layout
        self._event_idx = bool(features & Feature.EVENT_IDX)
        self._indirect = bool(features & Feature.INDIRECT_DESC)
        self._next, self._avail_wrap = 0, True
        self._used, self._used_wrap = 0, True  # where the next used descriptor goes
        self._unsignalled = 0  # slots since the last decision about an interrupt
        self._first: tuple[int, int] | None = None  # address and flags that show what was pushed
        self._broken = False

    def _row(self, at: int) -> tuple[int, int, int, int]:
        where = self._layout.descriptors + at * r.DESCRIPTOR
        address, length, ident, flags = _DESCRIPTOR.unpack(self._dma.read(where, r.DESCRIPTOR))
        return address, length, ident, flags

    def _offered(self) -> bool:
        if self._broken:
            raise r.RingError("the ring is broken until the device is reset")
        flags = self._row(self._next)[3]
        return bool(flags & _AVAIL) == self._avail_wrap != bool(flags & _USED)

    def pop(self) -> r.Chain | None:
        if not self._offered():
            return None
        chain = r.Chain(0, 0)
        try:
            self._collect(r.Walk(self._dma, chain))
        except DeviceError:
            self._broken = True
            raise
        self._advance(chain.slots)
        return chain

    def _collect(self, walk: r.Walk) -> None:
        chain = walk.chain
        while chain.slots < self._layout.size:
            row = self._row((self._next + chain.slots) % self._layout.size)
            address, length, chain.id, flags = row
            chain.slots += 1
            if flags & r.INDIRECT:
                if flags & r.NEXT or chain.slots > 1 or not self._indirect:
                    raise r.RingError("an indirect descriptor where none may be (2.8.7)")
                for row in _DESCRIPTOR.iter_unpack(walk.table(address, length)):
                    walk.add(row[0], row[1], row[3])
                return
            walk.add(address, length, flags)
            if not flags & r.NEXT:
                return
        raise r.RingError("a chain longer than its ring")

    def _advance(self, slots: int) -> None:
        self._next += slots
        if self._next >= self._layout.size:
            self._next -= self._layout.size
            self._avail_wrap = not self._avail_wrap

    def unpop(self, chain: r.Chain) -> None:
        self._next -= chain.slots
        if self._next < 0:
            self._next += self._layout.size
            self._avail_wrap = not self._avail_wrap

    def push(self, chain: r.Chain, written: int) -> None:
        where = self._layout.descriptors + self._used * r.DESCRIPTOR
        flags = (_AVAIL | _USED if self._used_wrap else 0) | (r.WRITE if written else 0)
        self._dma.write(where + 8, struct.pack("<IH", written, chain.id))
        if self._first is None:  # the driver looks at this one: it is shown last
            self._first = (where + 14, flags)
        else:
            self._dma.write(where + 14, flags.to_bytes(2, "little"))
        self._unsignalled += chain.slots
        self._used += chain.slots
        if self._used >= self._layout.size:
            self._used -= self._layout.size
            self._used_wrap = not self._used_wrap

    def flush(self) -> bool:
        if self._first is None:
            return False
        where, flags = self._first
        self._first = None
        self._dma.write(where, flags.to_bytes(2, "little"))
        moved, self._unsignalled = self._unsignalled, 0
        event, mode = struct.unpack("<HH", self._dma.read(self._layout.driver, _SUPPRESSION))
        if mode == _DESC and self._event_idx:
            at = event & 0x7FFF
            if bool(event >> 15) != self._used_wrap:
                at -= self._layout.size
            return r.need_event(at, self._used, self._used - moved)
        return bool(mode != _DISABLE)

    def disable_kicks(self) -> None:
        self._dma.write(self._layout.device + 2, _DISABLE.to_bytes(2, "little"))

    def enable_kicks(self) -> bool:
        mode = _DESC if self._event_idx else _ENABLE
        where = self._next | self._avail_wrap << 15
        self._dma.write(self._layout.device, struct.pack("<HH", where, mode))
        return self._offered()

    def state(self) -> dict[str, Any]:
        return {
            "next": self._next, "avail_wrap": self._avail_wrap,
            "used": self._used, "used_wrap": self._used_wrap, "unsignalled": self._unsignalled,
        }  # fmt: skip

    def restore(self, state: Any) -> None:
        self._next, self._avail_wrap = state["next"], state["avail_wrap"]
        self._used, self._used_wrap = state["used"], state["used_wrap"]
        self._unsignalled = state["unsignalled"]
