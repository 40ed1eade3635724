"""One suite over the rings: the Python references and C, split and packed.

The behaviour tests run over each implementation; the random ones drive the reference and C side by
side and compare what they pop, what they decide and every byte of guest memory.
"""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pykvm.devices.pci.config import ConfigSpace, Identity
from pykvm.devices.pci.dma import BusMaster
from pykvm.devices.virtio.features import Ring as Feature
from pykvm.devices.virtio.packed import PackedRing
from pykvm.devices.virtio.ring import Layout
from pykvm.devices.virtio.split import SplitRing
from pykvm.errors import DeviceError
from pykvm.memory import GuestMemory
from tests.support.native_ring import NativeRing
from tests.support.virtqueue import INDIRECT, NEXT, WRITE, PackedDriver, SplitDriver

MEMORY = 1 << 20
RING, TABLES, BUFFERS = 0x1000, 0x90000, 0xA0000
ALL = Feature.INDIRECT_DESC | Feature.EVENT_IDX
NOWHERE = 0xE000_0000


class Side:
    """One device-side ring, the driver that feeds it, and the memory between them."""

    def __init__(self, *, native, packed, size=8, features=ALL):
        self.memory = GuestMemory(MEMORY)
        words = range((MEMORY - BUFFERS) // 4)
        self.memory.write(BUFFERS, struct.pack(f"<{len(words)}I", *words))
        config = ConfigSpace(Identity(1, 2, 3))
        config.write(4, 2, 4)
        self.driver = (PackedDriver if packed else SplitDriver)(self.memory, RING, size)
        driver = self.driver
        self.layout = Layout(size, driver.descriptors, driver.driver, driver.device)
        self.features = features | (Feature.RING_PACKED if packed else 0)
        kind = NativeRing if native else PackedRing if packed else SplitRing
        self.ring = kind(BusMaster(config, self.memory), self.layout, self.features)
        self.popped = []

    def close(self):
        self.popped.clear()
        self.last = None
        del self.ring
        self.memory.close()

    def offer(self, *pieces, table=None):
        token = self.driver.add(pieces, table)
        self.driver.publish()
        return token

    def pop(self):
        chain = self.ring.pop()
        if chain is not None:
            self.popped.append(chain)
        return chain


@pytest.fixture(params=["split", "packed", "split in C", "packed in C"])
def side(request):
    made = []

    def make(**options):
        made.append(Side(native="C" in request.param, packed="packed" in request.param, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def out(address, length):
    return (address, length, False)


def into(address, length):
    return (address, length, True)


# -- behaviour ------------------------------------------------------------------------------------


def test_a_chain_has_what_is_to_be_read_and_then_what_is_to_be_written(side):
    one = side()
    token = one.offer(out(BUFFERS, 8), out(BUFFERS + 100, 4), into(BUFFERS + 200, 12))
    chain = one.pop()
    assert chain.id == token
    assert [bytes(piece) for piece in chain.readable] == [
        one.memory.read(BUFFERS, 8), one.memory.read(BUFFERS + 100, 4),
    ]  # fmt: skip
    chain.writable[0][:] = b"x" * 12
    assert one.memory.read(BUFFERS + 200, 12) == b"x" * 12
    assert one.pop() is None


def test_a_used_chain_is_seen_after_the_flush_with_its_length(side):
    one = side()
    token = one.offer(into(BUFFERS, 64))
    chain = one.pop()
    one.ring.push(chain, 5)
    assert one.driver.used() == []
    one.ring.flush()
    assert one.driver.used() == [(token, 5)]


def test_chains_may_come_back_in_any_order(side):
    one = side()
    tokens = [one.offer(into(BUFFERS + 64 * n, 64)) for n in range(3)]
    chains = [one.pop() for _ in range(3)]
    for n in (2, 0, 1):
        one.ring.push(chains[n], n)
        one.ring.flush()
    assert one.driver.used() == [(tokens[2], 2), (tokens[0], 0), (tokens[1], 1)]


def test_an_indirect_chain_takes_one_slot(side):
    one = side()
    pieces = [out(BUFFERS + 8 * n, 8) for n in range(20)] + [into(BUFFERS + 400, 3)]
    one.offer(*pieces, table=TABLES + 5)  # a table may lie anywhere
    chain = one.pop()
    assert (len(chain.readable), len(chain.writable), chain.slots) == (20, 1, 1)


def test_what_is_unpopped_comes_again(side):
    one = side(size=4)
    for _ in range(3):  # round the ring
        first, second = one.offer(out(BUFFERS, 1), out(BUFFERS, 2)), one.offer(out(BUFFERS, 3))
        assert one.pop().id == first
        again = one.pop()
        one.ring.unpop(again)
        assert one.pop().id == second
        for chain in one.popped[-3:-1]:
            one.ring.push(chain, 0)
        one.ring.flush()
        assert len(one.driver.used()) == 2


def test_empty_pieces_carry_nothing(side):
    one = side()
    one.offer(out(BUFFERS, 0), out(BUFFERS + 4, 4), into(BUFFERS + 8, 0))
    chain = one.pop()
    assert [len(piece) for piece in chain.readable] == [4]
    assert list(chain.writable) == []


@pytest.mark.parametrize("size", [1, 2, 8])
def test_indices_wrap(side, size):
    one = side(size=size)
    one.driver.want_interrupts(False)
    if isinstance(one.driver, SplitDriver):  # a packed ring's wrap at its size
        start_at(one, 65_500)
    for n in range(100):
        tokens = [one.offer(into(BUFFERS, 4)) for _ in range(size)]
        for _ in tokens:
            one.ring.push(one.ring.pop(), n)
        one.ring.flush()
        assert one.driver.used() == [(token, n) for token in tokens]


def start_at(one, index):
    """As if ``index`` chains had come and gone."""
    one.driver.idx = one.driver.seen = index
    one.memory.write_u16(one.driver.driver + 2, index)
    one.memory.write_u16(one.driver.device + 2, index)
    if isinstance(one.ring, NativeRing):
        vq = one.ring.vq
        vq.next = vq.seen = vq.used = vq.signalled = index
    else:
        one.ring.restore({"next": index, "used": index, "signalled": index})


def test_the_largest_ring_is_worked_whole(side):
    one = side(size=32768)
    for n in range(32768):
        assert one.driver.add([out(BUFFERS + n % 1000, 1)]) is not None
    one.driver.publish()
    for _ in range(32768):
        one.ring.push(one.ring.pop(), 0)
    assert one.pop() is None
    one.ring.flush()
    assert len(one.driver.used()) == 32768


# -- suppression ----------------------------------------------------------------------------------


def use(one, count=1):
    """Have ``count`` chains used; whether the driver is to be interrupted."""
    for _ in range(count):
        assert one.offer(into(BUFFERS, 4)) is not None
        one.ring.push(one.ring.pop(), 1)
    wanted = one.ring.flush()
    one.driver.used()
    return wanted


def test_a_driver_without_event_idx_turns_interrupts_off_and_on(side):
    one = side(features=Feature(0))
    one.driver.want_interrupts(True)
    assert use(one)
    one.driver.want_interrupts(False)
    assert not use(one)
    assert not one.ring.flush(), "nothing was pushed"


def test_with_event_idx_the_interrupt_comes_when_the_event_is_passed(side):
    one = side(size=16)
    one.driver.want_interrupt_at(2)
    assert [use(one) for _ in range(5)] == [False, False, True, False, False]
    one.driver.want_interrupt_at(0)
    assert use(one, 3)


def test_kicks_are_wanted_until_they_are_disabled_and_again_afterwards(side):
    for features in (Feature(0), ALL):
        one = side(features=features)
        assert not one.ring.enable_kicks()
        one.offer(out(BUFFERS, 1))
        assert kick_wanted(one, 1)
        one.pop()
        one.ring.disable_kicks()
        one.offer(out(BUFFERS, 1))
        assert not kick_wanted(one, 1)
        assert one.ring.enable_kicks(), "the chain that came meanwhile is noticed"
        one.pop()
        assert not one.ring.enable_kicks()
        one.offer(out(BUFFERS, 1))
        assert kick_wanted(one, 1)


def kick_wanted(one, offered):
    """Whether the driver has to kick for the last ``offered`` single-slot chains."""
    driver, event_idx = one.driver, one.features & Feature.EVENT_IDX
    if isinstance(driver, SplitDriver):
        return driver.kick_wanted(driver.idx - offered & 0xFFFF, event_idx)
    where, mode = struct.unpack("<HH", driver.memory.read(driver.device, 4))
    if mode != 2:
        return mode == 0
    at = (where & 0x7FFF) - (0 if bool(where >> 15) == driver.wrap else driver.size)
    return (driver.at - at - 1) & 0xFFFF < offered


# -- hostile rings --------------------------------------------------------------------------------


def broken(one):
    """The next pop fails, and so does every one after it."""
    for _ in range(2):
        with pytest.raises(DeviceError):
            one.ring.pop()
    return True


@pytest.mark.parametrize("pieces", [[out(NOWHERE, 4)], [into(MEMORY - 2, 4)], [out(2**64 - 4, 8)]])
def test_a_buffer_outside_of_ram_breaks_the_ring(side, pieces):
    one = side()
    one.offer(*pieces)
    assert broken(one)


def test_cve_2016_6490_and_cve_2016_7422_huge_and_empty_descriptors(side):
    one = side()
    one.offer(out(BUFFERS, 0xFFFF_FFFF))
    assert broken(one)
    one = side()
    one.offer(*[out(BUFFERS, 0)] * 8)
    assert list(one.pop().readable) == []


def test_a_readable_piece_after_a_writable_one_breaks_the_ring(side):
    one = side()
    one.offer(into(BUFFERS, 4), out(BUFFERS, 4))
    assert broken(one)


@pytest.mark.parametrize("length", [0, 8, 24, 16 * 1025])
def test_cve_2011_2212_an_indirect_table_of_an_odd_length_breaks_the_ring(side, length):
    one = side()
    one.offer(out(BUFFERS, 4), table=TABLES)
    where = one.driver.descriptors + 8
    one.memory.write_u32(where, length)
    assert broken(one)


def test_cve_2011_2212_an_indirect_table_that_leaves_ram_breaks_the_ring(side):
    one = side()
    one.offer(out(BUFFERS, 4), table=MEMORY - 16)
    one.memory.write_u32(one.driver.descriptors + 8, 32)
    assert broken(one)


def test_a_table_inside_a_table_breaks_the_ring(side):
    one = side()
    one.offer(out(BUFFERS, 4), table=TABLES)
    flags_at = 14 if isinstance(one.driver, PackedDriver) else 12
    one.memory.write_u16(TABLES + flags_at, INDIRECT)
    assert broken(one)


def test_an_indirect_table_that_was_not_negotiated_breaks_the_ring(side):
    one = side(features=Feature.EVENT_IDX)
    one.offer(out(BUFFERS, 4), table=TABLES)
    assert broken(one)


def test_more_pieces_than_one_call_takes_break_the_ring(side):
    one = side(size=2048)
    one.offer(*[out(BUFFERS, 1)] * 1024)
    assert len(one.pop().readable) == 1024
    one = side(size=2048)
    one.offer(*[out(BUFFERS, 1)] * 1025)
    assert broken(one)


@pytest.mark.parametrize("native", [False, True])
def test_a_split_chain_that_loops_breaks_the_ring(native):
    one = Side(native=native, packed=False)
    for n in range(8):
        one.driver.row(n, BUFFERS, 4, NEXT, (n + 1) % 8)
    one.driver.offer(0)
    one.driver.publish()
    assert broken(one)
    one.close()


@pytest.mark.parametrize("native", [False, True])
def test_a_split_table_that_loops_or_leaves_itself_breaks_the_ring(native):
    for following in (0, 2, 0xFFFF):
        one = Side(native=native, packed=False)
        one.offer(out(BUFFERS, 4), out(BUFFERS, 4), table=TABLES)
        one.driver.row(1, BUFFERS, 4, NEXT, following, TABLES)
        assert broken(one)
        one.close()


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize(("head", "ahead"), [(8, 1), (0xFFFF, 1), (0, 9), (0, 0x8000)])
def test_a_split_head_or_index_past_the_ring_breaks_it(native, head, ahead):
    one = Side(native=native, packed=False)
    one.driver.offer(head)
    one.memory.write_u16(one.driver.driver + 2, ahead)
    assert broken(one)
    one.close()


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("start", [0, 5, 65_530])
@pytest.mark.parametrize("jump", [9, 0x7FFF, 0x8000, 0xFFFF])
def test_vm_virtio_196_an_avail_index_that_jumps_breaks_the_ring(native, start, jump):
    """By more than there are entries, or back, when chains have come and gone already."""
    one = Side(native=native, packed=False)
    start_at(one, start)
    for n in range(3):
        one.offer(into(BUFFERS, 4))
        one.ring.push(one.pop(), n)
        one.ring.flush()
    before = one.memory.read(0, MEMORY)
    one.memory.write_u16(one.driver.driver + 2, one.driver.idx + jump & 0xFFFF)
    assert broken(one)
    one.memory.write_u16(one.driver.driver + 2, one.driver.idx)
    assert one.memory.read(0, MEMORY) == before, "nothing was used"
    assert broken(one), "it stays so"
    one.close()


@pytest.mark.parametrize("native", [False, True])
def test_vm_virtio_196_an_avail_index_that_jumps_by_the_ring_offers_each_entry_once(native):
    one = Side(native=native, packed=False)
    for _ in range(8):
        one.offer(into(BUFFERS, 4))
        one.ring.push(one.ring.pop(), 0)
    one.memory.write_u16(one.driver.driver + 2, one.driver.idx + 8)
    assert [one.pop() is not None for _ in range(9)] == [True] * 8 + [False]
    one.close()


@pytest.mark.parametrize("native", [False, True])
def test_a_packed_chain_without_end_breaks_the_ring(native):
    one = Side(native=native, packed=True)
    for n in range(8):
        one.memory.write(RING + 16 * n, struct.pack("<QIHH", BUFFERS, 4, 0, 1 << 7 | NEXT))
    assert broken(one)
    one.close()


LAYOUTS = [
    (0, 0, 0, 0), (3, 0, 0, 0), (65536, 0, 0, 0),  # sizes
    (8, 8, 0, 0), (8, 0, 1, 0), (8, 0, 0, 2),  # alignment
    (8, MEMORY - 64, 0, 0), (8, 0, MEMORY - 4, 0), (8, 0, 0, MEMORY - 16),  # the end of RAM
    (8, NOWHERE, 0, 0), (8, 0, NOWHERE, 0), (8, 0, 0, 2**64 - 16),
]  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", [SplitRing, NativeRing])
def test_cve_2017_17381_a_ring_that_cannot_be_is_refused(kind, layout):
    config = ConfigSpace(Identity(1, 2, 3))
    config.write(4, 2, 4)
    with GuestMemory(MEMORY) as memory, pytest.raises(DeviceError):
        kind(BusMaster(config, memory), Layout(*layout), ALL)


# -- C against the reference ----------------------------------------------------------------------

PIECES = st.lists(
    st.tuples(
        st.one_of(st.integers(BUFFERS, BUFFERS + 4000), st.sampled_from([MEMORY - 2, NOWHERE, 0])),
        st.sampled_from([0, 1, 4, 60, 1514]),
        st.booleans(),
    ),
    min_size=1, max_size=6,
)  # fmt: skip
SANE = st.lists(
    st.tuples(st.integers(BUFFERS, BUFFERS + 4000), st.sampled_from([1, 4, 60]), st.booleans()),
    min_size=1, max_size=4,
).map(lambda pieces: sorted(pieces, key=lambda piece: piece[2]))  # fmt: skip
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.one_of(SANE, SANE, SANE, PIECES), st.booleans()),
        st.tuples(st.sampled_from(["publish", "pop", "pop", "flush", "enable", "disable", "used"])),
        st.tuples(st.just("unpop")),
        st.tuples(st.just("push"), st.integers(0, 5), st.integers(0, 2000)),
        st.tuples(st.just("event"), st.integers(0, 5)),
        st.tuples(st.just("interrupts"), st.booleans()),
    ),
    max_size=60,
)
SCRIBBLE = st.tuples(
    st.just("scribble"), st.integers(0, 400), st.integers(0, 0xFFFF)
)  # two bytes anywhere in the ring


def step(one, what, *arguments):
    """Do one step; what it told."""
    driver, ring = one.driver, one.ring
    if what == "add":
        pieces, indirect = arguments
        return driver.add(pieces, TABLES + 128 * (len(driver.chains) % 64) if indirect else None)
    if what == "push":
        which, written = arguments
        if not one.popped:
            return None
        return ring.push(one.popped.pop(which % len(one.popped)), written)
    if what == "unpop":
        if not one.popped or one.last is not one.popped[-1]:
            return None
        one.last = None
        return ring.unpop(one.popped.pop())
    if what == "pop":
        chain = one.last = one.pop()
        if chain is None:
            return None
        seen = [[bytes(piece) for piece in side] for side in (chain.readable, chain.writable)]
        return chain.id, chain.slots, seen
    if what == "scribble":
        return one.memory.write_u16(RING + 2 * arguments[0], arguments[1])
    if what == "used":
        return None if one.scribbled else driver.used()
    if what == "event":
        return driver.want_interrupt_at(*arguments)
    if what == "interrupts":
        return driver.want_interrupts(*arguments)
    if what == "publish":
        return driver.publish()
    return {"flush": ring.flush, "enable": ring.enable_kicks, "disable": ring.disable_kicks}[what]()


def agree(packed, size, features, steps):
    sides = [Side(native=n, packed=packed, size=size, features=features) for n in (False, True)]
    for one in sides:
        one.last, one.scribbled = None, any(s[0] == "scribble" for s in steps)
    try:
        for what, *arguments in steps:
            told = []
            for one in sides:
                try:
                    told.append(step(one, what, *arguments))
                except DeviceError:
                    told.append("broken")
            if told[0] == "broken" or told[1] == "broken":
                # C's enable_kicks() sees no more work in a broken ring; Python's says why.
                assert told[0] == told[1] or what == "enable"
                break
            assert told[0] == told[1], what
        ends = [one.memory.read(0, MEMORY) for one in sides]
        assert ends[0] == ends[1]
    finally:
        for one in sides:
            one.close()


FEATURES = st.sampled_from([Feature(0), Feature.EVENT_IDX, Feature.INDIRECT_DESC, ALL])


@settings(deadline=None, max_examples=150)
@given(st.booleans(), st.sampled_from([1, 2, 4, 8]), FEATURES, STEPS)
def test_c_does_what_the_reference_does(packed, size, features, steps):
    agree(packed, size, features, steps)


@settings(deadline=None, max_examples=150)
@given(st.booleans(), FEATURES, st.lists(st.one_of(SCRIBBLE, STEPS.map(tuple)), max_size=20))
def test_c_does_what_the_reference_does_when_the_driver_scribbles(packed, features, mixed):
    steps = []
    for part in mixed:
        steps += [part] if part and part[0] == "scribble" else list(part)
    agree(packed, 8, features, steps)


def test_the_flags_are_those_of_the_specification():
    assert (NEXT, WRITE, INDIRECT) == (1, 2, 4)
