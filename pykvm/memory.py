"""Guest memory: the only door from a guest-physical address to host bytes.

RAM is one anonymous mapping, of huge pages where the host has them to give. It lies from 0 up to a
hole below 4 GiB, where PCI windows, IOAPIC and LAPIC live, and goes on from 4 GiB::

    0            min(size, 3 GiB)      4 GiB            4 GiB + rest
    | low RAM    |  hole (devices) ROM |  high RAM      |

Every access checks its start and its length (slicing a memoryview past its end would shorten it
silently). ``native/guestmem.h`` is the same door for C.
"""

from __future__ import annotations

import mmap
from contextlib import suppress
from struct import Struct

from pykvm.errors import GuestMemoryError, HostError
from pykvm.hints import Any
from pykvm.record import Record

HOLE_START = 0xC000_0000
HOLE_END = 0x1_0000_0000
PAGE, HUGE_PAGE = 4096, 2 << 20

_U16, _U32, _U64 = Struct("<H"), Struct("<I"), Struct("<Q")


class Slot(Record):
    """``size`` bytes of guest-physical memory from ``base``, at ``view`` in this process."""

    base: int
    size: int
    view: memoryview
    writable: bool = True

    @property
    def end(self) -> int:
        return self.base + self.size


class GuestMemory:
    """RAM of ``size`` bytes (a multiple of the page size), zero-filled and lazily backed, and a
    ``rom``, if there is one, that ends where the hole does.

    Raises HostError when the host cannot map that much. A context manager; closing unmaps.
    """

    def __init__(
        self, size: int, *, hole: tuple[int, int] = (HOLE_START, HOLE_END), rom: bytes = b""
    ) -> None:
        if size < PAGE or size % PAGE:
            raise ValueError(f"memory size {size:#x} is not a positive multiple of {PAGE}")
        self.size = size
        self.low_size = min(size, hole[0])
        self.high_size = size - self.low_size
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
        try:
            self._map = mmap.mmap(-1, size + HUGE_PAGE, flags=flags)
        except (OSError, ValueError, OverflowError) as e:
            raise HostError(
                f"cannot map {size >> 20} MiB of guest memory ({e}); try a smaller --memory"
            ) from e
        # Where a guest's large pages can be the host's: both count from the same boundary.
        with suppress(OSError):  # a host without them
            self._map.madvise(mmap.MADV_HUGEPAGE)
        everything = memoryview(self._map)
        start = -_address(everything) % HUGE_PAGE
        whole = everything[start : start + size]
        self._views = [whole, everything]
        slots = [Slot(0, self.low_size, whole[: self.low_size])]
        self._rom = mmap.mmap(-1, len(rom)) if rom else None
        if self._rom is not None:
            self._rom.write(rom)
            view = memoryview(self._rom)
            slots.append(Slot(hole[1] - len(rom), len(rom), view, writable=False))
        if self.high_size:
            slots.append(Slot(hole[1], self.high_size, whole[self.low_size :]))
        self.slots: tuple[Slot, ...] = tuple(slots)
        self._native: Any = None

    def __enter__(self) -> GuestMemory:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Unmap and close; idempotent. Views handed out must be gone by then."""
        if self._map.closed:
            return
        self._native = None
        for slot in self.slots:
            slot.view.release()
        for view in self._views:
            view.release()
        self._map.close()
        if self._rom is not None:
            self._rom.close()

    # -- the door -----------------------------------------------------------------------------

    def view(self, address: int, length: int, *, write: bool = True) -> memoryview:
        """The bytes ``[address, address + length)`` themselves, without a copy.

        Raises GuestMemoryError unless they lie wholly in one slot (writable, if ``write``).
        """
        for slot in self.slots:
            offset = address - slot.base
            if 0 <= offset < slot.size and 0 <= length <= slot.size - offset:
                if write and not slot.writable:
                    break
                return slot.view[offset : offset + length]
        raise GuestMemoryError(address, length)

    def read(self, address: int, length: int) -> bytes:
        """A copy of ``length`` bytes."""
        with self.view(address, length, write=False) as view:
            return bytes(view)

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Copy ``data`` into guest memory; nothing is written when it does not fit."""
        with self.view(address, len(data)) as view:
            view[:] = data

    def fill(self, address: int, length: int, byte: int = 0) -> None:
        """Set ``length`` bytes, a page at a time so that nothing big is allocated."""
        with self.view(address, length) as view:
            chunk = bytes([byte]) * min(length, 1 << 20)
            for start in range(0, length, 1 << 20):
                part = view[start : start + (1 << 20)]
                part[:] = chunk[: len(part)]
                part.release()

    def read_u8(self, address: int) -> int:
        return self.read(address, 1)[0]

    def read_u16(self, address: int) -> int:
        return int(_U16.unpack(self.read(address, 2))[0])

    def read_u32(self, address: int) -> int:
        return int(_U32.unpack(self.read(address, 4))[0])

    def read_u64(self, address: int) -> int:
        return int(_U64.unpack(self.read(address, 8))[0])

    def write_u8(self, address: int, value: int) -> None:
        self.write(address, bytes((value & 0xFF,)))

    def write_u16(self, address: int, value: int) -> None:
        self.write(address, _U16.pack(value & 0xFFFF))

    def write_u32(self, address: int, value: int) -> None:
        self.write(address, _U32.pack(value & 0xFFFF_FFFF))

    def write_u64(self, address: int, value: int) -> None:
        self.write(address, _U64.pack(value & (1 << 64) - 1))

    # -- for KVM and C ------------------------------------------------------------------------

    def host_address(self, slot: Slot) -> int:
        """Where the slot's first byte is in this process's address space."""
        return _address(slot.view)

    def native(self) -> Any:
        """The ``struct pk_memory *`` that C paths take; valid until ``close``."""
        from pykvm._native import ffi

        if self._native is None:
            native = ffi.new("struct pk_memory *")
            native.count = len(self.slots)
            for at, slot in enumerate(self.slots):
                native.slots[at].base = slot.base
                native.slots[at].size = slot.size
                native.slots[at].host = ffi.cast("uint8_t *", self.host_address(slot))
                native.slots[at].writable = slot.writable
            self._native = native
        return self._native


def _address(view: memoryview) -> int:
    from pykvm._native import ffi

    return int(ffi.cast("uintptr_t", ffi.from_buffer(view)))


_MAP_NORESERVE = 0x4000  # <asm-generic/mman-common.h>; Python 3.11's mmap lacks the name
