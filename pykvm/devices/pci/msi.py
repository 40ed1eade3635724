"""Message-signalled interrupts: the MSI and MSI-X capabilities (PCI 3.0, 6.8).

A function raises vector ``n``; the capability decides whether that becomes a message now, stays
pending behind a mask, or (when the guest has not enabled it) is the function's INTx's business.
"""

from __future__ import annotations

from collections.abc import Callable

from pykvm.devices.pci.config import ConfigSpace
from pykvm.devices.pci.registers import CAP_MSI, CAP_MSIX
from pykvm.interfaces import State
from pykvm.registers import Field, Register, RegisterMap

Send = Callable[[int, int], None]
"""Delivers a message: (address, data)."""

_ENTRY = 16
_MASK_BIT = 1
MAX_VECTORS = 2048


class Msi:
    """One message, 64-bit address, no per-vector mask: what single-queue devices have."""

    def __init__(self, config: ConfigSpace, send: Send) -> None:
        self._config = config
        self._send = send
        # control (enable writable), address low and high, data
        body = b"\x80\x00" + bytes(10)
        writable = b"\x01\x00" + b"\xfc\xff\xff\xff" + b"\xff" * 4 + b"\xff\xff"
        self._offset = config.add_capability(CAP_MSI, body, writable)

    @property
    def enabled(self) -> bool:
        return bool(self._config.read(self._offset + 2, 2) & 1)

    def fire(self) -> None:
        """Send the message, unless the guest forbids the function to master the bus."""
        if self.enabled and self._config.may("MASTER"):
            address = self._config.read(self._offset + 4, 8)
            self._send(address, self._config.read(self._offset + 12, 2))


TABLE = RegisterMap(
    "MSI-X",
    [
        Register("ADDR_LO", 0x0, 4, count=MAX_VECTORS, stride=_ENTRY),
        Register("ADDR_HI", 0x4, 4, count=MAX_VECTORS, stride=_ENTRY),
        Register("DATA", 0x8, 4, count=MAX_VECTORS, stride=_ENTRY),
        Register(
            "VECTOR_CTL", 0xC, 4, reset=_MASK_BIT, count=MAX_VECTORS, stride=_ENTRY,
            fields=(Field("MASK", 0),),
        ),
    ],
)  # fmt: skip


class MsixTable:
    """The BAR that holds the vector table and, from ``pba_offset`` on, the pending bits.

    Accesses of 4 and 8 bytes are the only ones that the specification allows (6.8.2): others read
    as 0 and are ignored, as is everything outside table and PBA.
    """

    registers = TABLE
    access_width = 8
    bank = 0

    def __init__(self, name: str, vectors: int) -> None:
        if not 1 <= vectors <= MAX_VECTORS:
            raise ValueError(f"{vectors} MSI-X vectors")
        self.name = name
        self.vectors = vectors
        self.pba_offset = (vectors * _ENTRY + 0xFFF) & ~0xFFF
        self.pba_size = (vectors + 63) // 64 * 8
        self.size = 1 << (self.pba_offset + self.pba_size - 1).bit_length()
        self.on_unmask: Callable[[], None] = lambda: None
        self.also_pending: Callable[[], int] = lambda: 0
        self._table = bytearray()
        self.pending = 0
        self.reset()

    def reset(self) -> None:
        self._table = bytearray((bytes(12) + _MASK_BIT.to_bytes(4, "little")) * self.vectors)
        self.pending = 0

    def read(self, offset: int, size: int) -> int:
        if size not in (4, 8) or offset % size:
            return 0
        if offset + size <= len(self._table):
            return int.from_bytes(self._table[offset : offset + size], "little")
        at = offset - self.pba_offset
        if at >= 0 and at + size <= self.pba_size:
            return (self.pending | self.also_pending()) >> at * 8 & (1 << size * 8) - 1
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        if size not in (4, 8) or offset % size or offset + size > len(self._table):
            return  # the PBA is read only
        self._table[offset : offset + size] = value.to_bytes(size, "little")
        self.on_unmask()

    def message(self, vector: int) -> tuple[int, int]:
        """(address, data) of a vector."""
        entry = self._table[vector * _ENTRY : vector * _ENTRY + 12]
        return int.from_bytes(entry[:8], "little"), int.from_bytes(entry[8:12], "little")

    def masked(self, vector: int) -> bool:
        return bool(self._table[vector * _ENTRY + 12] & _MASK_BIT)

    def state(self) -> State:
        return {"version": 1, "table": bytes(self._table), "pending": self.pending}

    def restore(self, state: State) -> None:
        if state["version"] != 1 or len(state["table"]) != len(self._table):
            raise ValueError(f"{self.name}: not a state of {self.vectors} vectors, version 1")
        self._table[:] = state["table"]
        self.pending = state["pending"]


class Msix:
    """The MSI-X capability over a table that the function maps at a BAR."""

    def __init__(self, config: ConfigSpace, table: MsixTable, bar: int, send: Send) -> None:
        self._config = config
        self._send = send
        self.table = table
        control = (table.vectors - 1).to_bytes(2, "little")
        where = bar.to_bytes(4, "little") + (table.pba_offset | bar).to_bytes(4, "little")
        self._offset = config.add_capability(CAP_MSIX, control + where, b"\x00\xc0" + bytes(8))
        table.on_unmask = self.release

    @property
    def enabled(self) -> bool:
        return bool(self._config.read(self._offset + 2, 2) & 1 << 15)

    def _blocked(self, vector: int) -> bool:
        all_masked = self._config.read(self._offset + 2, 2) & 1 << 14
        return bool(all_masked) or self.table.masked(vector)

    def deliverable(self, vector: int) -> tuple[int, int] | None:
        """The message (address, data) of a vector that nothing holds back now, else None."""
        open_now = (
            self.enabled and vector < self.table.vectors and not self._blocked(vector)
            and self._config.may("MASTER")
        )  # fmt: skip
        return self.table.message(vector) if open_now else None

    def fire(self, vector: int) -> None:
        """Raise a vector; one that does not exist is ignored, a masked one becomes pending."""
        if not self.enabled or not 0 <= vector < self.table.vectors:
            return
        if self._blocked(vector) or not self._config.may("MASTER"):
            self.table.pending |= 1 << vector
        else:
            self._send(*self.table.message(vector))

    def release(self) -> None:
        """Something was unmasked or enabled: send what waited for it."""
        pending, vector = self.table.pending, 0
        while pending and self.enabled:
            if pending & 1 and not self._blocked(vector) and self._config.may("MASTER"):
                self.table.pending &= ~(1 << vector)
                self._send(*self.table.message(vector))
            pending >>= 1
            vector += 1
