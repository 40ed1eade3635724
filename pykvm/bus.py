"""Which device answers which addresses.

A bus maps one address space (ports, or guest-physical memory) to device ranges. Ranges are checked
when the bus is built: an empty one, one past the end of the space and two that overlap are three
distinct errors. An access that spans ranges, or is wider than a device takes at once, is split the
way a PC's buses do: little endian, into naturally aligned pieces.

The C side (``native/bus.h``) holds a copy of the same map for the common case, one access inside
one range; everything else is decided here.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

from pykvm.errors import RangeError
from pykvm.hints import Any
from pykvm.interfaces import Device

PIO_SIZE = 1 << 16
MMIO_SIZE = 1 << 52
MAX_RANGES = 256  # PK_MAX_RANGES


class Range:
    """``size`` addresses from ``base``, answered by ``device``.

    ``number`` names the range for the native side for as long as the bus lives, wherever it
    moves. ``native`` is ``(function, opaque)`` of a C answer (``pk_answer``), or None.
    """

    def __init__(
        self,
        base: int,
        size: int,
        device: Device,
        number: int = -1,
        native: tuple[Any, Any] | None = None,
    ) -> None:
        self.base = base
        self.size = size
        self.device = device
        self.number = number
        self.native = native

    @property
    def last(self) -> int:
        return self.base + self.size - 1

    def __str__(self) -> str:
        return f"{self.device.name} at {self.base:#x}-{self.last:#x}"


Piece = tuple[Range | None, int, int, int]
"""A part of an access that one device (or nobody) answers at once: whose, the offset in its range
(the address itself when nobody claims it), bytes, and bits from the access's value to its own."""


class Bus:
    """One address space of ``size`` addresses. ``name`` is for messages: ``port``, ``address``."""

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self.size = size
        self._ranges: list[Range] = []
        self._bases: list[int] = []

    def __iter__(self) -> Iterator[Range]:
        return iter(self._ranges)

    def add(self, added: Range) -> Range:
        """Claim a range. Raises RangeError when it is empty, overflows or overlaps."""
        if added.size <= 0:
            raise RangeError(f"{self.name} range {added.device.name} at {added.base:#x} is empty")
        if added.base < 0 or added.last >= self.size:
            raise RangeError(f"{self.name} range {added} leaves the address space")
        at = bisect_right(self._bases, added.base)
        for other in self._ranges[max(at - 1, 0) : at + 1]:
            if added.base <= other.last and other.base <= added.last:
                raise RangeError(f"{self.name} range {added} overlaps {other}")
        if len(self._ranges) >= MAX_RANGES:
            raise RangeError(f"more than {MAX_RANGES} {self.name} ranges")
        self._ranges.insert(at, added)
        self._bases.insert(at, added.base)
        return added

    def remove(self, removed: Range) -> None:
        """Give a range up."""
        at = self._ranges.index(removed)
        del self._ranges[at], self._bases[at]

    def find(self, address: int) -> Range | None:
        """The range that holds ``address``."""
        at = bisect_right(self._bases, address) - 1
        if at >= 0 and address <= self._ranges[at].last:
            return self._ranges[at]
        return None

    def split(self, address: int, size: int) -> Iterator[Piece]:
        """The pieces of an access, in address order."""
        done = 0
        while done < size:
            at = address + done
            found = self.find(at)
            width = found.device.access_width if found else 8
            limit = found.last + 1 if found else self._next_base(at)
            piece = 1
            while (
                piece * 2 <= min(size - done, width)
                and at + piece * 2 <= limit
                and at % (piece * 2) == 0
            ):
                piece *= 2
            # An access that one device takes whole is not cut for being unaligned.
            if found and done == 0 and size in (2, 4, 8) and size <= width and at + size <= limit:
                piece = size
            yield found, at - found.base if found else at, piece, done * 8
            done += piece

    def _next_base(self, address: int) -> int:
        at = bisect_right(self._bases, address)
        return self._bases[at] if at < len(self._bases) else self.size

    def read(self, address: int, size: int) -> int:
        """What the guest reads; addresses that nobody claims read as all ones."""
        value = 0
        for claimed, offset, length, shift in self.split(address, size):
            ones = (1 << length * 8) - 1
            part = ones if claimed is None else claimed.device.read(offset, length) & ones
            value |= part << shift
        return value

    def write(self, address: int, size: int, value: int) -> None:
        """A write by the guest; addresses that nobody claims swallow it."""
        for claimed, offset, length, shift in self.split(address, size):
            if claimed is not None:
                claimed.device.write(offset, length, value >> shift & (1 << length * 8) - 1)
