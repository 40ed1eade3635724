"""A function's configuration space, declared as data.

Every byte has a value and a mask of the bits that the guest may set; STATUS bits are cleared by
writing 1. The function learns of changes by one callable, and asks this object what they mean:
where a BAR is now, whether it may do DMA.
"""

from __future__ import annotations

from collections.abc import Callable

from pykvm.devices.pci import registers as r
from pykvm.hints import Any
from pykvm.record import Record

SIZE = 256
_FIRST_CAPABILITY = 0x40
_STATUS = 0x06


class Identity(Record):
    """Who a function is: the numbers that drivers bind to. ``class_code`` has three bytes."""

    vendor: int
    device: int
    class_code: int
    revision: int = 0
    subsystem_vendor: int = 0
    subsystem: int = 0
    interrupt_pin: int = 0  # 1 is INTA#, 0 none


ROM_INDEX = 6


class Bar(Record):
    """A base address register: ``size`` (a power of two) bytes of memory or I/O space. The one of
    the option ROM has the index behind the others', and a bit of its own to switch it on."""

    index: int
    size: int
    io: bool = False
    wide: bool = False  # 64-bit: takes the next index, too
    prefetch: bool = False

    def __post_init__(self) -> None:
        smallest = 4 if self.io else 2048 if self.rom else 16
        if self.size < smallest or self.size & (self.size - 1):
            raise ValueError(f"BAR{self.index}: {self.size:#x} is not a power of two >= {smallest}")
        in_place = 0 <= self.index <= (4 if self.wide else 5) or self.rom
        if not in_place or ((self.wide or self.rom) and self.io) or (self.wide and self.rom):
            raise ValueError(f"BAR{self.index} cannot be of that kind")

    @property
    def flags(self) -> int:
        """The read-only low bits."""
        if self.io:
            return r.BAR_IO
        return (r.BAR_MEM64 if self.wide else 0) | (r.BAR_PREFETCH if self.prefetch else 0)

    @property
    def rom(self) -> bool:
        return self.index == ROM_INDEX

    @property
    def offset(self) -> int:
        return r.ROM if self.rom else r.BAR0 + self.index * 4

    @property
    def control(self) -> int:
        """The low bits that are no part of the address."""
        return 0x7FF if self.rom else 0x3 if self.io else 0xF


class ConfigSpace:
    """256 bytes with their write masks. ``on_change(offset, size)`` follows each guest write;
    ``pending()`` says whether INTx would be up but for INTX_DIS, which STATUS shows."""

    def __init__(self, identity: Identity, bars: tuple[Bar, ...] = ()) -> None:
        self.identity = identity
        self.bars = bars
        self.cells = bytearray(SIZE)
        self._writable = bytearray(SIZE)
        self._clears = bytearray(SIZE)
        self._next_capability = _FIRST_CAPABILITY
        self._last_pointer = r.CAP_PTR
        self.on_change: Callable[[int, int], None] = lambda offset, size: None
        self.pending: Callable[[], bool] = lambda: False
        self._declare()
        self._power_on = bytes(self.cells)

    def _declare(self) -> None:
        who = self.identity
        self._put(0x00, 2, who.vendor)
        self._put(0x02, 2, who.device)
        self._put(0x08, 1, who.revision)
        self._put(0x09, 3, who.class_code)
        self._put(0x2C, 2, who.subsystem_vendor)
        self._put(0x2E, 2, who.subsystem)
        self._put(r.INT_PIN, 1, who.interrupt_pin)
        command = ["IO"] if any(b.io for b in self.bars) else []
        command += ["MEM"] if any(not b.io for b in self.bars) else []
        bits = sum(r.COMMAND[name].mask for name in (*command, "MASTER", "INTX_DIS", "SERR"))
        self.allow(0x04, 2, bits)
        self._clears[0x07] = 0xF9  # the error bits of STATUS
        self.allow(0x0C, 1, 0xFF)
        self.allow(0x0D, 1, 0xFF)
        self.allow(r.INT_LINE, 1, 0xFF)
        for bar in self.bars:
            self._declare_bar(bar)

    def _declare_bar(self, bar: Bar) -> None:
        size = 8 if bar.wide else 4
        self._put(bar.offset, size, bar.flags)
        switch = r.ROM_ENABLE if bar.rom else 0
        self.allow(bar.offset, size, ~(bar.size - 1) & (1 << size * 8) - 1 | switch)

    def add_rom(self, size: int) -> None:
        """Have a register for an option ROM of ``size`` bytes too; its index is ``ROM_INDEX``."""
        self.bars += (Bar(ROM_INDEX, size),)
        self._declare_bar(self.bars[-1])

    def _put(self, offset: int, size: int, value: int) -> None:
        self.cells[offset : offset + size] = value.to_bytes(size, "little")

    def allow(self, offset: int, size: int, bits: int) -> None:
        """Let the guest set these ``bits``."""
        self._writable[offset : offset + size] = bits.to_bytes(size, "little")

    def add_capability(self, kind: int, body: bytes, writable: bytes) -> int:
        """Append a capability (its two-byte header comes on top of ``body``) to the list.

        Returns its offset. ``writable`` is the mask of ``body``. Raises ValueError when full.
        """
        offset = self._next_capability
        size = 2 + len(body)
        if offset + size > SIZE or len(writable) != len(body):
            raise ValueError(f"capability {kind:#x} does not fit")
        self.cells[offset : offset + size] = bytes((kind, 0)) + body
        self._writable[offset + 2 : offset + size] = writable
        self.cells[self._last_pointer] = offset
        self._last_pointer = offset + 1
        self._next_capability = offset + size + 3 & ~3
        self.cells[0x06] |= r.STATUS["CAP"].mask
        self._power_on = bytes(self.cells)
        return offset

    # -- the guest's accesses -----------------------------------------------------------------

    def read(self, offset: int, size: int) -> int:
        """Bytes past the end read as all ones."""
        if offset + size > SIZE:
            return (1 << size * 8) - 1
        if offset <= _STATUS < offset + size:
            mask = r.STATUS["INTX"].mask
            self.cells[_STATUS] = self.cells[_STATUS] & ~mask | (mask if self.pending() else 0)
        return int.from_bytes(self.cells[offset : offset + size], "little")

    def write(self, offset: int, size: int, value: int) -> None:
        """Only what the masks allow is taken."""
        if offset + size > SIZE:
            return
        for n, byte in enumerate(value.to_bytes(size, "little"), offset):
            may = self._writable[n]
            self.cells[n] = (self.cells[n] & ~may | byte & may) & ~(byte & self._clears[n])
        self.on_change(offset, size)

    # -- what it means ------------------------------------------------------------------------

    @property
    def command(self) -> int:
        return self.read(0x04, 2)

    def may(self, name: str) -> bool:
        """Whether the bit ``name`` of COMMAND is set."""
        return bool(self.command & r.COMMAND[name].mask)

    def address(self, bar: Bar) -> int | None:
        """Where ``bar`` answers now; None while its space is disabled in COMMAND, or while it holds
        what a driver writes to learn its size."""
        if not self.may("IO" if bar.io else "MEM"):
            return None
        size = 8 if bar.wide else 4
        value = self.read(bar.offset, size)
        if bar.rom and not value & r.ROM_ENABLE:
            return None
        base = value & ~bar.control
        top = 1 << 16 if bar.io else 1 << 52
        sizing = base == ~(bar.size - 1) & ((1 << size * 8) - 1)
        return None if base == 0 or sizing or base + bar.size > top else base

    # -- state --------------------------------------------------------------------------------

    def reset(self) -> None:
        """Back to power-on: BARs empty, everything disabled."""
        self.cells[:] = self._power_on
        self.on_change(0, SIZE)

    def state(self) -> dict[str, Any]:
        return {"version": 1, "cells": self.read(0, SIZE).to_bytes(SIZE, "little")}

    def restore(self, state: Any) -> None:
        if state["version"] != 1 or len(state["cells"]) != SIZE:
            raise ValueError("not a configuration space of version 1")
        self.cells[:] = state["cells"]
        self.on_change(0, SIZE)
