"""The table of Intel's MultiProcessor Specification 1.4, for kernels that do without ACPI.

    0xf8000   the floating pointer     0xf8010   the configuration table

It says what the MADT and the PCI routing of the DSDT say: processors, the I/O APIC, who is on
which input.
"""

from __future__ import annotations

import struct

from pykvm.boot.plan import Segment
from pykvm.devices.pci.host import SLOTS
from pykvm.machine import board, pci

POINTER, END = 0xF8000, 0xFA000
_TABLE = POINTER + 16

_PCI, _ISA = 0, 1  # numbers of the buses
_ENABLED, _BOOT_CPU = 1, 2
_LAPIC_VERSION, _IOAPIC_VERSION = 0x14, 0x11
_FAMILY_6, _FPU_AND_APIC = 0x600, 0x201
_INT, _NMI, _EXTINT = 0, 1, 3
_CASCADE = 2
_EVERY_LAPIC = 0xFF


def segments(cpus: int) -> list[Segment]:
    """Pointer and table of a machine with ``cpus`` processors."""
    pointer = struct.pack("<4sIBBB5x", b"_MP_", _TABLE, 1, 4, 0)
    placed = ((POINTER, _summed(pointer, 10)), (_TABLE, _table(cpus)))
    return [Segment(at, data, len(data), "the MP table") for at, data in placed]


def _table(cpus: int) -> bytes:
    """4.2: a header, then entries in the order of their types."""
    entries = [*_processors(cpus), *_buses(), _ioapic(), *_inputs(), *_local_inputs()]
    body = b"".join(entries)
    header = struct.pack(
        "<4sHBB8s12sIHHIHBB", b"PCMP", 44 + len(body), 4, 0, b"PYKVM   ", b"PC          ",
        0, 0, len(entries), board.LAPIC, 0, 0, 0,
    )  # fmt: skip
    return _summed(header + body, 7)


def _processors(cpus: int) -> list[bytes]:
    """4.3.1; the number of a vCPU is its APIC ID."""
    row = struct.Struct("<BBBBII8x")
    return [
        row.pack(
            0, number, _LAPIC_VERSION, _ENABLED | (0 if number else _BOOT_CPU), _FAMILY_6,
            _FPU_AND_APIC,
        )
        for number in range(cpus)
    ]  # fmt: skip


def _buses() -> list[bytes]:
    return [struct.pack("<BB6s", 1, n, name) for n, name in ((_PCI, b"PCI   "), (_ISA, b"ISA   "))]


def _ioapic() -> bytes:
    return struct.pack("<BBBBI", 2, board.IOAPIC_ID, _IOAPIC_VERSION, _ENABLED, board.IOAPIC)


def _inputs() -> list[bytes]:
    """4.3.4: the ISA lines that PCI leaves free, then INTA# of each slot."""
    isa = [n for n in range(16) if n != _CASCADE and n not in pci.INTX_GSIS]
    sources = [(0, _ISA, n, n) for n in isa]
    sources += [(board.LEVEL_HIGH, _PCI, slot << 2, pci.gsi_of(slot)) for slot in range(1, SLOTS)]
    row = struct.Struct("<BBHBBBB")
    return [row.pack(3, _INT, how, bus, irq, board.IOAPIC_ID, to) for how, bus, irq, to in sources]


def _local_inputs() -> list[bytes]:
    """4.3.5: the 8259s at LINT0, NMI at LINT1."""
    row = struct.Struct("<BBHBBBB")
    return [
        row.pack(4, kind, 0, _ISA, 0, _EVERY_LAPIC, lint)
        for kind, lint in ((_EXTINT, 0), (_NMI, 1))
    ]


def _summed(data: bytes, at: int) -> bytes:
    """``data`` with the byte ``at`` that makes all of it add up to 0."""
    changed = bytearray(data)
    changed[at] = -sum(changed) & 0xFF
    return bytes(changed)
