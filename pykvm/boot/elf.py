"""ELF images: static executables for x86, entered in the mode of their class.

Segments are placed at their physical addresses, as kernels are linked.
"""

from __future__ import annotations

from typing import Any

from pykvm.boot.plan import Mode, Plan, Segment
from pykvm.errors import ImageError

MAGIC = b"\x7fELF"
_CLASSES = {(32, "EM_386"): Mode.PROTECTED, (64, "EM_X86_64"): Mode.LONG}


def plan(name: str, data: bytes | memoryview, mode: Mode | None, entry: int | None) -> Plan:
    """The plan for an ELF image; ``mode`` is what the user asked for, if anything.

    Raises ImageError for one that is truncated, dynamic, not for x86, or has nothing to load.
    """
    elf, segments = _read(name, bytes(data))
    native = _CLASSES.get((elf.elfclass, elf["e_machine"]))
    if native is None or not elf.little_endian:
        raise ImageError(f"{name}: an ELF file for {elf['e_machine']}, not for x86")
    if elf["e_type"] != "ET_EXEC":
        raise ImageError(f"{name}: ELF type {elf['e_type']}; link it statically at fixed addresses")
    if mode is not None and mode is not native:
        raise ImageError(
            f"{name}: a {elf.elfclass}-bit ELF starts in {native.value} mode, not {mode.value}"
        )
    if not segments:
        raise ImageError(f"{name}: no segment to load")
    start = elf["e_entry"] if entry is None else entry
    physical = _physical(elf, start) if entry is None else start
    return Plan(f"ELF{elf.elfclass}", native, physical, tuple(segments))


def _read(name: str, data: bytes) -> tuple[Any, list[Segment]]:
    from io import BytesIO

    from elftools.common.exceptions import ELFError
    from elftools.construct.lib.container import Container  # noqa: F401  (names its errors)
    from elftools.elf.elffile import ELFFile

    try:
        elf = ELFFile(BytesIO(data))
        headers = list(elf.iter_segments())
    except (ELFError, Exception) as e:  # the parser raises many kinds for a cut-off file
        raise ImageError(f"{name}: not a complete ELF file ({e})") from e
    segments = []
    for number, segment in enumerate(headers):
        header = segment.header
        if header["p_type"] != "PT_LOAD" or header["p_memsz"] == 0:
            continue
        offset, size = header["p_offset"], header["p_filesz"]
        what = f"segment {number}"
        if offset + size > len(data):
            raise ImageError(
                f"{name}: truncated: {what} ends at byte {offset + size}, the file has {len(data)}"
            )
        if size > header["p_memsz"]:
            raise ImageError(f"{name}: {what} has more bytes in the file than in memory")
        segments.append(
            Segment(header["p_paddr"], data[offset : offset + size], header["p_memsz"], what)
        )
    return elf, segments


def _physical(elf: Any, entry: int) -> int:
    """The entry as a physical address: a kernel linked high says where it runs."""
    for segment in elf.iter_segments():
        header = segment.header
        if header["p_type"] == "PT_LOAD":
            offset = entry - header["p_vaddr"]
            if 0 <= offset < header["p_memsz"]:
                return int(header["p_paddr"] + offset)
    return int(entry)
