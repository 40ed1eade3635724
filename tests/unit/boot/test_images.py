"""Image kinds: what is accepted, and one clear line for everything that is not."""

import contextlib
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pykvm.boot import image, lowmem
from pykvm.boot.plan import Mode, Segment, check_placement
from pykvm.errors import ImageError, UsageError

RAM = 16 << 20


def elf64(entry=0x100000, segments=((0x100000, b"\xf4" * 16, 64),), machine=62, kind=2, vaddr=None):
    """A minimal ELF64 file: header, program headers, the segments' bytes."""
    headers, body = b"", b""
    start = 64 + 56 * len(segments)
    for address, data, size in segments:
        virtual = address if vaddr is None else vaddr
        headers += struct.pack(
            "<IIQQQQQQ", 1, 7, start + len(body), virtual, address, len(data), size, 4096
        )
        body += data
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = ident + struct.pack(
        "<HHIQQQIHHHHHH", kind, machine, 1, entry, 64, 0, 0, 64, 56, len(segments), 0, 0, 0
    )
    return header + headers + body


def elf32(entry=0x100000, data=b"\xf4" * 16):
    ident = b"\x7fELF\x01\x01\x01" + bytes(9)
    header = ident + struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, entry, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    return header + struct.pack("<IIIIIIII", 1, 84, entry, entry, len(data), 32, 7, 4096) + data


@pytest.fixture
def plan_of(tmp_path):
    """Plans an image given as bytes."""

    def plan(data, **options):
        path = tmp_path / "image"
        path.write_bytes(data)
        return image.plan(str(path), memory=RAM, **options)

    return plan


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
        (bytes(RAM + 1), {}, "--memory"),
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


@settings(max_examples=200)
@given(at=st.integers(0, 63 + 56), byte=st.integers(0, 255), cut=st.integers(0, 200))
def test_a_damaged_elf_is_planned_or_refused_but_never_breaks_us(tmp_path_factory, at, byte, cut):
    data = bytearray(elf64())
    data[at] = byte
    path = tmp_path_factory.mktemp("elf") / "image"
    path.write_bytes(bytes(data[: max(len(data) - cut, 1)]))
    with contextlib.suppress(UsageError):
        image.plan(str(path), memory=RAM)


def test_a_directory_is_not_an_image(tmp_path):
    with pytest.raises(ImageError):
        image.plan(str(tmp_path), memory=RAM)


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
    placed = lowmem.segments(
        Mode.LONG, memory_low=0x800000, memory_high=5, cpus=3, append="a=b", initrd=(0x7000, 9)
    )
    info = next(s for s in placed if s.address == lowmem.BOOT_INFO).data
    assert struct.unpack("<4sIQQQQQQII", info) == (
        b"PKVM", 1, 64, 0x800000, 5, lowmem.COMMAND_LINE, 0x7000, 9, 3, 0
    )  # fmt: skip
    line = next(s for s in placed if s.address == lowmem.COMMAND_LINE).data
    assert line == b"a=b\0"


def test_without_a_command_line_its_address_is_0():
    placed = lowmem.segments(Mode.LONG, memory_low=1, memory_high=0, cpus=1)
    info = next(s for s in placed if s.address == lowmem.BOOT_INFO).data
    assert struct.unpack_from("<Q", info, 32) == (0,)


def test_a_command_line_that_is_too_long_is_refused():
    with pytest.raises(UsageError, match="4095"):
        lowmem.segments(Mode.LONG, memory_low=1, memory_high=0, cpus=1, append="x" * 4096)


def test_real_mode_vectors_point_at_their_own_stub():
    vectors, stubs = lowmem.segments(Mode.REAL, memory_low=1, memory_high=0, cpus=1)
    for n in range(lowmem.REAL_VECTORS):
        offset, segment_ = struct.unpack_from("<HH", vectors.data, n * 4)
        at = segment_ * 16 + offset
        assert stubs.data[at - stubs.address] == 0xF4
        assert at == lowmem.REAL_STUBS + n
