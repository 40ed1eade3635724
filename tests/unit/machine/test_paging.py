"""The walk of the guest's page tables: every shape, every refusal, the accessed and dirty bits."""

from types import SimpleNamespace

import pytest

from pykvm.errors import GuestMemoryError
from pykvm.machine.finish.fault import Fault
from pykvm.machine.finish.paging import Access, translate
from pykvm.machine.finish.state import pieces
from pykvm.memory import GuestMemory

P, W, U, A, D, LARGE = 1, 2, 4, 0x20, 0x40, 0x80
READ, WRITE = Access(write=False, user=False), Access(write=True, user=False)
USER_READ, USER_WRITE = Access(write=False, user=True), Access(write=True, user=True)
PG, WP = 1 << 31, 1 << 16
PSE, PAE, LA57, SMAP = 1 << 4, 1 << 5, 1 << 12, 1 << 21
LMA, AC = 1 << 10, 1 << 18
ROOT = 0x1000
PAGE = 0x5000


@pytest.fixture
def memory():
    with GuestMemory(0x8000) as memory:
        yield memory


# name: (CR4, EFER, bytes of an entry, the shift of each level, a linear address)
SHAPES = {
    "32-bit": (0, 0, 4, (22, 12), 0x1234_5678),
    "PAE": (PAE, 0, 8, (30, 21, 12), 0x9234_5678),
    "4 levels": (PAE, LMA, 8, (39, 30, 21, 12), 0xFFFF_8123_4567_8ABC),
    "5 levels": (PAE | LA57, LMA, 8, (48, 39, 30, 21, 12), 0xFF12_3456_789A_BCDE),
}


def control(cr4, efer, cr0=PG | WP):
    return SimpleNamespace(cr0=cr0, cr3=ROOT, cr4=cr4, efer=efer)


def build(memory, shape, *, leaf=P | W | U, level=None, table_rights=P | W | U):
    """Tables for the shape's address; returns (control registers, address, where the leaf is)."""
    cr4, efer, size, shifts, linear = SHAPES[shape]
    write = memory.write_u64 if size == 8 else memory.write_u32
    shifts = shifts if level is None else shifts[: level + 1]
    bits = 10 if size == 4 else 9
    for n, shift in enumerate(shifts):
        at = ROOT + n * 0x1000 + (linear >> shift) % (1 << bits) * size
        if shift == shifts[-1]:
            write(at, leaf if leaf & LARGE else PAGE | leaf)
        else:
            rights = P if shift == 30 and len(SHAPES[shape][3]) == 3 else table_rights
            write(at, ROOT + (n + 1) * 0x1000 | rights)
    return control(cr4, efer), linear, at


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("access", [READ, WRITE, USER_READ, USER_WRITE])
def test_a_page_is_found_and_marked(memory, shape, access):
    sregs, linear, leaf = build(memory, shape)
    assert translate(memory, sregs, 0, linear, access) == PAGE + linear % 4096
    marks = memory.read_u32(leaf) & (A | D)
    assert marks == (A | D if access.write else A)


@pytest.mark.parametrize(
    ("shape", "level", "size"),
    [("32-bit", 0, 4 << 20), ("PAE", 1, 2 << 20), ("4 levels", 2, 2 << 20),
     ("4 levels", 1, 1 << 30), ("5 levels", 3, 2 << 20)],
)  # fmt: skip
def test_a_large_page_is_found(memory, shape, level, size):
    sregs, linear, _ = build(memory, shape, leaf=P | W | LARGE, level=level)
    sregs.cr4 |= PSE
    assert translate(memory, sregs, 0, linear, READ) == linear % size


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("leaf", "access", "code"),
    [
        (0, READ, 0),
        (0, USER_WRITE, W | U),
        (P | U, WRITE, P | W),
        (P | U, USER_WRITE, P | W | U),
        (P | W, USER_READ, P | U),
        (P | W, USER_WRITE, P | W | U),
    ],
)
def test_a_page_fault_has_its_error_code_and_leaves_no_mark(memory, shape, leaf, access, code):
    sregs, linear, at = build(memory, shape, leaf=leaf)
    with pytest.raises(Fault) as caught:
        translate(memory, sregs, 0, linear, access)
    assert (caught.value.vector, caught.value.error_code, caught.value.cr2) == (14, code, linear)
    assert not memory.read_u32(at) & (A | D)


def test_the_tables_above_have_a_say(memory):
    sregs, linear, _ = build(memory, "4 levels", table_rights=P | W)
    with pytest.raises(Fault):
        translate(memory, sregs, 0, linear, USER_READ)
    assert translate(memory, sregs, 0, linear, WRITE)


def test_without_wp_ring_0_writes_where_it_may_only_read(memory):
    sregs, linear, _ = build(memory, "4 levels", leaf=P | U)
    sregs.cr0 = PG
    assert translate(memory, sregs, 0, linear, WRITE) == PAGE + linear % 4096


def test_smap_keeps_ring_0_from_user_pages_unless_ac_is_set(memory):
    sregs, linear, _ = build(memory, "4 levels")
    sregs.cr4 |= SMAP
    with pytest.raises(Fault):
        translate(memory, sregs, 0, linear, READ)
    assert translate(memory, sregs, AC, linear, READ)
    assert translate(memory, sregs, 0, linear, USER_READ)


@pytest.mark.parametrize("shape", ["4 levels", "5 levels"])
def test_an_address_that_is_not_canonical_is_a_general_protection_fault(memory, shape):
    sregs, _, _ = build(memory, shape)
    with pytest.raises(Fault) as caught:
        translate(memory, sregs, 0, 1 << 60, READ)
    assert (caught.value.vector, caught.value.error_code) == (13, 0)


def test_without_paging_an_address_is_its_own(memory):
    assert translate(memory, control(0, 0, cr0=1), 0, 0x1234, WRITE) == 0x1234


def test_tables_outside_ram_are_said_to_be(memory):
    sregs, linear, _ = build(memory, "4 levels")
    sregs.cr3 = 1 << 40
    with pytest.raises(GuestMemoryError):
        translate(memory, sregs, 0, linear, READ)


def test_linear_addresses_wrap_at_their_end(memory):
    assert pieces(2**64 - 4, 8) == [(2**64 - 4, 4), (0, 4)]
    assert pieces(2**64 + 4, 8) == [(4, 8)]
    assert translate(memory, control(0, 0, cr0=0), 0, 2**64 + 0x10, READ) == 0x10
