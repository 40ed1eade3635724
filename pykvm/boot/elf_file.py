"""Reading an ELF file: its header, its program headers, its notes (System V gABI, chapters 4, 5).

Every offset and size comes from a stranger's file: each is checked against the file, and their
number is bounded, before anything is read or allocated.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from pykvm.boot.plan import Segment
from pykvm.errors import ImageError
from pykvm.record import Record

MAGIC = b"\x7fELF"
PT_LOAD, PT_NOTE = 1, 4
ET_EXEC = 2
EM_386, EM_X86_64 = 3, 62
MOST_HEADERS = 128
_LITTLE = 1
_TYPES = {1: "ET_REL", 2: "ET_EXEC", 3: "ET_DYN", 4: "ET_CORE"}
# type, machine, version, entry, phoff, shoff, flags, ehsize, phentsize, phnum
_HEADER = {1: struct.Struct("<HHIIIIIHHH"), 2: struct.Struct("<HHIQQQIHHH")}
# ELF32: type, offset, vaddr, paddr, filesz, memsz, flags; ELF64 has the flags second.
_PROGRAM = {1: struct.Struct("<IIIIIII"), 2: struct.Struct("<IIQQQQQ")}
_NOTE = struct.Struct("<III")


class ProgramHeader(Record):
    """One entry of the table; addresses and sizes in bytes."""

    number: int
    kind: int
    offset: int
    vaddr: int
    paddr: int
    filesz: int
    memsz: int


class Note(Record):
    """One note: whose, of which type, what it says."""

    owner: bytes
    kind: int
    desc: bytes


class Elf(Record):
    """A little-endian ELF file's tables; ``bits`` is 32 or 64."""

    name: str
    data: bytes | memoryview
    bits: int
    machine: int
    kind: int
    entry: int
    programs: tuple[ProgramHeader, ...]

    @property
    def kind_name(self) -> str:
        return _TYPES.get(self.kind, f"{self.kind:#x}")

    def loads(self) -> tuple[Segment, ...]:
        """What is to be loaded, at its physical addresses. Raises ImageError, too when nothing."""
        segments = []
        for p in self.programs:
            if p.kind != PT_LOAD or p.memsz == 0:
                continue
            what = f"segment {p.number}"
            if p.offset + p.filesz > len(self.data):
                raise ImageError(
                    f"{self.name}: truncated: {what} ends at byte {p.offset + p.filesz}, "
                    f"the file has {len(self.data)}"
                )
            if p.filesz > p.memsz:
                raise ImageError(f"{self.name}: {what} has more bytes in the file than in memory")
            data = memoryview(self.data)[p.offset : p.offset + p.filesz]
            segments.append(Segment(p.paddr, data, p.memsz, what))
        if not segments:
            raise ImageError(f"{self.name}: no segment to load")
        return tuple(segments)

    def physical(self, address: int) -> int:
        """A virtual address as a physical one: a kernel linked high says where it runs."""
        for p in self.programs:
            if p.kind == PT_LOAD and 0 <= address - p.vaddr < p.memsz:
                return p.paddr + address - p.vaddr
        return address

    def notes(self) -> Iterator[Note]:
        """Every whole note; one that is cut off ends its segment."""
        for p in self.programs:
            if p.kind == PT_NOTE and p.offset + p.filesz <= len(self.data):
                yield from _notes(memoryview(self.data)[p.offset : p.offset + p.filesz])


def set_filesz(data: bytearray, p: ProgramHeader, filesz: int) -> None:
    """Write ``filesz`` into ``p``'s entry of the ELF64 file ``data``."""
    (table,) = struct.unpack_from("<Q", data, 32)
    (entry_size,) = struct.unpack_from("<H", data, 54)
    struct.pack_into("<Q", data, table + p.number * entry_size + 32, filesz)


def _notes(data: memoryview) -> Iterator[Note]:
    at = 0
    while at + _NOTE.size <= len(data):
        owner_size, size, kind = _NOTE.unpack_from(data, at)
        at += _NOTE.size
        desc = at + (owner_size + 3 & ~3)
        if desc + size > len(data):
            return
        owner = bytes(data[at : at + owner_size]).rstrip(b"\0")
        yield Note(owner, kind, bytes(data[desc : desc + size]))
        at = desc + (size + 3 & ~3)


def read(name: str, data: bytes | memoryview) -> Elf:
    """The tables of the ELF file ``data``. Raises ImageError for one that is cut off or odd."""
    if len(data) < 16 or bytes(data[:4]) != MAGIC or data[4] not in (1, 2):
        raise ImageError(f"{name}: not a complete ELF file")
    if data[5] != _LITTLE:
        raise ImageError(f"{name}: a big-endian ELF file, not for x86")
    size_class = data[4]
    try:
        kind, machine, _, entry, phoff, _, _, _, entry_size, count = _HEADER[
            size_class
        ].unpack_from(data, 16)
    except struct.error as e:
        raise ImageError(f"{name}: not a complete ELF file (its header is cut off)") from e
    program = _PROGRAM[size_class]
    if count > MOST_HEADERS or (count and entry_size < program.size):
        raise ImageError(f"{name}: {count} program headers of {entry_size} bytes in an ELF file")
    if phoff + count * entry_size > len(data):
        raise ImageError(f"{name}: not a complete ELF file (program headers are cut off)")
    programs = []
    for number in range(count):
        row = program.unpack_from(data, phoff + number * entry_size)
        if size_class == 2:
            row = (row[0], *row[2:])
        programs.append(ProgramHeader(number, *row[:6]))
    return Elf(name, data, 32 * size_class, machine, kind, entry, tuple(programs))
