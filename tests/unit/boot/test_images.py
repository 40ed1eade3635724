"""Image kinds: what is accepted, and one clear line for everything that is not."""

import struct

import pytest

from pykvm.boot import image, lowmem
from pykvm.boot.plan import Facts, Mode, Module, Segment, check_placement
from pykvm.errors import ImageError, UsageError
from tests.support.images import elf32, elf64


@pytest.mark.parametrize(
    ("mode", "address"), [(None, 0x100000), (Mode.LONG, 0x100000), (Mode.PROTECTED, 0x100000),
                          (Mode.REAL, 0x1000)],
)  # fmt: skip
def test_a_flat_image_goes_where_its_mode_says(plan_of, mode, address):
    plan = plan_of(b"\xf4", mode=mode)
    assert plan.mode is (mode or Mode.LONG)
    assert plan.entry == address
    assert [(s.address, bytes(s.data)) for s in plan.segments] == [(address, b"\xf4")]


def test_an_elf64_starts_in_long_mode_at_its_entry(plan_of):
    plan = plan_of(elf64(entry=0x100004))
    assert (plan.kind, plan.mode, plan.entry) == ("ELF64", Mode.LONG, 0x100004)
    assert [(s.address, s.size, len(s.data)) for s in plan.segments] == [(0x100000, 64, 16)]


def test_an_elf32_starts_in_protected_mode(plan_of):
    plan = plan_of(elf32())
    assert (plan.kind, plan.mode, plan.entry) == ("ELF32", Mode.PROTECTED, 0x100000)


def test_a_kernel_linked_high_is_entered_at_its_physical_address(plan_of):
    high = 0xFFFF_FFFF_8010_0000
    assert plan_of(elf64(entry=high + 8, vaddr=high)).entry == 0x100008


@pytest.mark.parametrize(
    ("data", "options", "says"),
    [
        (b"", {}, "empty"),
        (bytes((64 << 20) + 1), {}, "--memory"),
        (b"\x7fELF", {}, "ELF"),
        (elf64()[:60], {}, "ELF"),
        (elf64()[:-1], {}, "truncated"),
        (elf64(machine=183), {}, "x86"),
        (elf64(kind=3), {}, "statically"),
        (elf64(segments=()), {}, "no segment"),
        (elf64(segments=((0x100000, b"abc", 2),)), {}, "more bytes"),
        (elf64(), {"mode": Mode.REAL}, "long"),
        (elf64(), {"load_address": 0x200000}, "--load-addr"),
        (b"\xf4", {"mode": Mode.REAL, "load_address": 0x10000}, "too high"),
        (b"\xf4", {"mode": Mode.PROTECTED, "entry": 1 << 32}, "32-bit"),
    ],
)  # fmt: skip
def test_an_image_that_cannot_be_used_is_one_clear_line(plan_of, data, options, says):
    with pytest.raises(ImageError, match=says) as caught:
        plan_of(data, **options)
    assert "\n" not in str(caught.value)


def test_a_directory_is_not_an_image(tmp_path):
    with pytest.raises(ImageError):
        image.plan(str(tmp_path), memory=1 << 20)


def segment(address, size, what="s"):
    return Segment(address, bytes(min(size, 1)), size, what)


def test_a_segment_past_the_end_of_ram_says_how_much_is_there():
    with pytest.raises(ImageError, match=r"ends at 0x201000.*--memory"):
        check_placement("i", [segment(0x200000, 0x1000)], [(0, 0x200000)])


def test_a_segment_in_the_hole_is_refused():
    with pytest.raises(ImageError, match="hole"):
        check_placement("i", [segment(0xC000_0000, 1)], [(0, 0xC000_0000), (1 << 32, 1 << 33)])


def test_overlapping_segments_are_refused_by_name():
    with pytest.raises(ImageError, match="b at 0x1800 overlaps a at 0x1000-0x1fff"):
        check_placement(
            "i", [segment(0x1800, 1, "b"), segment(0x1000, 0x1000, "a")], [(0, 1 << 20)]
        )


def test_empty_segments_overlap_nothing():
    check_placement("i", [segment(0x1000, 0), segment(0x1000, 16)], [(0, 1 << 20)])


def test_the_page_tables_map_the_low_4_gib_one_to_one():
    tables = lowmem.page_tables()

    def entry(address):
        return struct.unpack_from("<Q", tables, address - lowmem.PAGE_TABLES)[0]

    for linear in (0, 0x1234_5678, 0xFFFF_FFFF):
        pdpt = entry(lowmem.PAGE_TABLES + (linear >> 39) * 8) & ~0xFFF
        directory = entry(pdpt + (linear >> 30 & 0x1FF) * 8) & ~0xFFF
        leaf = entry(directory + (linear >> 21 & 0x1FF) * 8)
        assert leaf & 0x81 == 0x81
        assert (leaf & ~0x1FFFFF) + (linear & 0x1FFFFF) == linear


def test_the_boot_info_block_says_what_the_machine_has():
    facts = Facts(0x800000, 5, 3, "a=b", (Module("f", b"x" * 9),), 0xF0000)
    placed = lowmem.kit(Mode.LONG)(facts).segments
    info = next(s for s in placed if s.address == lowmem.BOOT_INFO).data
    assert struct.unpack("<4sIQQQQQQIIQ", info) == (
        b"PKVM", 1, 72, 0x800000, 5, lowmem.COMMAND_LINE, 0x7FF000, 9, 3, 0, 0xF0000
    )  # fmt: skip
    line = next(s for s in placed if s.address == lowmem.COMMAND_LINE).data
    assert line == b"a=b\0"


def test_without_a_command_line_its_address_is_0():
    placed = lowmem.kit(Mode.LONG)(Facts(1)).segments
    info = next(s for s in placed if s.address == lowmem.BOOT_INFO).data
    assert struct.unpack_from("<Q", info, 32) == (0,)


def test_a_command_line_that_is_too_long_is_refused():
    with pytest.raises(UsageError, match="4095"):
        lowmem.kit(Mode.LONG)(Facts(1, append="x" * 4096))


def test_real_mode_vectors_point_at_their_own_stub():
    vectors, stubs = lowmem.kit(Mode.REAL)(Facts(1)).segments
    for n in range(lowmem.REAL_VECTORS):
        offset, segment_ = struct.unpack_from("<HH", vectors.data, n * 4)
        at = segment_ * 16 + offset
        assert stubs.data[at - stubs.address] == 0xF4
        assert at == lowmem.REAL_STUBS + n
