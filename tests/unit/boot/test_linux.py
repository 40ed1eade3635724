"""Linux by the 64-bit boot protocol: what is accepted, and what boot_params says."""

import gzip
import struct

import pytest

from pykvm.boot.plan import Facts, Mode, Module, Protocol
from pykvm.errors import ImageError, UsageError
from tests.support.images import CODE, LINUX, bzimage, elf32, elf64

BASE = 0x100_0000
KERNEL = elf64(BASE + 8, ((BASE, CODE, 0x1000),), vaddr=0xFFFF_FFFF_8100_0000)
RAM = 64 << 20


def vmlinux():
    return elf64(BASE, ((BASE, CODE, 0x1000),), notes=LINUX)


def told(plan, facts):
    """boot_params, and memory by address."""
    handover = plan.handover(facts)
    memory = {s.address: bytes(s.data) for s in handover.segments}
    return memory[handover.registers["rsi"]], memory


def u32(params, at):
    return struct.unpack_from("<I", params, at)[0]


def test_a_bzimages_kernel_is_unpacked_and_entered_where_it_is_linked(plan_of):
    plan = plan_of(bzimage(gzip.compress(KERNEL)))
    assert (plan.kind, plan.mode, plan.entry) == ("Linux", Mode.LONG, BASE + 8)
    assert [(s.address, s.size, bytes(s.data)) for s in plan.segments] == [(BASE, 0x1000, CODE)]


def test_with_kaslr_the_decompressor_is_entered_instead(plan_of):
    data = bzimage(gzip.compress(KERNEL), init_size=0x20_0000)
    plan = plan_of(data, kaslr=True)
    assert plan.entry == BASE + 0x200
    (segment,) = plan.segments
    assert (segment.address, segment.size, bytes(segment.data)) == (BASE, 0x20_0000, data[1024:])


def test_a_vmlinux_is_told_by_its_note_or_by_name(plan_of):
    assert plan_of(vmlinux()).kind == "Linux"
    assert plan_of(elf64()).kind == "ELF64"
    assert plan_of(elf64(), mode=Protocol.LINUX).kind == "Linux"


@pytest.mark.parametrize(
    ("data", "options", "says"),
    [
        (bzimage(version=0x20B), {}, "2.12"),
        (bzimage(loadflags=0), {}, "zImage"),
        (bzimage(xloadflags=0), {}, "32-bit"),
        (bzimage(gzip.compress(KERNEL))[:-1], {}, "truncated"),
        (bzimage()[:0x260], {}, "truncated"),
        (bzimage(), {}, "packed in an unknown way"),
        (bzimage(b"x" * 64), {}, "--kaslr"),
        (bzimage(gzip.compress(b"not an ELF" * 9)), {}, "kernel inside.*ELF"),
        (bzimage(gzip.compress(elf32())), {}, "32-bit"),
        (bzimage(gzip.compress(bytes(1 << 20))), {"memory": 1 << 19}, "--memory"),
        (bzimage(), {"load_address": 0x200000, "kaslr": True}, "--load-addr"),
        (CODE, {"mode": Protocol.LINUX}, "neither"),
        (CODE, {"kaslr": True}, "--kaslr"),
        (elf64(), {"kaslr": True}, "--kaslr"),
        (elf32(), {"mode": Protocol.LINUX}, "32-bit vmlinux"),
    ],
)
def test_a_kernel_that_cannot_be_started_is_one_clear_line(plan_of, data, options, says):
    with pytest.raises(ImageError, match=says) as caught:
        plan_of(data, **options)
    assert "\n" not in str(caught.value)


def test_boot_params_hold_the_files_header_and_what_a_loader_adds(plan_of):
    data = bzimage(gzip.compress(KERNEL))
    params, memory = told(plan_of(data), Facts(RAM, append="quiet", rsdp=0xF0000))
    assert params[0x201:0x210] == data[0x201:0x210]
    assert params[0x210] == 0xFF
    assert memory[u32(params, 0x228)] == b"quiet\0"
    assert struct.unpack_from("<Q", params, 0x70) == (0xF0000,)
    rows = [struct.unpack_from("<QQI", params, 0x2D0 + n * 20) for n in range(params[0x1E8])]
    assert [row[:2] for row in rows if row[2] == 1] == [(0, 0x9FC00), (1 << 20, 63 << 20)]


def test_a_vmlinux_gets_a_header_too(plan_of):
    params, _ = told(plan_of(vmlinux()), Facts(RAM))
    assert params[0x202:0x206] == b"HdrS"
    assert params[0x1FE:0x200] == b"\x55\xaa"
    assert params[0x210] == 0xFF


def test_the_random_seed_is_new_every_time(plan_of):
    seeds = set()
    for _ in range(2):
        params, memory = told(plan_of(vmlinux()), Facts(RAM))
        data = memory[u32(params, 0x250)]
        following, kind, size = struct.unpack_from("<QII", data)
        assert (following, kind, size) == (0, 9, len(data) - 16)
        seeds.add(data[16:])
    assert len(seeds) == 2


def test_the_entry_has_the_protocols_selectors(plan_of):
    handover = plan_of(vmlinux()).handover(Facts(RAM))
    assert (handover.code, handover.data) == (0x10, 0x18)
    gdt = next(s for s in handover.segments if s.what == "the GDT")
    code, data = struct.unpack_from("<2Q", gdt.data, 0x10)
    assert code >> 40 & 0xFB == 0x9B  # present, code, readable
    assert code >> 53 & 1  # 64-bit
    assert data >> 40 & 0xFB == 0x93


@pytest.mark.parametrize(("most", "end"), [(0x7FFF_FFFF, RAM), (0x1FF_FFFF, 0x200_0000)])
def test_the_initrd_lies_as_high_as_the_kernel_allows(plan_of, most, end):
    plan = plan_of(bzimage(gzip.compress(KERNEL), initrd_addr_max=most))
    params, memory = told(plan, Facts(RAM, modules=(Module("i", b"x" * 5000),)))
    assert (u32(params, 0x218), u32(params, 0x21C)) == (end - 0x2000, 5000)
    assert memory[end - 0x2000] == b"x" * 5000


def test_several_initrds_become_one_each_aligned_as_cpio_wants(plan_of):
    modules = (Module("a", b"aaaaa"), Module("b", b"b"))
    params, memory = told(plan_of(vmlinux()), Facts(RAM, modules=modules))
    assert memory[u32(params, 0x218)] == b"aaaaa\0\0\0b"
    assert u32(params, 0x21C) == 9


def test_an_initrd_that_fits_nowhere_is_refused(plan_of):
    plan = plan_of(bzimage(gzip.compress(KERNEL), initrd_addr_max=0xFFF))
    with pytest.raises(UsageError, match="--initrd"):
        plan.handover(Facts(RAM, modules=(Module("i", bytes(5000)),)))


def test_the_command_line_is_limited_by_the_kernel(plan_of):
    plan = plan_of(bzimage(gzip.compress(KERNEL), cmdline_size=10))
    plan.handover(Facts(RAM, append="x" * 10))
    with pytest.raises(UsageError, match="the most is 10"):
        plan.handover(Facts(RAM, append="x" * 11))
