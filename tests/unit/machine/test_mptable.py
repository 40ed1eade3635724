"""The MP table, found and walked as a kernel does it, held against the machine."""

import struct

import pytest

from pykvm.boot import memmap
from pykvm.boot.plan import Facts
from pykvm.machine import board, pci
from pykvm.machine.firmware import acpi, mptable

SIZES = {0: 20, 1: 8, 2: 8, 3: 8, 4: 8}  # of an entry, by its type (4.3)
MIB = 0x10_0000


def memory(cpus):
    found = bytearray(MIB)
    for segment in mptable.segments(cpus):
        found[segment.address : segment.end] = segment.data
    return found


def entries(cpus):
    """The rows of the configuration table, by type; everything on the way to it is checked."""
    m = memory(cpus)
    at = next(n for n in range(0xF0000, MIB, 16) if m[n : n + 4] == b"_MP_")
    table, paragraphs, revision = struct.unpack_from("<IBB", m, at + 4)
    assert (paragraphs, revision, sum(m[at : at + 16]) % 256) == (1, 4, 0)
    signature, size = struct.unpack_from("<4sH", m, table)
    assert signature == b"PCMP"
    assert sum(m[table : table + size]) % 256 == 0
    count, lapic = struct.unpack_from("<HI", m, table + 34)
    assert lapic == board.LAPIC
    rows, at = [], table + 44
    for _ in range(count):
        rows.append(bytes(m[at : at + SIZES[m[at]]]))
        at += len(rows[-1])
    assert at == table + size
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    return {kind: [row[1:] for row in rows if row[0] == kind] for kind in SIZES}


@pytest.mark.parametrize("cpus", [1, 3, 64])
def test_it_has_every_processor_and_one_to_boot_by(cpus):
    rows = entries(cpus)[0]
    assert [row[0] for row in rows] == list(range(cpus))
    assert [row[2] for row in rows] == [3] + [1] * (cpus - 1)


def test_the_io_apic_is_where_kvm_has_it():
    (row,) = entries(1)[2]
    assert row == struct.pack("<BBBI", board.IOAPIC_ID, 0x11, 1, board.IOAPIC)


def test_pci_lines_are_routed_as_the_machine_does_and_isa_lines_one_to_one():
    buses = {row[0]: row[1:].strip() for row in entries(1)[1]}
    pci_lines, isa_lines = {}, {}
    for _, how, bus, irq, apic, to in (struct.unpack("<BHBBBB", row) for row in entries(1)[3]):
        assert apic == board.IOAPIC_ID
        if buses[bus] == b"PCI":
            assert (how, irq & 3) == (board.LEVEL_HIGH, 0)
            pci_lines[irq >> 2] = to
        else:
            assert (buses[bus], how) == (b"ISA", 0)
            isa_lines[irq] = to
    assert pci_lines == {slot: pci.gsi_of(slot) for slot in range(1, 32)}
    assert isa_lines == {n: n for n in range(16) if n not in (2, *pci.INTX_GSIS)}


def test_it_lies_in_reserved_memory_behind_the_acpi_tables():
    reserved = [r for r in memmap.ranges(Facts(1 << 30)) if r.kind == memmap.RESERVED]
    for segment in mptable.segments(64):
        assert acpi.END <= segment.address < segment.end <= mptable.END
        assert any(r.start <= segment.address < r.start + r.size for r in reserved)
