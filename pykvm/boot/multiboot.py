"""Multiboot 1, as GRUB starts toy kernels and unikernels (Multiboot specification 0.6.96).

A header in the image's first 8 KiB asks for it. The guest is entered in 32-bit protected mode with
EAX = 0x2badb002 and EBX pointing at the information::

    0x7000   the information    0x7100   the memory map, then the module list    0x8000   strings

Modules (``--initrd``, more than once) follow the image, on pages of their own.
"""

from __future__ import annotations

import struct
from functools import partial

from pykvm.boot import lowmem, memmap
from pykvm.boot.elf_file import Elf
from pykvm.boot.plan import Facts, Handover, Mode, Plan, Segment, command_line
from pykvm.errors import ImageError, UsageError
from pykvm.record import Record

MAGIC, LOADER_MAGIC = 0x1BAD_B002, 0x2BAD_B002
SEARCHED = 8192
MOST_MODULES = 64

# Header flags (3.1.2): below bit 16 they are requirements.
PAGE_ALIGN, MEMORY_INFO, VIDEO, ADDRESSES = 1 << 0, 1 << 1, 1 << 2, 1 << 16
_KNOWN = PAGE_ALIGN | MEMORY_INFO | VIDEO
_REQUIRED = 0xFFFF

# What the information holds (3.3): sizes, command line, modules, memory map, loader's name.
_HAS = 1 << 0 | 1 << 2 | 1 << 3 | 1 << 6 | 1 << 9
_INFO = struct.Struct("<IIIIIII16xIIIIIII")
_RANGE = struct.Struct("<IQQI")  # size of the rest, then base, length, type
_MODULE = struct.Struct("<IIII")
_LISTS = lowmem.BOOT_INFO + 0x100
_LOADER = b"pykvm\0"


class Header(Record):
    """Where the header is in the file, and what it says; addresses only with ADDRESSES."""

    offset: int
    flags: int
    header_addr: int = 0
    load_addr: int = 0
    load_end_addr: int = 0
    bss_end_addr: int = 0
    entry_addr: int = 0


def find(data: bytes | memoryview) -> Header | None:
    """The header, if there is one: aligned to 4 bytes, its checksum good (3.1.1)."""
    head = bytes(data[:SEARCHED])
    magic = struct.pack("<I", MAGIC)
    at = head.find(magic)
    while at >= 0:
        if at % 4 == 0 and at + 12 <= len(head):
            _, flags, checksum = struct.unpack_from("<III", head, at)
            if not MAGIC + flags + checksum & 0xFFFF_FFFF:
                if not flags & ADDRESSES:
                    return Header(at, flags)
                if at + 32 <= len(head):
                    return Header(at, flags, *struct.unpack_from("<5I", head, at + 12))
        at = head.find(magic, at + 1)
    return None


def plan(name: str, data: bytes | memoryview, elf: Elf | None, entry: int | None) -> Plan:
    """The plan for an image with a multiboot header; ``elf`` is there when it is an ELF file.

    Raises ImageError for a header that asks for what pykvm does not have.
    """
    header = find(data)
    if header is None:
        raise ImageError(f"{name}: no multiboot header in its first {SEARCHED} bytes")
    unknown = header.flags & _REQUIRED & ~_KNOWN
    if unknown:
        raise ImageError(f"{name}: its multiboot header requires unknown features {unknown:#x}")
    if header.flags & ADDRESSES:
        segments: tuple[Segment, ...] = (_load(name, data, header),)
        start = header.entry_addr
    elif elf is not None:
        segments = elf.loads()
        start = elf.physical(elf.entry)
    else:
        raise ImageError(f"{name}: its multiboot header has no addresses and it is no ELF file")
    start = start if entry is None else entry
    if start > 0xFFFF_FFFF:
        raise ImageError(f"{name}: the entry {start:#x} is not a 32-bit address")
    end = max(s.end for s in segments)
    return Plan("multiboot", Mode.PROTECTED, start, segments, partial(handover, end))


def _load(name: str, data: bytes | memoryview, h: Header) -> Segment:
    """The one segment that the header's address fields describe (3.1.3)."""
    start = h.offset - (h.header_addr - h.load_addr)
    if h.load_addr > h.header_addr or start < 0:
        raise ImageError(f"{name}: its multiboot header loads from before the file")
    size = h.load_end_addr - h.load_addr if h.load_end_addr else len(data) - start
    if size <= 0 or start + size > len(data):
        raise ImageError(f"{name}: its multiboot header loads {size} bytes that are not there")
    whole = max(h.bss_end_addr - h.load_addr, size) if h.bss_end_addr else size
    return Segment(h.load_addr, memoryview(data)[start : start + size], whole, "the image")


def handover(end: int, facts: Facts) -> Handover:
    """The information for an image that ends at ``end``. Raises UsageError."""
    if len(facts.modules) > MOST_MODULES:
        raise UsageError(f"--initrd: {len(facts.modules)} files, multiboot takes {MOST_MODULES}")
    line = command_line(facts.append, 2047)
    strings = line + _LOADER
    loader = lowmem.COMMAND_LINE + len(line)
    ranges = memmap.ranges(facts)
    mapped = b"".join(_RANGE.pack(20, r.start, r.size, r.kind) for r in ranges)
    listed, placed = b"", []
    for module in facts.modules:
        end = end + 0xFFF & ~0xFFF
        text = lowmem.COMMAND_LINE + len(strings)
        strings += module.name.encode(errors="surrogateescape") + b"\0"
        listed += _MODULE.pack(end & 0xFFFF_FFFF, end + len(module.data) & 0xFFFF_FFFF, text, 0)
        placed.append(lowmem.segment(end, module.data, f"the module {module.name}"))
        end += len(module.data)
    if len(strings) > 4096:
        raise UsageError("--initrd: the names of all modules do not fit a page")
    info = _INFO.pack(
        _HAS,
        memmap.EBDA >> 10,
        max(facts.memory_low - memmap.MIB, 0) >> 10,
        0,
        lowmem.COMMAND_LINE,
        len(placed),
        _LISTS + len(mapped),
        len(mapped),
        _LISTS,
        0,
        0,
        0,
        loader,
        0,
    )
    tables = (
        lowmem.segment(lowmem.GDT, lowmem.gdt(), "the GDT"),
        lowmem.segment(lowmem.BOOT_INFO, info, "the multiboot information"),
        lowmem.segment(_LISTS, mapped + listed, "the memory map"),
        lowmem.segment(lowmem.COMMAND_LINE, strings, "the command line"),
    )
    registers = {"rax": LOADER_MAGIC, "rbx": lowmem.BOOT_INFO, "rsp": lowmem.STACK_TOP}
    return Handover((*tables, *placed), registers, lowmem.CODE32, lowmem.DATA)
