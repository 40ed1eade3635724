"""ACPI tables for firmware, which places them itself: QEMU's table loader in fw_cfg.

The tables are one file, the RSDP is another; a third is a script of 128-byte entries that says
where the files go, which of their fields are pointers into the tables (an offset until then), and
which bytes are checksums of what (SeaBIOS, src/fw/romfile_loader.h, tells of the format).
"""

from __future__ import annotations

import struct

from pykvm.machine.firmware import acpi

SCRIPT, TABLES, RSDP = "etc/table-loader", "etc/acpi/tables", "etc/acpi/rsdp"
ALLOCATE, ADD_POINTER, ADD_CHECKSUM = 1, 2, 3
HIGH, F_SEGMENT = 1, 2
"""Where ALLOCATE puts a file: near the end of RAM below 4 GiB, or between 0xf0000 and 1 MiB."""
ENTRY = 128
_ALLOCATE = struct.Struct("<I56sIB")  # file, alignment, zone
_ADD_POINTER = struct.Struct("<I56s56sIB")  # the pointer's file, the target's, offset, size
_ADD_CHECKSUM = struct.Struct("<I56sIII")  # file, offset, start, length
_ALIGNMENT = 64  # of the FACS, which comes first (ACPI 6.4, 5.2.10); the RSDP needs 16


def files(cpus: int) -> dict[str, bytes]:
    """What fw_cfg holds, by name, for a machine with ``cpus`` processors."""
    segments = sorted(acpi.segments(cpus), key=lambda segment: segment.address)
    rsdp, first = segments[0], segments[1].address
    contents = {RSDP: bytearray(rsdp.data), TABLES: bytearray(segments[-1].end - first)}
    pointers, checksums = b"", b""
    for segment in segments:
        name, base = (RSDP, rsdp.address) if segment is rsdp else (TABLES, first)
        start, whole = segment.address - base, bytes(segment.data)
        table = bytearray(whole)
        for at, size in acpi.pointers(whole):
            target = int.from_bytes(table[at : at + size], "little")
            table[at : at + size] = (target - first).to_bytes(size, "little")
            pointers += _entry(_ADD_POINTER, ADD_POINTER, name, TABLES, start + at, size)
        for at, length in acpi.checksums(whole):
            table[at] = 0
            checksums += _entry(_ADD_CHECKSUM, ADD_CHECKSUM, name, start + at, start, length)
        contents[name][start : start + len(table)] = table
    script = _entry(_ALLOCATE, ALLOCATE, RSDP, 16, F_SEGMENT)
    script += _entry(_ALLOCATE, ALLOCATE, TABLES, _ALIGNMENT, HIGH)
    files = {name: bytes(data) for name, data in contents.items()}
    return {**files, SCRIPT: script + pointers + checksums}


def _entry(layout: struct.Struct, *fields: int | str) -> bytes:
    values = [field.encode() if isinstance(field, str) else field for field in fields]
    return layout.pack(*values).ljust(ENTRY, b"\0")
