"""ACPI tables: found and checked as a kernel does it, read by iasl, held against the machine."""

import importlib.util
import re
import shutil
import struct
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from pykvm.boot import memmap
from pykvm.boot.plan import Facts
from pykvm.machine import board, pci
from pykvm.machine.firmware import acpi

ROOT = Path(__file__).parents[3]
RSDP_FIRST, MIB = 0xE0000, 0x10_0000

needs_iasl = pytest.mark.skipif(
    shutil.which("iasl") is None, reason="iasl is not installed: sudo apt-get install acpica-tools"
)


class Memory:
    """The first MiB, with the tables in it."""

    def __init__(self, cpus):
        self.bytes = bytearray(MIB)
        for segment in acpi.segments(cpus):
            self.bytes[segment.address : segment.end] = segment.data

    def table(self, address):
        (size,) = struct.unpack_from("<I", self.bytes, address + 4)
        return bytes(self.bytes[address : address + size])

    def tables(self):
        """By signature, on a kernel's way: RSDP, XSDT, its entries, the FADT's two."""
        rsdp = next(
            at for at in range(RSDP_FIRST, MIB, 16) if self.bytes[at : at + 8] == b"RSD PTR "
        )
        xsdt = self.table(struct.unpack_from("<Q", self.bytes, rsdp + 24)[0])
        found = [self.table(at) for at in struct.unpack(f"<{(len(xsdt) - 36) // 8}Q", xsdt[36:])]
        (fadt,) = [table for table in found if table[:4] == b"FACP"]
        facs, dsdt = struct.unpack_from("<II", fadt, 36)
        return {t[:4].decode(): t for t in [xsdt, *found, self.table(facs), self.table(dsdt)]}


def disassembled(table, tmp_path):
    """What iasl reads in a table."""
    path = tmp_path / "table.dat"
    path.write_bytes(table)
    subprocess.run(["iasl", "-d", str(path)], check=True, capture_output=True)
    return path.with_suffix(".dsl").read_text()


def field(text, name):
    """The values of every field called ``name``, in order."""
    return [
        int(v, 16)
        for v in re.findall(rf"^(?:\[.*\])? +{re.escape(name)} : ([0-9A-F]+)$", text, re.M)
    ]


@pytest.mark.parametrize("cpus", [1, 2, 64])
def test_every_length_and_checksum_is_right(cpus):
    memory = Memory(cpus)
    rsdp = bytes(memory.bytes[acpi.RSDP : acpi.RSDP + 36])
    assert sum(rsdp[:20]) % 256 == sum(rsdp) % 256 == 0
    tables = memory.tables()
    assert set(tables) == {"XSDT", "FACP", "APIC", "FACS", "DSDT"}
    for signature, table in tables.items():
        assert signature == "FACS" or sum(table) % 256 == 0


@pytest.mark.parametrize("cpus", [1, 64])
def test_they_lie_in_reserved_memory_and_apart(cpus):
    spans = sorted((s.address, s.end) for s in acpi.segments(cpus))
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    reserved = [r for r in memmap.ranges(Facts(1 << 30)) if r.kind == memmap.RESERVED]
    for start, end in spans:
        assert any(r.start <= start and end <= r.start + r.size for r in reserved)
    assert spans[-1][1] <= acpi.END


def test_the_old_and_the_new_root_table_list_the_same():
    memory = Memory(2)
    (rsdt,) = struct.unpack_from("<I", memory.bytes, acpi.RSDP + 16)
    (xsdt,) = struct.unpack_from("<Q", memory.bytes, acpi.RSDP + 24)
    old, new = memory.table(rsdt), memory.table(xsdt)
    assert struct.unpack("<2I", old[36:]) == struct.unpack("<2Q", new[36:])


def test_the_madt_has_every_processor_and_the_lines_that_are_not_isa():
    madt, at, rows = Memory(5).tables()["APIC"], 44, []
    while at < len(madt):
        rows.append(madt[at : at + madt[at + 1]])
        at += madt[at + 1]
    assert struct.unpack_from("<II", madt, 36) == (board.LAPIC, 1)
    assert [row[2:4] for row in rows if row[0] == 0] == [bytes([n, n]) for n in range(5)]
    assert [struct.unpack_from("<BBII", row, 2) for row in rows if row[0] == 1] == [
        (board.IOAPIC_ID, 0, board.IOAPIC, 0)
    ]
    overrides = [struct.unpack_from("<BBIH", row, 2) for row in rows if row[0] == 2]
    assert overrides == [(0, n, n, board.LEVEL_HIGH) for n in (board.SCI, *pci.INTX_GSIS)]


@needs_iasl
def test_iasl_reads_the_machine_s_ports_in_the_fadt(tmp_path):
    text = disassembled(Memory(1).tables()["FACP"], tmp_path)
    assert "Invalid" not in text
    event, control, timer = board.ACPI, board.ACPI + 4, board.ACPI + 8
    for name, value in {
        "SCI Interrupt": board.SCI,
        "SMI Command Port": 0,
        "PM1A Event Block Address": event,
        "PM1A Control Block Address": control,
        "PM Timer Block Address": timer,
        "Value to cause reset": 6,
        "Control Method Power Button (V1)": 0,
        "Reset Register Supported (V2)": 1,
        "32-bit PM Timer (V1)": 1,
        "RTC Century Index": 0x32,
    }.items():
        assert field(text, name) == [value], name
    addresses = [a for a in field(text, "Address") if a]
    assert addresses == [board.RESET_CONTROL, event, control, timer]


@needs_iasl
@pytest.mark.parametrize("signature", ["APIC", "XSDT", "FACS"])
def test_iasl_reads_the_others_without_a_complaint(signature, tmp_path):
    text = disassembled(Memory(64).tables()[signature], tmp_path)
    assert not re.search("invalid|unknown|error", text, re.IGNORECASE)


@needs_iasl
def test_the_dsdt_says_what_the_machine_is(tmp_path):
    text = disassembled(Memory(1).tables()["DSDT"], tmp_path)
    text = re.sub(r"\bZero\b", "0x0", re.sub(r"\bOne\b", "0x1", text))
    routes = re.findall(
        r"Package \(0x04\)[^{]*\{\s*(0x\w+),\s*(0x\w+),\s*(0x\w+),\s*(0x\w+)\s*\}", text
    )
    got = [tuple(int(n, 16) for n in row) for row in routes]
    sleep, *got = got
    assert sleep == (0, 0, 0, 0)
    assert got == [(slot << 16 | 0xFFFF, 0, 0, pci.gsi_of(slot)) for slot in range(32)]
    ranges = re.findall(r"(0x\w+), +// Range Minimum\s*(0x\w+), +// Range Maximum", text)
    assert [(int(a, 16), int(b, 16)) for a, b in ranges] == [
        (0, 0),  # buses
        (pci.CONFIG_PORTS, pci.CONFIG_PORTS),
        (pci.IO_WINDOW[0], pci.IO_WINDOW[1] - 1),
        (pci.MEMORY_WINDOW[0], pci.MEMORY_WINDOW[1] - 1),
        (board.ACPI, board.ACPI),
        (board.PVPANIC, board.PVPANIC),
        (board.FW_CFG, board.FW_CFG),
        (board.COM1, board.COM1),
        (board.RTC, board.RTC),
    ]
    lines = [int(n) for n in re.findall(r"IRQNoFlags \(\)\s*\{(\d+)\}", text)]
    assert lines == [board.COM1_IRQ, board.RTC_IRQ]


@needs_iasl
def test_the_dsdt_is_fresh_and_the_same_whenever_it_is_compiled():
    spec = importlib.util.spec_from_file_location("dsdt", ROOT / "tools" / "dsdt.py")
    dsdt = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(dsdt)
    assert dsdt.compiled() == dsdt.compiled() == Path(acpi.DSDT_FILE).read_bytes()
