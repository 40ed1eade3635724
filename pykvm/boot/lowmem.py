"""What pykvm itself places in low memory before the guest starts.

Protected and long mode::

    0x00500   GDT: null, 64-bit code, data, 32-bit code (selectors 0x08, 0x10, 0x18)
    0x07000   boot-info block (RDI or EDI points here), see BOOT_INFO
    0x08000   the command line, NUL-terminated
    0x09000   PML4, PDPT and four page directories: the low 4 GiB one to one (long mode only)
    0x80000   initial stack pointer, growing down

Real mode::

    0x00000   interrupt vectors 0 to 31, each pointing at a ``hlt`` of its own
    0x00500   those 32 ``hlt``: a guest that takes an exception it has no handler for stops there,
              and pykvm reports the exception instead of letting it run into zeros
    0x01000   initial stack pointer, growing down, and the image above it

The boot-info block, little endian, version 1:

    0   u32 magic "PKVM" (0x4d564b50)    40  u64 address of the initrd, 0 if none
    4   u32 version (1)                  48  u64 bytes of the initrd
    8   u64 bytes of this block          56  u32 number of CPUs
    16  u64 bytes of RAM from 0          60  u32 reserved (0)
    24  u64 bytes of RAM from 4 GiB
    32  u64 address of the command line, 0 if none
"""

from __future__ import annotations

import struct

from pykvm.boot.plan import Mode, Segment
from pykvm.errors import UsageError

GDT = 0x500
BOOT_INFO = 0x7000
COMMAND_LINE = 0x8000
PAGE_TABLES = 0x9000
STACK_TOP = 0x80000
REAL_STACK_TOP = 0x1000
REAL_STUBS = 0x500
REAL_VECTORS = 32

CODE64, DATA, CODE32 = 0x08, 0x10, 0x18
MAGIC = 0x4D56_4B50
VERSION = 1

_PRESENT_WRITE_USER = 0x7
_LARGE = 0x80
_INFO = struct.Struct("<IIQQQQQQII")


def segments(
    mode: Mode,
    *,
    memory_low: int,
    memory_high: int,
    cpus: int,
    append: str = "",
    initrd: tuple[int, int] = (0, 0),
) -> list[Segment]:
    """Everything above as segments to place. ``initrd`` is (address, size).

    Raises UsageError for a command line that does not fit its page.
    """
    if mode is Mode.REAL:
        return [
            _segment(0, _real_vectors(), "the interrupt vectors"),
            _segment(REAL_STUBS, b"\xf4" * REAL_VECTORS, "the exception stubs"),
        ]
    line = append.encode() + b"\0"
    if len(line) > 4096:
        raise UsageError(f"--append: {len(line) - 1} bytes, the most is 4095")
    info = _INFO.pack(
        MAGIC,
        VERSION,
        _INFO.size,
        memory_low,
        memory_high,
        COMMAND_LINE if append else 0,
        *initrd,
        cpus,
        0,
    )
    placed = [
        _segment(GDT, gdt(), "the GDT"),
        _segment(BOOT_INFO, info, "the boot-info block"),
        _segment(COMMAND_LINE, line, "the command line"),
    ]
    if mode is Mode.LONG:
        placed.append(_segment(PAGE_TABLES, page_tables(), "the page tables"))
    return placed


def gdt() -> bytes:
    """Null, 64-bit code, flat data, flat 32-bit code (SDM volume 3, chapter 3.4.5)."""
    return struct.pack(
        "<4Q", 0, 0x00AF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF, 0x00CF_9B00_0000_FFFF
    )


def page_tables() -> bytes:
    """Six pages: the low 4 GiB one to one in 2 MiB pages, open to user mode too."""
    pml4 = struct.pack("<Q", PAGE_TABLES + 0x1000 | _PRESENT_WRITE_USER).ljust(4096, b"\0")
    pdpt = struct.pack(
        "<4Q", *(PAGE_TABLES + 0x2000 + n * 0x1000 | _PRESENT_WRITE_USER for n in range(4))
    ).ljust(4096, b"\0")
    directories = struct.pack(
        "<2048Q", *(n << 21 | _LARGE | _PRESENT_WRITE_USER for n in range(2048))
    )
    return pml4 + pdpt + directories


def _real_vectors() -> bytes:
    return b"".join(struct.pack("<HH", REAL_STUBS + n, 0) for n in range(REAL_VECTORS))


def _segment(address: int, data: bytes, what: str) -> Segment:
    return Segment(address, data, len(data), what)
