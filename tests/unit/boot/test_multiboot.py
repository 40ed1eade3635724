"""Multiboot 1: the header's search, both ways to load, what the guest is told."""

import struct

import pytest

from pykvm.boot import multiboot
from pykvm.boot.plan import Facts, Mode, Module, Protocol
from pykvm.errors import ImageError, UsageError
from tests.support.images import CODE, elf32, elf64
from tests.support.images import multiboot as image

BASE = 0x100000


def told(plan, facts):
    """The guest's view: the information as a dictionary, and memory by address."""
    handover = plan.handover(facts)
    assert handover.registers["rax"] == 0x2BADB002
    memory = {s.address: bytes(s.data) for s in handover.segments}
    info = memory[handover.registers["rbx"]]
    names = ("flags mem_lower mem_upper boot_device cmdline mods_count mods_addr s0 s1 s2 s3 "
             "mmap_length mmap_addr drives_length drives_addr config_table boot_loader_name "
             "apm_table").split()  # fmt: skip
    return dict(zip(names, struct.unpack("<18I", info), strict=True)), memory


def string(memory, address):
    for base, data in memory.items():
        if base <= address < base + len(data):
            return data[address - base :].split(b"\0")[0]
    raise AssertionError(f"{address:#x} is nowhere")


def test_a_flat_file_goes_where_its_address_fields_say(plan_of):
    data = b"\0" * 16 + image(addresses=(BASE + 16, BASE, BASE + 64, BASE + 0x1000, BASE + 48))
    plan = plan_of(data)
    assert (plan.kind, plan.mode, plan.entry) == ("multiboot", Mode.PROTECTED, BASE + 48)
    (segment,) = plan.segments
    assert (segment.address, segment.size, bytes(segment.data)) == (BASE, 0x1000, data[:64])


def test_without_ends_the_whole_file_is_loaded(plan_of):
    data = image(addresses=(BASE, BASE, 0, 0, BASE + 32))
    assert [(s.size, len(s.data)) for s in plan_of(data).segments] == [(len(data), len(data))]


def test_an_elf_is_loaded_by_its_segments(plan_of):
    for elf in (
        elf32(BASE + 32, image(), address=BASE),
        elf64(BASE + 32, ((BASE, image(), 4096),)),
    ):
        plan = plan_of(elf)
        assert (plan.kind, plan.mode, plan.entry) == ("multiboot", Mode.PROTECTED, BASE + 32)
        assert [s.address for s in plan.segments] == [BASE]


@pytest.mark.parametrize("at", [0, 4, 8192 - 12])
def test_the_header_is_found_in_the_first_8_kib(at):
    assert multiboot.find(bytes(at) + image()).offset == at


@pytest.mark.parametrize("at", [2, 8192 - 8, 8192])
def test_a_header_that_is_not_aligned_or_not_there_is_none(at):
    assert multiboot.find(bytes(at) + image()) is None


def test_a_magic_number_with_a_wrong_checksum_is_no_header():
    data = bytearray(image())
    data[8] ^= 1
    assert multiboot.find(data + image()).offset == len(data)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (image(flags=1 << 5), "requires"),
        (image(), "no addresses"),
        (image(addresses=(BASE, BASE + 4, 0, 0, BASE)), "before the file"),
        (image(addresses=(BASE + 4, BASE, 0, 0, BASE)), "before the file"),
        (image(addresses=(BASE, BASE, BASE + 4096, 0, BASE)), "not there"),
        (image(addresses=(BASE, BASE, BASE - 1, 0, BASE)), "not there"),
    ],
)
def test_a_header_that_cannot_be_followed_is_one_clear_line(plan_of, data, says):
    with pytest.raises(ImageError, match=says):
        plan_of(data)


def test_asked_for_by_name_it_must_be_there(plan_of):
    with pytest.raises(ImageError, match="no multiboot header"):
        plan_of(CODE, mode=Protocol.MULTIBOOT)


def test_the_mode_option_wins_over_the_header(plan_of):
    data = image(addresses=(BASE, BASE, 0, 0, BASE + 32))
    assert plan_of(data, mode=Mode.LONG).kind == "flat"


def test_the_guest_is_told_its_memory_and_command_line(plan_of):
    plan = plan_of(image(addresses=(BASE, BASE, 0, 0, BASE + 32)))
    info, memory = told(plan, Facts(64 << 20, 1 << 30, append="a b=c"))
    assert info["flags"] & 0b1001001101 == 0b1001001101
    assert (info["mem_lower"], info["mem_upper"]) == (639, 63 << 10)
    assert string(memory, info["cmdline"]) == b"a b=c"
    assert string(memory, info["boot_loader_name"]) == b"pykvm"
    table = memory[info["mmap_addr"]][: info["mmap_length"]]
    rows = [struct.unpack_from("<IQQI", table, at) for at in range(0, len(table), 24)]
    assert {row[0] for row in rows} == {20}
    assert [row[1:3] for row in rows if row[3] == 1] == [
        (0, 0x9FC00), (1 << 20, 63 << 20), (1 << 32, 1 << 30),
    ]  # fmt: skip


def test_modules_follow_the_image_on_pages_of_their_own(plan_of):
    plan = plan_of(image(addresses=(BASE, BASE, 0, BASE + 0x1001, BASE + 32)))
    modules = (Module("one", b"1" * 5000), Module("two", b"2"))
    info, memory = told(plan, Facts(64 << 20, modules=modules))
    table = next(m for a, m in memory.items() if a <= info["mods_addr"] < a + len(m))
    base = next(a for a, m in memory.items() if m is table)
    rows = [struct.unpack_from("<IIII", table, info["mods_addr"] - base + n * 16) for n in (0, 1)]
    assert info["mods_count"] == 2
    assert [(start, end) for start, end, _, _ in rows] == [
        (BASE + 0x2000, BASE + 0x2000 + 5000), (BASE + 0x4000, BASE + 0x4001),
    ]  # fmt: skip
    assert [string(memory, row[2]) for row in rows] == [b"one", b"two"]
    assert memory[BASE + 0x4000] == b"2"


def test_too_much_to_tell_is_refused(plan_of):
    plan = plan_of(image(addresses=(BASE, BASE, 0, 0, BASE + 32)))
    with pytest.raises(UsageError, match="2047"):
        plan.handover(Facts(64 << 20, append="x" * 2048))
    with pytest.raises(UsageError, match="64"):
        plan.handover(Facts(64 << 20, modules=(Module("m", b""),) * 65))
    with pytest.raises(UsageError, match="names"):
        plan.handover(Facts(64 << 20, modules=(Module("m" * 4090, b""),)))
