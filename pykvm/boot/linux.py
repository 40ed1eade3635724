"""Linux by its 64-bit boot protocol: RSI points at ``boot_params`` (Documentation/x86/boot.rst).

A bzImage is a kernel behind a decompressor. pykvm unpacks the kernel itself and enters it where it
is linked to run, so no decompressor runs in the guest and nothing moves it; with ``kaslr`` it
enters the decompressor instead, which picks a place by itself. A vmlinux is such a kernel
already. ::

    0x7000   boot_params ("zero page")   0x9000   page tables, the low 4 GiB one to one
    0x8000   the command line            0xf000   setup_data: a seed for the random generator

Nothing is added to the command line.
"""

from __future__ import annotations

import os
import struct
from functools import partial

from pykvm.boot import bzimage, lowmem, memmap
from pykvm.boot.bzimage import SetupHeader
from pykvm.boot.elf_file import Elf
from pykvm.boot.elf_file import read as read_elf
from pykvm.boot.plan import Facts, Handover, Mode, Plan, Segment, command_line
from pykvm.errors import ImageError, UsageError

CODE, DATA = 0x10, 0x18  # __BOOT_CS and __BOOT_DS
PAGE = 4096
SETUP_RNG_SEED, SEED_BYTES = 9, 64
_E820 = struct.Struct("<QQI")
_SETUP_DATA = struct.Struct("<QII")

# Offsets in boot_params (Documentation/x86/zero-page.rst).
_ACPI_RSDP, _E820_ENTRIES, _SETUP_HEADER, _E820_TABLE = 0x070, 0x1E8, 0x1F1, 0x2D0
_TYPE_OF_LOADER, _LOADFLAGS = 0x210, 0x211
_RAMDISK_IMAGE, _RAMDISK_SIZE = 0x218, 0x21C
_CMD_LINE_PTR, _SETUP_DATA_PTR = 0x228, 0x250
_UNDEFINED_LOADER = 0xFF


def plan_vmlinux(name: str, elf: Elf, entry: int | None) -> Plan:
    """The plan for an unpacked kernel. Raises ImageError."""
    if elf.bits != 64:
        raise ImageError(f"{name}: a 32-bit vmlinux; the 64-bit boot protocol cannot start it")
    start = elf.physical(elf.entry) if entry is None else entry
    return _plan(elf.loads(), start, bzimage.DEFAULT)


def plan_bzimage(
    name: str, data: bytes | memoryview, entry: int | None, *, kaslr: bool, limit: int
) -> Plan:
    """The plan for a bzImage; an unpacked kernel has at most ``limit`` bytes. Raises ImageError."""
    header = bzimage.read(name, data)
    if kaslr:
        segment = Segment(
            header.pref_address, header.kernel(data), header.init_size, "the decompressor"
        )
        start = header.pref_address + bzimage.ENTRY64 if entry is None else entry
        return _plan((segment,), start, header)
    from pykvm.boot import kernels

    kernel = kernels.unpacked(name, header.payload(data), limit)
    elf = read_elf(f"{name}: the kernel inside", kernel)
    if elf.bits != 64:
        raise ImageError(f"{name}: a 32-bit kernel; the 64-bit boot protocol cannot start it")
    start = elf.physical(elf.entry) if entry is None else entry
    return _plan(elf.loads(), start, header)


def _plan(segments: tuple[Segment, ...], entry: int, header: SetupHeader) -> Plan:
    return Plan("Linux", Mode.LONG, entry, segments, partial(handover, header))


def handover(header: SetupHeader, facts: Facts) -> Handover:
    """``boot_params`` and what it points at. Raises UsageError."""
    line = command_line(facts.append, min(header.cmdline_size, 4095))
    initrd = _initrd(header, facts)
    params = bytearray(PAGE)
    params[_SETUP_HEADER : _SETUP_HEADER + len(header.raw)] = header.raw
    params[_TYPE_OF_LOADER] = _UNDEFINED_LOADER
    ranges = memmap.ranges(facts)
    params[_E820_ENTRIES] = len(ranges)
    for n, r in enumerate(ranges):
        _E820.pack_into(params, _E820_TABLE + n * _E820.size, r.start, r.size, r.kind)
    struct.pack_into("<Q", params, _ACPI_RSDP, facts.rsdp)
    struct.pack_into("<I", params, _CMD_LINE_PTR, lowmem.COMMAND_LINE)
    struct.pack_into("<Q", params, _SETUP_DATA_PTR, lowmem.EXTRA)
    if initrd is not None:
        struct.pack_into("<I", params, _RAMDISK_IMAGE, initrd.address)
        struct.pack_into("<I", params, _RAMDISK_SIZE, initrd.size)
    seed = _SETUP_DATA.pack(0, SETUP_RNG_SEED, SEED_BYTES) + os.urandom(SEED_BYTES)
    placed = [
        lowmem.segment(lowmem.GDT, _gdt(), "the GDT"),
        lowmem.segment(lowmem.BOOT_INFO, bytes(params), "the boot parameters"),
        lowmem.segment(lowmem.COMMAND_LINE, line, "the command line"),
        lowmem.segment(lowmem.PAGE_TABLES, lowmem.page_tables(), "the page tables"),
        lowmem.segment(lowmem.EXTRA, seed, "the random seed"),
    ]
    if initrd is not None:
        placed.append(initrd)
    registers = {"rsi": lowmem.BOOT_INFO, "rsp": lowmem.STACK_TOP}
    return Handover(tuple(placed), registers, CODE, DATA)


def _initrd(header: SetupHeader, facts: Facts) -> Segment | None:
    """All ``--initrd`` files as one, each at a multiple of 4 bytes as cpio has it, as high as the
    kernel allows."""
    if not facts.modules:
        return None
    data = b"".join(m.data.ljust(len(m.data) + 3 & ~3, b"\0") for m in facts.modules[:-1])
    data += facts.modules[-1].data
    top = min(facts.memory_low, header.initrd_addr_max + 1)
    address = top - len(data) & ~(PAGE - 1)
    if address < 0:
        raise UsageError(
            f"--initrd: {len(data)} bytes do not fit below {top:#x}; give it more with --memory"
        )
    return lowmem.segment(address, data, "the initrd")


def _gdt() -> bytes:
    """Null twice, then flat 64-bit code and data at the selectors that the protocol names."""
    null, code, data = 0, 0x00AF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF
    return struct.pack("<4Q", null, null, code, data)
