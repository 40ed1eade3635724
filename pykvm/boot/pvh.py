"""PVH: an ELF note names a 32-bit entry; EBX points at ``hvm_start_info``.

Source: Xen, docs/misc/pvh.pandoc and xen/include/public/arch-x86/hvm/start_info.h. ::

    0x7000   hvm_start_info     0x7100   the module list, then the memory map     0x8000   strings
"""

from __future__ import annotations

import struct

from pykvm.boot import lowmem, memmap
from pykvm.boot.elf_file import Elf
from pykvm.boot.plan import Facts, Handover, Mode, Plan, command_line
from pykvm.errors import ImageError, UsageError

NOTE = (b"Xen", 18)
"""Owner and type of XEN_ELFNOTE_PHYS32_ENTRY."""

_MAGIC, _VERSION = 0x336E_C578, 1
_START_INFO = struct.Struct("<IIIIQQQQII")
_MODULE = struct.Struct("<QQQQ")
_RANGE = struct.Struct("<QQII")
_INFO, _LISTS, _LINE = lowmem.BOOT_INFO, lowmem.BOOT_INFO + 0x100, lowmem.COMMAND_LINE
MOST_MODULES = 64


def plan(name: str, elf: Elf, entry: int | None) -> Plan:
    """The plan for an ELF with a PVH note. Raises ImageError."""
    if entry is None:
        entry = _entry(name, elf)
    return Plan("PVH", Mode.PROTECTED, entry, elf.loads(), handover)


def _entry(name: str, elf: Elf) -> int:
    for note in elf.notes():
        if (note.owner, note.kind) == NOTE:
            if len(note.desc) not in (4, 8):
                raise ImageError(f"{name}: its PVH note has {len(note.desc)} bytes, not 4 or 8")
            entry = int.from_bytes(note.desc, "little")
            if entry > 0xFFFF_FFFF:
                raise ImageError(f"{name}: the PVH entry {entry:#x} is not a 32-bit address")
            return entry
    raise ImageError(f"{name}: no PVH entry note in this ELF file")


def handover(facts: Facts) -> Handover:
    """The start information, its lists and strings. Raises UsageError."""
    if len(facts.modules) > MOST_MODULES:
        raise UsageError(f"--initrd: {len(facts.modules)} files, PVH takes {MOST_MODULES}")
    modules = lowmem.modules_at_top(facts, facts.memory_low)
    ranges = memmap.ranges(facts)
    listed = b"".join(_MODULE.pack(m.address, m.size, 0, 0) for m in modules)
    mapped = b"".join(_RANGE.pack(r.start, r.size, r.kind, 0) for r in ranges)
    info = _START_INFO.pack(
        _MAGIC,
        _VERSION,
        0,
        len(modules),
        _LISTS if modules else 0,
        _LINE,
        facts.rsdp,
        _LISTS + len(listed),
        len(ranges),
        0,
    )
    placed = (
        lowmem.segment(lowmem.GDT, lowmem.gdt(), "the GDT"),
        lowmem.segment(_INFO, info, "the start information"),
        lowmem.segment(_LISTS, listed + mapped, "the memory map"),
        lowmem.segment(_LINE, command_line(facts.append, 4095), "the command line"),
        *modules,
    )
    registers = {"rbx": _INFO, "rsp": lowmem.STACK_TOP}
    return Handover(placed, registers, lowmem.CODE32, lowmem.DATA)
