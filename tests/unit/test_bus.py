"""The bus: its three kinds of error, and how accesses are split."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykvm._native import ffi, lib
from pykvm.bus import MAX_RANGES, Bus, Range
from pykvm.errors import RangeError
from pykvm.registers import RegisterMap

SPACE = 0x200


class Cells:
    """A device whose registers are bytes that can be read back; it notes each access."""

    registers = RegisterMap("cells", [])
    bank = 0

    def __init__(self, name, size=SPACE, width=8):
        self.name = name
        self.access_width = width
        self.cells = bytearray(size)
        self.log = []

    def read(self, offset, size):
        self.log.append(("r", offset, size))
        return int.from_bytes(self.cells[offset : offset + size], "little")

    def write(self, offset, size, value):
        self.log.append(("w", offset, size))
        self.cells[offset : offset + size] = value.to_bytes(size, "little")


def bus_of(*ranges):
    bus = Bus("port", SPACE)
    for base, size, device in ranges:
        bus.add(Range(base, size, device))
    return bus


def test_an_empty_range_is_refused():
    with pytest.raises(RangeError, match="empty"):
        bus_of((0x10, 0, Cells("a")))


@pytest.mark.parametrize(("base", "size"), [(-1, 4), (SPACE - 3, 4), (SPACE, 1)])
def test_a_range_that_leaves_the_space_is_refused(base, size):
    with pytest.raises(RangeError, match="leaves"):
        bus_of((base, size, Cells("a")))


@pytest.mark.parametrize(("base", "size"), [(0x0C, 5), (0x10, 8), (0x12, 2), (0x17, 1), (0, 0x100)])
def test_overlapping_ranges_are_refused_by_name(base, size):
    with pytest.raises(RangeError, match=r"b at .* overlaps a at 0x10-0x17"):
        bus_of((0x10, 8, Cells("a")), (base, size, Cells("b")))


def test_neighbours_do_not_overlap():
    bus = bus_of((0x10, 8, Cells("a")), (0x18, 8, Cells("b")), (0x0F, 1, Cells("c")))
    assert [bus.find(at).device.name for at in (0x0F, 0x10, 0x17, 0x18)] == ["c", "a", "a", "b"]
    assert bus.find(0x20) is None


def test_more_ranges_than_the_native_side_holds_are_refused():
    bus = Bus("port", 1 << 16)
    for n in range(MAX_RANGES):
        bus.add(Range(n, 1, Cells("a", 1)))
    with pytest.raises(RangeError, match="more than"):
        bus.add(Range(MAX_RANGES, 1, Cells("a", 1)))
    assert MAX_RANGES == lib.PK_MAX_RANGES


def test_unclaimed_addresses_read_all_ones_and_swallow_writes():
    bus = bus_of()
    bus.write(0x20, 4, 0x1234)
    assert bus.read(0x20, 4) == 0xFFFF_FFFF


def test_an_access_wider_than_the_device_takes_is_split_little_endian():
    narrow = Cells("a", width=1)
    bus = bus_of((0x10, 8, narrow))
    bus.write(0x10, 4, 0x44332211)
    assert narrow.cells[:4] == b"\x11\x22\x33\x44"
    assert narrow.log == [("w", n, 1) for n in range(4)]
    assert bus.read(0x11, 2) == 0x3322


def test_an_unaligned_access_inside_one_device_stays_whole():
    wide = Cells("a")
    bus_of((0x10, 8, wide)).write(0x11, 4, 1)
    assert wide.log == [("w", 1, 4)]


def test_an_access_across_two_devices_reaches_both():
    low, high = Cells("low"), Cells("high")
    bus = bus_of((0x10, 4, low), (0x14, 4, high))
    bus.write(0x12, 4, 0x44332211)
    assert low.cells[2:4] == b"\x11\x22"
    assert high.cells[:2] == b"\x33\x44"
    assert bus.read(0x12, 4) == 0x44332211


def test_an_access_half_in_a_hole_reads_ones_there():
    bus = bus_of((0x10, 2, Cells("a")))
    assert bus.read(0x10, 4) == 0xFFFF_0000


ranges = st.lists(
    st.tuples(st.integers(0, SPACE - 1), st.integers(1, 24), st.sampled_from([1, 2, 4, 8])),
    max_size=8,
)


@given(ranges=ranges, at=st.integers(0, SPACE - 9), size=st.sampled_from([1, 2, 3, 4, 7, 8]),
       value=st.integers(0, 2**64 - 1))  # fmt: skip
def test_any_split_access_is_the_same_as_byte_by_byte(ranges, at, size, value):
    bus = Bus("port", SPACE)
    for base, length, width in ranges:
        try:
            bus.add(Range(base, length, Cells(f"d{base}", width=width)))
        except RangeError:
            continue
    value &= (1 << size * 8) - 1
    bus.write(at, size, value)
    expected = 0
    for n in range(size):
        found = bus.find(at + n)
        byte = value >> n * 8 & 0xFF if found else 0xFF
        expected |= byte << n * 8
        if found:
            assert found.device.cells[at + n - found.base] == byte
            assert all(s <= found.device.access_width for _, _, s in found.device.log)
    assert bus.read(at, size) == expected


@given(ranges=ranges, at=st.integers(0, SPACE), size=st.sampled_from([1, 2, 4, 8]))
def test_c_finds_a_range_exactly_when_python_finds_one_that_holds_the_access(ranges, at, size):
    bus = Bus("port", SPACE)
    for base, length, _ in ranges:
        try:
            bus.add(Range(base, length, Cells("d"), number=base))
        except RangeError:
            continue
    native = ffi.gc(lib.pk_bus_new(), lib.pk_bus_free)
    rows = ffi.new("struct pk_range[]", 8)
    for n, r in enumerate(bus):
        rows[n].base, rows[n].last, rows[n].id = r.base, r.last, r.number
    assert lib.pk_bus_set(native, lib.PK_PIO, rows, len(list(bus)))
    found = ffi.new("struct pk_range *")
    hit = lib.pk_bus_find(native, lib.PK_PIO, at, size, found)
    expected = bus.find(at)
    whole = expected is not None and at + size - 1 <= expected.last
    assert hit == whole
    assert not whole or found.id == expected.number
    assert not lib.pk_bus_find(native, lib.PK_MMIO, at, size, found)


def test_a_latch_reads_back_what_was_written_and_leaves_what_is_outside_to_python():
    latch = ffi.new("struct pk_latch *", {"size": 8})
    value = ffi.new("uint64_t *", 0x1122334455667788)
    assert lib.pk_latch_answer(latch, True, 0, 8, value)
    value[0] = 0
    assert lib.pk_latch_answer(latch, False, 2, 2, value)
    assert value[0] == 0x5566
    for offset, size in [(8, 1), (7, 2), (2**64 - 1, 1), (0, 16)]:
        assert not lib.pk_latch_answer(latch, False, offset, size, value)
