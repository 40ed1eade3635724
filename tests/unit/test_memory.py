"""The one door to guest memory, in Python and in C: one suite over both."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykvm._native import ffi, lib
from pykvm.errors import GuestMemoryError
from pykvm.memory import HUGE_PAGE, GuestMemory

SIZE = 0x6000
HOLE = (0x4000, 0x10000)  # low RAM 0-0x3fff, high RAM 0x10000-0x11fff


@pytest.fixture(scope="module")
def memory():
    with GuestMemory(SIZE, hole=HOLE) as memory:
        yield memory


def read_python(memory, address, length):
    try:
        return memory.read(address, length)
    except GuestMemoryError:
        return None


def read_c(memory, address, length):
    into = ffi.new("char[]", max(length, 1))
    if not lib.pk_guest_read(memory.native(), address, into, length):
        return None
    return bytes(ffi.buffer(into))[:length]


def inside(address, length):
    """The rule, said once more in another way: every byte and the start are in the same slot."""
    slots = [range(0x4000), range(0x10000, 0x12000)]
    return any(address in s and (length == 0 or address + length - 1 in s) for s in slots)


addresses = st.one_of(
    st.integers(0, 0x13000),
    st.sampled_from([0, 0x3FFF, 0x4000, 0xFFFF, 0x10000, 0x11FFF, 0x12000, 2**63, 2**64 - 1]),
    st.integers(0, 2**64 - 1),
)
lengths = st.one_of(st.integers(0, 0x3000), st.sampled_from([0, 1, 0x2000, 0x2001, 0x4000]))


@pytest.mark.parametrize("read", [read_python, read_c])
@given(address=addresses, length=lengths)
def test_a_range_is_readable_exactly_when_it_lies_in_one_slot(memory, read, address, length):
    found = read(memory, address, length)
    assert (found is not None) == inside(address, length)
    assert found is None or len(found) == length


@given(length=st.integers(2**32, 2**64 - 1), address=addresses)
def test_a_huge_length_never_wraps_around_in_c(memory, address, length):
    assert lib.pk_guest_ptr(memory.native(), address, length, False) == ffi.NULL


@given(address=st.integers(0, 0x12000), data=st.binary(max_size=64))
def test_what_c_writes_python_reads_and_the_other_way_round(memory, address, data):
    if not inside(address, len(data)):
        assert not lib.pk_guest_write(memory.native(), address, data, len(data))
        with pytest.raises(GuestMemoryError):
            memory.write(address, data)
        return
    assert lib.pk_guest_write(memory.native(), address, data, len(data))
    assert memory.read(address, len(data)) == data
    memory.write(address, bytes(reversed(data)))
    assert read_c(memory, address, len(data)) == bytes(reversed(data))


def test_a_read_only_slot_refuses_writes_in_c(memory):
    native = ffi.new("struct pk_memory *", memory.native()[0])
    native.slots[0].writable = 0
    assert lib.pk_guest_ptr(native, 0x100, 4, False) != ffi.NULL
    assert lib.pk_guest_ptr(native, 0x100, 4, True) == ffi.NULL


def test_the_error_names_the_range(memory):
    with pytest.raises(GuestMemoryError, match=r"0x3fff, 2 bytes") as caught:
        memory.read(0x3FFF, 2)
    assert (caught.value.address, caught.value.length) == (0x3FFF, 2)


def test_a_view_is_the_memory_itself(memory):
    with memory.view(0x200, 8) as view:
        view[:] = b"12345678"
    assert memory.read(0x200, 8) == b"12345678"


@pytest.mark.parametrize("bits", [8, 16, 32, 64])
def test_numbers_are_little_endian_and_cut_to_their_width(memory, bits):
    getattr(memory, f"write_u{bits}")(0x300, (1 << 80) | 0xF1)
    assert getattr(memory, f"read_u{bits}")(0x300) == 0xF1
    assert memory.read(0x300, 1) == b"\xf1"


def test_ram_begins_where_a_large_page_of_the_host_can():
    for size in (SIZE, 5 << 20):
        with GuestMemory(size) as memory:
            assert memory.host_address(memory.slots[0]) % HUGE_PAGE == 0
            memory.write(size - 1, b"x")


def test_fill_covers_exactly_the_range(memory):
    memory.fill(0, 0x4000)  # other tests leave something here
    memory.fill(0x1000, 0x1800, 0xAA)
    assert memory.read(0x0FFF, 1) + memory.read(0x2800, 1) == b"\0\0"
    assert memory.read(0x1000, 0x1800) == b"\xaa" * 0x1800


def test_64_gib_are_mapped_lazily_around_the_hole():
    with GuestMemory(64 << 30) as memory:
        assert memory.low_size == 3 << 30
        assert memory.high_size == 61 << 30
        memory.write_u64(0x1_0000_0000 + (61 << 30) - 8, 0x1122)
        assert memory.read_u64(0x1_0000_0000 + (61 << 30) - 8) == 0x1122
        with pytest.raises(GuestMemoryError):
            memory.read(0xC000_0000, 1)


@pytest.mark.parametrize("size", [0, 4095, 4097, -4096])
def test_a_size_that_is_no_whole_number_of_pages_is_refused(size):
    with pytest.raises(ValueError, match="multiple"):
        GuestMemory(size)


def test_closing_twice_is_harmless():
    memory = GuestMemory(4096)
    memory.close()
    memory.close()


def cas16(memory, address, expected, desired):
    """Compare-and-exchange of a pair; returns (result, what was there)."""
    cell = ffi.new("uint64_t[2]", expected)
    return lib.pk_guest_cas16(memory.native(), address, cell, *desired), list(cell)


def test_compare_and_exchange_exchanges_only_what_is_expected():
    with GuestMemory(SIZE) as memory:
        memory.write_u64(0x108, 2)
        assert cas16(memory, 0x100, [0, 2], [5, 6]) == (lib.PK_CAS_EXCHANGED, [0, 2])
        assert cas16(memory, 0x100, [0, 2], [7, 8]) == (lib.PK_CAS_DIFFERS, [5, 6])
        cell = ffi.new("uint64_t *", 5)
        assert lib.pk_guest_cas8(memory.native(), 0x100, cell, 9) == lib.PK_CAS_EXCHANGED
        assert lib.pk_guest_cas8(memory.native(), 0x100, cell, 3) == lib.PK_CAS_DIFFERS
        assert (cell[0], memory.read_u64(0x100), memory.read_u64(0x108)) == (9, 9, 6)


@pytest.mark.parametrize("address", [0x108, 0x101, SIZE, SIZE - 8, (1 << 64) - 16])
def test_compare_and_exchange_refuses_what_is_not_aligned_ram(address):
    with GuestMemory(SIZE) as memory:
        assert cas16(memory, address, [0, 0], [1, 1])[0] == lib.PK_CAS_REFUSED
        cell = ffi.new("uint64_t *")
        refused = lib.pk_guest_cas8(memory.native(), address | 4, cell, 1)
        assert refused == lib.PK_CAS_REFUSED


def test_compare_and_exchange_is_atomic():
    rounds = 2000

    def count(memory):
        for _ in range(rounds):
            done, seen = cas16(memory, 0, [0, 0], [1, 1])
            while done != lib.PK_CAS_EXCHANGED:
                done, seen = cas16(memory, 0, seen, [seen[0] + 1, seen[1] + 1])

    with GuestMemory(SIZE) as memory:
        threads = [threading.Thread(target=count, args=(memory,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (memory.read_u64(0), memory.read_u64(8)) == (3 * rounds, 3 * rounds)
