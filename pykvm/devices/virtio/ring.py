"""What every ring offers a device: chains to work on, a way to give them back (VIRTIO 1.2, 2.6).

A *chain* is one buffer of the driver's: pieces that the device reads, then pieces that it writes.
The two layouts, ``split.py`` and ``packed.py``, are the references of ``native/virtq.h``.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from pykvm.devices.pci.dma import BusMaster
from pykvm.errors import DeviceError

MAX_SIZE = 32768
MAX_PIECES = 1024
"""Pieces of one chain; more break the ring. It is what one ``readv`` takes."""

NEXT, WRITE, INDIRECT = 1, 2, 4
"""Descriptor flags (2.7.5)."""

DESCRIPTOR = 16


class RingError(DeviceError):
    """The driver broke the rules of its ring. The device stops until it is reset (2.1.2)."""


class Chain:
    """A buffer of the driver's. ``id`` names it to the driver, ``slots`` is how many descriptors of
    the ring it takes. The views are guest memory itself: let go of them before the memory goes."""

    def __init__(self, id: int, slots: int) -> None:
        self.id = id
        self.slots = slots
        self.readable: list[memoryview] = []
        self.writable: list[memoryview] = []

    @property
    def readable_size(self) -> int:
        return sum(map(len, self.readable))

    @property
    def writable_size(self) -> int:
        return sum(map(len, self.writable))

    def read(self, offset: int = 0, length: int | None = None) -> bytes:
        """A copy of what the driver gives, from ``offset`` on; shorter where there is no more."""
        end = self.readable_size if length is None else offset + length
        parts, at = [], 0
        for piece in self.readable:
            parts.append(piece[max(offset - at, 0) : max(end - at, 0)])
            at += len(piece)
        return b"".join(parts)

    def write(self, data: bytes | bytearray | memoryview, offset: int = 0) -> int:
        """Copy ``data`` to ``offset`` of what the driver wants filled; the bytes that fit."""
        rest, done = memoryview(data), 0
        for piece in self.writable:
            if offset >= len(piece):
                offset -= len(piece)
                continue
            part = min(len(piece) - offset, len(rest))
            piece[offset : offset + part] = rest[:part]
            rest, done, offset = rest[part:], done + part, 0
            if not rest:
                break
        return done


class Layout(NamedTuple):
    """Where the driver put a ring: guest-physical addresses of the descriptor, driver and device
    areas (for a split ring: descriptor table, avail ring, used ring), and ``size`` entries."""

    size: int
    descriptors: int
    driver: int
    device: int


class Ring(Protocol):
    """The device's side of a ring. Methods raise RingError for what the driver did wrong, and from
    then on for every call; DeviceError when its memory is no RAM."""

    def pop(self) -> Chain | None:
        """The next chain that the driver offers, or None."""

    def unpop(self, chain: Chain) -> None:
        """Take back the last ``pop``: it comes again."""

    def push(self, chain: Chain, written: int) -> None:
        """The chain is used; ``written`` bytes of it were written. Seen after ``flush``."""

    def flush(self) -> bool:
        """Show the driver what was pushed; True when it wants an interrupt for that."""

    def disable_kicks(self) -> None:
        """The device is awake: the driver need not kick."""

    def enable_kicks(self) -> bool:
        """The device goes to sleep: the driver shall kick. True when there is something to pop by
        now; such a chain may come without a kick (2.7.10, 2.8.14)."""

    def state(self) -> dict[str, Any]:
        """Where the device stands; the rest is in guest memory."""

    def restore(self, state: Any) -> None:
        """The inverse."""


def need_event(event: int, new: int, old: int) -> bool:
    """Whether moving from ``old`` to ``new`` passes ``event``; 16-bit arithmetic (2.7.7.2)."""
    return (new - event - 1) & 0xFFFF < (new - old) & 0xFFFF


class Walk:
    """Collects the pieces of one chain and holds the driver to the rules."""

    def __init__(self, dma: BusMaster, chain: Chain) -> None:
        self._dma = dma
        self.chain = chain
        self._total = 0

    def add(self, address: int, length: int, flags: int) -> None:
        """One descriptor's buffer. Empty ones add nothing."""
        chain = self.chain
        if flags & INDIRECT:
            raise RingError("an indirect table in an indirect table")
        if chain.writable and not flags & WRITE:
            raise RingError("a readable descriptor follows a writable one")
        if len(chain.readable) + len(chain.writable) >= MAX_PIECES:
            raise RingError(f"a chain of more than {MAX_PIECES} pieces")
        view = self._dma.view(address, length, write=bool(flags & WRITE))
        if length:
            (chain.writable if flags & WRITE else chain.readable).append(view)
        self._total += length
        if self._total >= 1 << 32:
            raise RingError("a chain of 4 GiB or more")

    def table(self, address: int, length: int) -> bytes:
        """An indirect descriptor table."""
        if not length or length % DESCRIPTOR or length > MAX_PIECES * DESCRIPTOR:
            raise RingError(f"an indirect table of {length} bytes")
        return self._dma.read(address, length)
