"""The table loader's script, played as firmware does it: what comes out are sound ACPI tables."""

import struct

import pytest

from pykvm.machine.firmware import acpi, table_loader
from pykvm.machine.firmware.table_loader import RSDP, SCRIPT, TABLES

HIGH, F_SEGMENT = 0x0FFE_1040, 0xF_6A10


def name(field):
    return field.rstrip(b"\0").decode()


class Loader:
    """A firmware's loader: every entry is checked as a strict one would."""

    def __init__(self, files):
        self.files = files
        self.loaded = {}
        script = files[SCRIPT]
        assert len(script) % table_loader.ENTRY == 0
        for at in range(0, len(script), table_loader.ENTRY):
            entry = script[at : at + table_loader.ENTRY]
            self.DO[struct.unpack_from("<I", entry)[0]](self, entry[4:])

    def allocate(self, entry):
        file, align, zone = struct.unpack_from("<56sIB", entry)
        address = {1: HIGH, 2: F_SEGMENT}[zone]
        assert address % align == 0
        assert align & align - 1 == 0
        assert name(file) not in self.loaded
        self.loaded[name(file)] = address, bytearray(self.files[name(file)])

    def add_pointer(self, entry):
        to, source, offset, size = struct.unpack_from("<56s56sIB", entry)
        data, (address, target) = self.loaded[name(to)][1], self.loaded[name(source)]
        assert offset + size <= len(data)
        value = int.from_bytes(data[offset : offset + size], "little")
        assert value < len(target)
        data[offset : offset + size] = (value + address).to_bytes(size, "little")

    def add_checksum(self, entry):
        file, offset, start, length = struct.unpack_from("<56sIII", entry)
        data = self.loaded[name(file)][1]
        assert offset < len(data)
        assert start + length <= len(data)
        data[offset] = data[offset] - sum(data[start : start + length]) & 0xFF

    DO = {1: allocate, 2: add_pointer, 3: add_checksum}

    def table(self, address):
        data, at = self.loaded[TABLES][1], address - HIGH
        (size,) = struct.unpack_from("<I", data, at + 4)
        return bytes(data[at : at + size])


@pytest.fixture(params=[1, 5, 64])
def loader(request):
    made = Loader(table_loader.files(request.param))
    made.cpus = request.param
    return made


def test_the_rsdp_is_in_the_f_segment_and_sound(loader):
    address, rsdp = loader.loaded[RSDP]
    assert address == F_SEGMENT
    assert bytes(rsdp[:8]) == b"RSD PTR "
    assert sum(rsdp[:20]) % 256 == sum(rsdp) % 256 == 0


def test_every_pointer_leads_to_a_sound_table(loader):
    _, rsdp = loader.loaded[RSDP]
    rsdt = loader.table(struct.unpack_from("<I", rsdp, 16)[0])
    xsdt = loader.table(struct.unpack_from("<Q", rsdp, 24)[0])
    old = struct.unpack("<2I", rsdt[36:])
    assert old == struct.unpack("<2Q", xsdt[36:])
    fadt, madt = map(loader.table, old)
    facs, dsdt = struct.unpack_from("<II", fadt, 36)
    assert struct.unpack_from("<QQ", fadt, 132) == (0, dsdt)
    assert facs % 64 == 0
    found = [rsdt, xsdt, fadt, madt, loader.table(dsdt)]
    assert [table[:4] for table in found] == [b"RSDT", b"XSDT", b"FACP", b"APIC", b"DSDT"]
    assert all(sum(table) % 256 == 0 for table in found)
    assert loader.table(facs)[:4] == b"FACS"


def test_they_are_the_tables_that_an_image_gets(loader):
    """But for the pointers and the checksums over them."""
    data, first = loader.loaded[TABLES][1], acpi.segments(loader.cpus)[0].address
    kinds = {segment.data[:4] for segment in acpi.segments(loader.cpus)}
    assert kinds == {b"RSD ", b"FACS", b"DSDT", b"FACP", b"APIC", b"XSDT", b"RSDT"}
    for segment in acpi.segments(loader.cpus):
        if segment.data[:4] in (b"DSDT", b"APIC", b"FACS"):
            assert segment.data in bytes(data)
    assert first > acpi.RSDP


def test_all_pointers_are_set_before_any_checksum_is_made():
    script = table_loader.files(2)[SCRIPT]
    commands = [script[at] for at in range(0, len(script), table_loader.ENTRY)]
    assert commands == sorted(commands)
