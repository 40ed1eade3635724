"""The transmit ring in C (``native/e1000_tx.h``): registers in, counters and causes out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pykvm._native import ffi, lib

if TYPE_CHECKING:
    from pykvm.devices.e1000.device import E1000
    from pykvm.devices.e1000.tx import Result, TransmitRing

_DESCRIPTOR = 16
_SIZES = ("PTC64", "PTC127", "PTC255", "PTC511", "PTC1023", "PTC1522")
_CONTEXT = "ipcss ipcso ipcse tucss tucso tucse paylen tucmd hdrlen mss".split()
_FCS = 4


class FastPath:
    """Runs C's walk for one card. ``fd`` is the backend's ``native_fd``."""

    def __init__(self, card: E1000, fd: int) -> None:
        self._card = card
        self._tx: Any = ffi.new("struct pk_e1000_tx *")
        self._tx.memory = card.dma.native()
        self._tx.fd = fd

    def ready(self) -> bool:
        """Whether the registers make a ring that C may walk; what they are wrong in is the
        reference's to say."""
        card = self._card
        count = card.get("TDLEN") // _DESCRIPTOR
        return card.dma.allowed and card.get("TDH") < count and card.get("TDT") < count

    def run(self, ring: TransmitRing, done: Result) -> bool:
        """Walk as far as C goes; True when that is to the tail. The GIL is not held meanwhile."""
        card, tx = self._card, self._tx
        tx.base = card.get("TDBAH") << 32 | card.get("TDBAL")
        tx.count = card.get("TDLEN") // _DESCRIPTOR
        tx.head, tx.tail = card.get("TDH"), card.get("TDT")
        tx.pad = card.pads
        for name in _CONTEXT:
            setattr(tx.context, name, getattr(ring.context, name))
        finished = bool(lib.pk_e1000_transmit(tx) == lib.PK_E1000_DONE)
        for name in _CONTEXT:
            setattr(ring.context, name, getattr(tx.context, name))
        card.put("TDH", tx.head)
        done.head = tx.head
        done.reported = done.reported or tx.reported > 0
        done.delayed = done.delayed and tx.immediate == 0
        self._count()
        return finished

    def _count(self) -> None:
        """Move what C counted into the statistics registers."""
        tx, add = self._tx, self._card.counters.add
        if tx.frames:
            add("TPT", tx.frames)
            add("GPTC", tx.frames)
            add("TOT", tx.bytes + _FCS * tx.frames)
            add("GOTC", tx.bytes + _FCS * tx.frames)
            add("BPTC", tx.broadcasts)
            add("MPTC", tx.multicasts)
            add("TSCTC", tx.segmented)
            for n, name in enumerate(_SIZES):
                add(name, tx.sizes[n])
                tx.sizes[n] = 0
        tx.frames = tx.broadcasts = tx.multicasts = tx.segmented = tx.bytes = 0
        tx.reported = tx.immediate = 0
