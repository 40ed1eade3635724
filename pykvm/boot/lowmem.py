"""What pykvm itself places in low memory before the guest starts.

Protected and long mode::

    0x00500   GDT: null, 64-bit code, data, 32-bit code (selectors 0x08, 0x10, 0x18)
    0x07000   boot-info block (RDI or EDI points here), see BOOT_INFO
    0x08000   the command line, NUL-terminated
    0x09000   PML4, PDPT and four page directories: the low 4 GiB one to one (long mode only)
    0x80000   initial stack pointer, growing down

The other protocols (``linux.py``, ``pvh.py``, ``multiboot.py``) put their own tables where the
boot-info block is here; what else they need lies at 0xf000.

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
    24  u64 bytes of RAM from 4 GiB      64  u64 address of the RSDP, 0 without ACPI
    32  u64 address of the command line, 0 if none
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial

from pykvm.boot.plan import Facts, Handover, Mode, Segment, command_line
from pykvm.errors import UsageError

GDT = 0x500
BOOT_INFO = 0x7000
COMMAND_LINE = 0x8000
PAGE_TABLES = 0x9000
EXTRA = 0xF000
STACK_TOP = 0x80000
REAL_STACK_TOP = 0x1000
REAL_STUBS = 0x500
REAL_VECTORS = 32

CODE64, DATA, CODE32 = 0x08, 0x10, 0x18
MAGIC = 0x4D56_4B50
VERSION = 1

_PRESENT_WRITE_USER = 0x7
_LARGE = 0x80
_INFO = struct.Struct("<IIQQQQQQIIQ")


def kit(mode: Mode) -> Callable[[Facts], Handover]:
    """pykvm's own protocol for ``mode``: the boot-info block in RDI (EDI); nothing in real mode."""
    return real_handover if mode is Mode.REAL else partial(_kit_handover, mode)


def real_handover(facts: Facts) -> Handover:
    """Only interrupt vectors: a real-mode guest is told nothing."""
    return Handover(
        (
            segment(0, _real_vectors(), "the interrupt vectors"),
            segment(REAL_STUBS, b"\xf4" * REAL_VECTORS, "the exception stubs"),
            *(modules_at_top(facts, facts.memory_low)),
        ),
        {"rsp": REAL_STACK_TOP},
    )


def _kit_handover(mode: Mode, facts: Facts) -> Handover:
    modules = modules_at_top(facts, facts.memory_low)
    if len(modules) > 1:
        raise UsageError(f"--initrd: {len(modules)} files; this kind of guest takes one")
    line = command_line(facts.append, 4095)
    info = _INFO.pack(
        MAGIC,
        VERSION,
        _INFO.size,
        facts.memory_low,
        facts.memory_high,
        COMMAND_LINE if facts.append else 0,
        *((modules[0].address, modules[0].size) if modules else (0, 0)),
        facts.cpus,
        0,
        facts.rsdp,
    )
    placed = [
        segment(GDT, gdt(), "the GDT"),
        segment(BOOT_INFO, info, "the boot-info block"),
        segment(COMMAND_LINE, line, "the command line"),
        *modules,
    ]
    if mode is Mode.LONG:
        placed.append(segment(PAGE_TABLES, page_tables(), "the page tables"))
    code = CODE64 if mode is Mode.LONG else CODE32
    return Handover(tuple(placed), {"rsp": STACK_TOP, "rdi": BOOT_INFO}, code, DATA)


def modules_at_top(facts: Facts, top: int) -> list[Segment]:
    """The modules on pages of their own below ``top``, the first one highest."""
    placed = []
    for module in facts.modules:
        top = top - len(module.data) & ~0xFFF
        placed.append(segment(top, module.data, f"the initrd {module.name}"))
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


def segment(address: int, data: bytes, what: str) -> Segment:
    """``data`` and nothing more at ``address``."""
    return Segment(address, data, len(data), what)
