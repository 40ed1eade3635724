"""One suite over both engines of virtio-net: C must do what the Python reference does.

The same random chains, headers, frames, filters and suppression go through a card with either
engine, by its registers and rings; frames sent, used chains, interrupts and guest memory must come
out the same. What a header asks for is done on both sides before frames are compared: the kernel
would do it for C.
"""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pykvm.devices.virtio.net.engine import LARGEST, MOST_CHAINS
from pykvm.devices.virtio.net.features import Feature
from pykvm.devices.virtio.net.filters import TABLE
from pykvm.net.checksum import ones_sum
from pykvm.net.vnet import GSO_TCPV4, NEEDS_CSUM, Offload, VnetHeader
from tests.support.virtio_driver import EVENT_IDX, INDIRECT, PACKED, VERSION_1, Legacy
from tests.support.virtio_net import CONTROL, CONTROLS, MAC, RX, TX, Bench
from tests.unit.e1000.test_e1000_frames import check_tcp, tcp_frame

MULTICAST = b"\x01\x00\x5e\x00\x00\x01"
OTHER = b"\x02\0\0\0\0\x77"
MRG = Feature.MRG_RXBUF


def frame(size, to=MAC, fill=0):
    return to + OTHER + b"\x88\xb5" + bytes(n + fill & 0xFF for n in range(size - 14))


@pytest.fixture(params=["reference", "C"])
def bench(request):
    made = []

    def make(**options):
        made.append(Bench(native=request.param == "C", **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


# -- behaviour ------------------------------------------------------------------------------------


@pytest.mark.parametrize("features", [VERSION_1, VERSION_1 | MRG, VERSION_1 | PACKED | MRG])
def test_frames_go_both_ways(bench, features):
    card = bench().start(features)
    for n in range(200):
        token = card.send(frame(60 + n, fill=n), cuts=(5, 12, 40))
        assert card.used(TX) == [(token, 0, b"")]
        card.offer(1600)
        card.arrive(frame(70 + n, fill=n))
        header = bytes(10) + b"\x01\x00"
        assert card.frames() == [(header, frame(70 + n, fill=n))]
        card.next_buffer = 0x80000
    assert card.cable.sent == [frame(60 + n, fill=n) for n in range(200)]


@pytest.mark.parametrize("packed", [0, PACKED])
@pytest.mark.parametrize("entries", [64, 4096, 32768])
def test_a_ring_of_any_size_is_used_to_its_last_entry_and_around(bench, entries, packed):
    card = bench(entries=entries, memory=4 << 20)
    card.next_buffer = 3 << 20
    card.start(VERSION_1 | packed, queues=[TX], size=entries)
    pieces = card.place(bytes(card.header) + frame(60))
    ring = card.driver.rings[TX]
    for count in (entries, 32):
        tokens = []
        for n in range(1, count + 1):
            tokens.append(ring.add(pieces))
            if n % 32 == 0:  # no more than the cable holds
                ring.publish()
                card.driver.kick(TX)
                card.cable.collect()
        assert (ring.room() == 0) == (count == entries)
        assert card.driver.used(TX) == [(token, 0) for token in tokens]
    assert card.cable.sent == [frame(60)] * (entries + 32)


def test_a_legacy_header_has_ten_bytes(bench):
    card = bench(transport="legacy").start(0, queues=(0, 1))
    card.offer(1600)
    card.send(frame(60))
    card.arrive(frame(60))
    assert card.cable.sent == [frame(60)]
    assert card.used(RX)[0][1:] == (70, bytes(10) + frame(60))


def test_mergeable_buffers_take_a_frame_in_parts_and_say_how_many(bench):
    card = bench().start(VERSION_1 | MRG)
    for size in (500, 500, 2000, 100):
        card.offer(size)
    card.arrive(frame(1400))
    card.arrive(frame(60))
    assert card.frames() == [
        (bytes(10) + b"\x03\x00", frame(1400)), (bytes(10) + b"\x01\x00", frame(60)),
    ]  # fmt: skip


def test_a_frame_that_does_not_fit_is_lost_and_its_chain_is_not(bench):
    card = bench().start(VERSION_1)
    token = card.offer(100)
    card.arrive(frame(89))
    assert card.used(RX) == []
    card.arrive(frame(88))
    assert card.used(RX)[0][:2] == (token, 100)
    assert not card.broken


def test_a_frame_waits_while_too_few_mergeable_buffers_are_offered(bench):
    """As it would for the first: a burst of large segments must not be lost."""
    card = bench().start(VERSION_1 | MRG | EVENT_IDX)
    for size in (30, 50, 70):
        card.offer(size)
    card.arrive(frame(300))
    card.arrive(frame(60, fill=9))
    card.offer(40)
    card.rig.device.rewired()
    assert card.used(RX) == []
    for size in (122, 72):
        card.offer(size)
    assert card.frames() == [
        (bytes(10) + b"\x05\x00", frame(300)), (bytes(10) + b"\x01\x00", frame(60, fill=9)),
    ]  # fmt: skip


def test_a_frame_for_which_no_number_of_buffers_will_do_is_lost(bench):
    card = bench().start(VERSION_1 | MRG)
    tokens = [card.offer(2) for _ in range(64)]
    card.arrive(frame(117))
    assert card.used(RX) == []
    card.arrive(frame(116))
    assert [row[0] for row in card.used(RX)] == tokens


def test_a_frame_that_waits_is_not_the_next_driver_s_with_another_header(bench):
    card = bench(transport="transitional").start(VERSION_1 | MRG)
    card.offer(30)
    card.arrive(frame(300))
    legacy = Legacy(card.rig).start(0, queues=(RX, TX))
    card.driver, card.chains = legacy, {}
    card.offer(2000)
    card.arrive(frame(61))
    assert card.used(RX)[0][2] == bytes(10) + frame(61)


def test_receive_chains_with_no_room_keep_their_place(bench):
    """Among good ones, and over a pause: none is used twice, none is lost."""
    card = bench().start(VERSION_1 | MRG)
    tokens = [card.offer(70), card.give(RX, card.place(b"x" * 8)), card.offer(1600)]
    card.rig.device.rewired()
    card.arrive(frame(200))
    assert [row[:2] for row in card.used(RX)] == [(tokens[0], 70), (tokens[1], 0), (tokens[2], 142)]


def test_cve_2015_7295_a_jumbo_frame_without_buffers_for_it_is_lost(bench):
    card = bench().start(VERSION_1)
    card.offer(1526)
    card.arrive(frame(9000))
    assert card.used(RX) == []
    card.arrive(frame(60))
    assert card.frames() == [(bytes(10) + b"\x01\x00", frame(60))]


def test_no_frame_longer_than_the_mtu_comes_whatever_its_buffers_hold(bench):
    card = bench(mtu=4000).start(VERSION_1 | MRG | Feature.MTU)
    for _ in range(8):
        card.offer(4096)
    for size in (4000 + 18, 4000 + 19, 60):
        card.arrive(frame(size))
    assert [len(data) for _, data in card.frames()] == [4018, 60]


@pytest.mark.parametrize("pieces", [1022, 1023, 1024])
def test_a_frame_goes_into_as_many_pieces_as_a_chain_may_have(bench, pieces):
    card = bench().start(VERSION_1 | INDIRECT)
    card.offer(*[1] * pieces, indirect=True)
    card.arrive(frame(pieces - 12 + 1))
    assert card.used(RX) == [], "one byte too long"
    card.arrive(frame(pieces - 12, fill=7))
    assert card.frames() == [(bytes(10) + b"\x01\x00", frame(pieces - 12, fill=7))]


def test_a_frame_over_several_chains_of_many_pieces_is_whole(bench):
    card = bench().start(VERSION_1 | INDIRECT | MRG)
    for _ in range(2):
        card.offer(*[1] * 1000, indirect=True)
    card.arrive(frame(1500))
    assert card.frames() == [(bytes(10) + b"\x02\x00", frame(1500))]


@pytest.mark.parametrize("size", [0, 1, 13])
def test_what_is_shorter_than_an_ethernet_header_is_not_sent(bench, size):
    card = bench().start(VERSION_1)
    token = card.send(bytes(size))
    assert card.used(TX) == [(token, 0, b"")]
    assert card.cable.sent == []


def test_a_chain_shorter_than_its_header_is_used_and_nothing_more(bench):
    card = bench().start(VERSION_1)
    for length in (1, 9, 10, 11, 12):
        token = card.give(TX, card.place(bytes(length)))
        assert card.used(TX) == [(token, 0, b"")]
    assert card.cable.sent == []
    assert not card.broken


def test_the_largest_frame_is_sent_and_a_byte_more_is_not(bench):
    card = bench().start(VERSION_1)
    card.send(frame(LARGEST), cuts=range(4096, LARGEST, 4096))
    card.send(frame(LARGEST + 1))
    assert [len(sent) for sent in card.cable.sent] == [LARGEST]


def test_gigabytes_in_one_chain_cost_nothing(bench):
    card = bench().start(VERSION_1 | INDIRECT)
    piece = (0x10000, 1 << 20, False)
    token = card.give(TX, [piece] * 1000, indirect=True)
    assert card.used(TX) == [(token, 0, b"")]
    assert card.cable.sent == []


def test_a_segment_is_cut_for_whoever_does_not_cut_it(bench):
    for offloads in (Offload.NONE, Offload.CSUM | Offload.TSO4 | Offload.TSO6):
        card = bench(offloads=offloads).start(VERSION_1 | Feature.CSUM | Feature.HOST_TSO4)
        whole = bytearray(tcp_frame(bytes(n & 0xFF for n in range(3500))))
        whole[50:52] = ones_sum(bytes(whole[50:52]), len(whole) - 34).to_bytes(2, "big")
        asked = VnetHeader(NEEDS_CSUM, GSO_TCPV4, 54, 1000, 34, 16)
        card.send(bytes(whole), asked.pack())
        sent = [check_tcp(packet) for packet in card.cable.sent]
        assert [len(payload) for *_, payload in sent] == [1000, 1000, 1000, 500]
        assert b"".join(payload for *_, payload in sent) == whole[54:]
        assert card.cable.requests == ([asked] if offloads or card.native else [])


def test_without_a_link_nothing_goes_either_way(bench):
    card = bench().start(VERSION_1 | Feature.STATUS)
    card.offer(1600)
    card.card.set_link(False)
    card.send(frame(60))
    card.arrive(frame(60))
    assert card.cable.sent == card.used(RX) == []
    card.card.set_link(True)
    card.send(frame(61))
    card.arrive(frame(62))
    assert card.cable.sent == [frame(61)]
    assert [data for _, data in card.frames()] == [frame(62)]


def test_frames_wait_while_there_is_no_buffer(bench):
    card = bench().start(VERSION_1)
    for n in range(3):
        card.arrive(frame(60 + n))
    for _ in range(3):
        card.offer(1600)
    assert [len(data) for _, data in card.frames()] == [60, 61, 62]


def test_what_is_offered_while_the_card_may_not_master_the_bus_is_sent_when_it_may(bench):
    card = bench().start(VERSION_1)
    card.rig.master(False)
    card.send(frame(60))
    assert card.cable.sent == []
    card.rig.master(True)
    card.work()
    assert card.cable.sent == [frame(60)]


def test_a_queue_that_is_reset_starts_anew_and_the_other_goes_on(bench):
    card = bench().start(VERSION_1 | 1 << 40)
    card.offer(1600)
    card.driver.put("QUEUE_SELECT", RX)
    card.driver.put("QUEUE_RESET", 1)
    card.send(frame(60))
    assert card.cable.sent == [frame(60)]
    card.driver.set_up(RX)
    token = card.offer(1600)
    card.arrive(frame(64))
    assert [row[0] for row in card.used(RX)] == [token]


def test_a_state_moves_from_either_engine_to_the_other_in_the_middle_of_traffic(bench):
    features = VERSION_1 | MRG | CONTROLS
    for target_native in (False, True):
        card = bench().start(features)
        tokens = [card.offer(100) for _ in range(6)]
        card.send(frame(60))
        card.arrive(frame(150))
        assert card.command(1, 1, b"\x02\x11\x22\x33\x44\x55") == 0
        other = Bench(native=target_native)
        try:
            other.memory.write(0, card.memory.read(0, 2 << 20))
            other.rig.function.restore(card.rig.function.state())
            other.driver.rings, other.chains = card.driver.rings, card.chains
            for ring in other.driver.rings.values():
                ring.memory = other.memory
            other.next_buffer = card.next_buffer
            other.send(frame(61))
            other.arrive(frame(200))
            assert other.cable.sent == [frame(61)]
            used = [row[:2] for row in other.used(RX)]
            assert used == [(tokens[0], 100), (tokens[1], 62),
                            *((token, 100) for token in tokens[2:4]), (tokens[4], 12)]  # fmt: skip
            assert other.driver.config(0, 4) == 0x33221102
            for ring in other.driver.rings.values():
                ring.memory = card.memory
        finally:
            other.close()


def test_c_has_the_limits_of_the_reference():
    header = (Path(__file__).parents[2] / "native" / "virtio_net.h").read_text()
    limits = dict(re.findall(r"#define PK_VNET_(\w+) (\d+)", header))
    assert limits == {"FRAME": str(LARGEST), "AHEAD": str(MOST_CHAINS), "TABLE": str(TABLE)}


# -- C against the reference ----------------------------------------------------------------------

BITS = st.booleans()
ADDRESSES = st.sampled_from([MAC, b"\xff" * 6, MULTICAST, OTHER, b"\x52\x54\0\0\0\x02"])
SIZES = st.one_of(
    st.integers(0, 1600), st.sampled_from([13, 14, 60, 1514, 1518, 1519, 4096, 9000, 20000])
)


@st.composite
def frames(draw):
    """Tagged or not, of all sizes."""
    size, to = draw(SIZES), draw(ADDRESSES)
    made = frame(max(size, 14), to, draw(st.integers(0, 255)))
    if draw(BITS):
        made = made[:12] + b"\x81\x00\x00" + bytes((draw(st.integers(0, 4)),)) + made[12:]
    return made[: max(size, 1)]


@st.composite
def requests(draw):
    """A header, good or garbage, and its frame."""
    if draw(BITS):
        header = VnetHeader(
            draw(st.sampled_from([0, 0, NEEDS_CSUM, 2, 0xFF])),
            draw(st.sampled_from([0, 0, 1, 4, 5, 0x81, 7])), draw(st.integers(0, 200)),
            draw(st.sampled_from([0, 1, 100, 1448, 9000])), draw(st.integers(0, 100)),
            draw(st.sampled_from([0, 6, 16, 0xFFFF])),
        )  # fmt: skip
        return header.pack(), tcp_frame(bytes(draw(st.integers(0, 3000))))
    return b"", draw(frames())


PIECES = st.lists(
    st.one_of(st.integers(1, 80), st.sampled_from([1, 10, 12, 13, 200, 1526, 1530, 4096])),
    min_size=1, max_size=5,
)  # fmt: skip
MANY = st.sampled_from([[1] * 700, [1] * 1024, [2] * 1023, [3] * 40])
COMMANDS = st.one_of(
    st.tuples(st.just(0), st.integers(0, 6), st.sampled_from([b"", b"\0", b"\1"])),
    st.tuples(st.just(1), st.just(1), st.sampled_from([MAC, OTHER, b"short"])),
    st.tuples(
        st.just(1), st.just(0),
        st.sampled_from([
            bytes(8), b"\1\0\0\0" + OTHER + bytes(4), bytes(4) + b"\1\0\0\0" + MULTICAST,
            bytes(4) + b"\x41\0\0\0" + bytes(65 * 6), b"\xff\xff\xff\xff" * 2, b"\2\0\0\0" + OTHER,
        ]),
    ),
    st.tuples(st.just(2), st.integers(0, 2), st.integers(0, 4).map(lambda n: bytes((n, 0)))),
    st.tuples(st.integers(0, 255), st.integers(0, 255), st.binary(max_size=10)),
)  # fmt: skip
STEP = st.one_of(
    st.tuples(st.just("send"), requests(), st.lists(st.integers(1, 200), max_size=5), BITS),
    st.tuples(st.just("send"), requests(), st.lists(st.integers(1, 200), max_size=5), BITS),
    st.tuples(st.just("stub"), st.integers(1, 30)),
    st.tuples(st.just("offer"), PIECES, st.integers(0, 2), BITS),
    st.tuples(st.just("offer"), PIECES, st.integers(0, 2), BITS),
    st.tuples(st.just("many"), MANY),
    st.tuples(st.just("arrive"), frames()),
    st.tuples(st.just("arrive"), frames()),
    st.tuples(st.just("command"), COMMANDS),
    st.tuples(st.just("event"), st.sampled_from([RX, TX]), st.integers(0, 5)),
    st.tuples(st.just("interrupts"), st.sampled_from([RX, TX]), BITS),
    st.tuples(st.just("link"), BITS),
    st.tuples(st.just("pause")),
    st.tuples(st.just("outside"), st.sampled_from([RX, TX])),
)  # fmt: skip


def step(card, what, *arguments):
    """Do one step; what the driver sees of it."""
    told = None
    if what == "send":
        (header, data), cuts, indirect = arguments
        told = card.send(data, header, cuts, indirect=indirect and card.indirect)
    elif what == "stub":
        told = card.give(TX, card.place(bytes(arguments[0])))
    elif what == "offer":
        sizes, out, indirect = arguments
        pieces = card.place(bytes(8 * out), (8,)) if out else []
        pieces += [(card.room(size), size, True) for size in sizes]
        told = card.give(RX, pieces, indirect=indirect and card.indirect)
    elif what == "many":
        told = card.offer(*arguments[0], indirect=True) if card.indirect else None
    elif what == "arrive":
        card.arrive(*arguments)
    elif what == "command":
        told = card.command(*arguments[0]) if CONTROL in card.driver.rings else None
    elif what == "event":
        if card.event_idx:
            card.driver.rings[arguments[0]].want_interrupt_at(arguments[1])
    elif what == "interrupts":
        card.driver.rings[arguments[0]].want_interrupts(arguments[1])
    elif what == "link":
        card.card.set_link(*arguments)
    elif what == "pause":
        card.rig.device.rewired()
    elif what == "outside":
        told = card.give(arguments[0], [(1 << 40, 60, arguments[0] == RX)])
    card.work()
    return told, card.broken, card.interrupted()


def seen_memory(card):
    """Guest memory but for what is nobody's business: the rest of receive buffers, and where the
    device said when it wants to be kicked."""
    memory = bytearray(card.memory.read(0, 2 << 20))
    for (queue, _), pieces in card.chains.items():
        if queue == RX:
            for at, size, write in pieces:
                if write:
                    memory[at : at + size] = bytes(size)
    for at, size in card.unwritten:
        memory[at : at + size] = bytes(size)
    for ring in card.driver.rings.values():
        packed = not hasattr(ring, "idx")
        memory[ring.device : ring.device + (4 if packed else 2)] = bytes(4 if packed else 2)
        if not packed:
            event = ring.device + 4 + 8 * ring.size
            memory[event : event + 2] = bytes(2)
    return bytes(memory)


def drain(card):
    """Used receive and transmit chains; what they leave unwritten is noted."""
    got = []
    for queue in (RX, TX):
        before = dict(card.chains)
        rows = card.used(queue)
        got.append(rows)
        for token, written, _ in rows:
            offset = 0
            for at, size, write in before[queue, token]:
                if write:
                    kept = min(max(written - offset, 0), size)
                    card.unwritten.append((at + kept, size - kept))
                    offset += size
    return got


@settings(max_examples=400, deadline=None)
@given(packed=BITS, event_idx=BITS, indirect=BITS, mergeable=BITS, controls=BITS, legacy=BITS,
       offloads=BITS, steps=st.lists(STEP, max_size=40))  # fmt: skip
def test_they_do_the_same(
    packed, event_idx, indirect, mergeable, controls, legacy, offloads, steps
):  # fmt: skip
    features = (EVENT_IDX if event_idx else 0) | (INDIRECT if indirect else 0)
    features |= (MRG if mergeable else 0) | (CONTROLS if controls else 0) | Feature.CSUM
    if not legacy:
        features |= VERSION_1 | (PACKED if packed else 0)
    queues = (RX, TX, CONTROL) if controls else (RX, TX)
    cards = []
    try:
        for native in (False, True):
            offers = Offload.CSUM | Offload.TSO4 if offloads else Offload.NONE
            card = Bench(native=native, transport="legacy" if legacy else "modern", offloads=offers)
            cards.append(card.start(features, queues=queues))
            card.unwritten, card.indirect, card.event_idx = [], indirect, event_idx
        reference, ours = cards
        strayed = False
        for what, *arguments in steps:
            told = [step(card, what, *arguments) for card in cards]
            strayed |= (what, *arguments) == ("outside", RX)
            if strayed and reference.broken != ours.broken:
                return  # C looks at receive chains when they are offered, not when a frame comes
            assert told[0] == told[1], what
            if not reference.broken:
                assert drain(reference) == drain(ours), what
        assert reference.cable.sent == ours.cable.sent
        if reference.broken:
            return  # what was under way is not the driver's any more
        reference.card.pause()
        ours.card.pause()
        drain(reference), drain(ours)
        assert seen_memory(reference) == seen_memory(ours)
        positions = [[queue.state() for queue in c.rig.device.queues[:2]] for c in cards]
        assert positions[0] == positions[1]
    finally:
        for card in cards:
            card.close()
