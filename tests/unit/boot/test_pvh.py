"""PVH: which ELF files are started by it, and what the guest is told."""

import struct

import pytest

from pykvm.boot.plan import Facts, Mode, Module, Protocol
from pykvm.errors import ImageError
from tests.support.images import CODE, KIT, LINUX, PVH, elf32, elf64, note

BASE = 0x100000


def test_an_elf_with_a_pvh_note_starts_at_its_32_bit_entry(plan_of):
    for data in (elf64(notes=PVH), elf32(notes=PVH)):
        plan = plan_of(data)
        assert (plan.kind, plan.mode, plan.entry) == ("PVH", Mode.PROTECTED, 0x100008)


def test_the_kits_own_note_comes_first(plan_of):
    plan = plan_of(elf64(notes=PVH + KIT))
    assert (plan.kind, plan.mode, plan.entry) == ("ELF64", Mode.LONG, BASE)


def test_a_vmlinux_is_started_as_linux_unless_asked_otherwise(plan_of):
    assert plan_of(elf64(notes=LINUX + PVH)).kind == "Linux"
    assert plan_of(elf64(notes=LINUX + PVH), mode=Protocol.PVH).kind == "PVH"


def test_a_mode_is_pykvms_own_way_to_start(plan_of):
    assert plan_of(elf64(notes=PVH), mode=Mode.LONG).kind == "ELF64"
    assert plan_of(elf32(notes=PVH), mode=Mode.PROTECTED).kind == "ELF32"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (elf64(), "no PVH entry"),
        (elf64(notes=note(b"Xen", 18, b"\0\0")), "2 bytes"),
        (elf64(notes=note(b"Xen", 18, struct.pack("<Q", 1 << 32))), "32-bit"),
        (elf64(notes=PVH[:-4]), "no PVH entry"),
        (CODE, "only an ELF file"),
    ],
)
def test_what_cannot_be_started_by_pvh_is_one_clear_line(plan_of, data, says):
    with pytest.raises(ImageError, match=says):
        plan_of(data, mode=Protocol.PVH)


def test_the_guest_is_told_memory_command_line_modules_and_acpi(plan_of):
    module = Module("initrd", b"x" * 33)
    facts = Facts(64 << 20, 1 << 30, append="a=b", modules=(module,), rsdp=0xF0000)
    handover = plan_of(elf64(notes=PVH)).handover(facts)
    memory = {s.address: bytes(s.data) for s in handover.segments}

    def at(address, size):
        base = next(b for b, data in memory.items() if b <= address < b + len(data))
        return memory[base][address - base : address - base + size]

    magic, version, flags, modules, module_list, line, rsdp, table, rows, _ = struct.unpack(
        "<IIIIQQQQII", at(handover.registers["rbx"], 56)
    )
    assert (magic, version, flags, modules, rsdp) == (0x336EC578, 1, 0, 1, 0xF0000)
    assert at(line, 4) == b"a=b\0"
    start, size, text, _ = struct.unpack("<QQQQ", at(module_list, 32))
    assert (at(start, size), text) == (module.data, 0)
    ram = [struct.unpack("<QQII", at(table + n * 24, 24)) for n in range(rows)]
    assert [row[:2] for row in ram if row[2] == 1] == [
        (0, 0x9FC00), (1 << 20, 63 << 20), (1 << 32, 1 << 30),
    ]  # fmt: skip
