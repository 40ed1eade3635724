"""The card in Python works a turn at a time: what a guest asks for at once is bounded."""

import struct
import tracemalloc

import pytest

from pykvm.devices.e1000.reference import ReferenceEngine
from pykvm.devices.e1000.registers import Cause
from pykvm.devices.turns import SIZE, STEP
from pykvm.errors import DeviceError
from pykvm.memory import GuestMemory
from tests.unit.e1000.conftest import (
    DEXT,
    EOP,
    RS,
    TSE,
    TX_BUFFERS,
    TX_RING,
    Bench,
    Cable,
    frame,
)  # fmt: skip
from tests.unit.e1000.test_e1000_frames import tcp_frame

RING = 4096
BUFFERS = 0x100000  # behind rings of that size


class Sink(Cable):
    """Counts what comes, and keeps nothing."""

    def __init__(self):
        super().__init__()
        self.count = self.bytes = 0

    def send(self, frame, header=None):
        self.count += 1
        self.bytes += sum(map(len, frame))


def fill(bench, row, count=RING - 1, *, first=0):
    """The same descriptor ``count`` times; the tail is behind them."""
    bench.memory.write(TX_RING + 16 * first, row * count)
    bench.card.put("TDT", first + count)


def start(bench):
    bench.start(tx=RING)
    bench.write("RCTL", 0)
    assert bench.read("ICR") == Cause.TXQE  # of an empty ring


def data_row(size, command, popts=0, address=BUFFERS):
    word = size | 1 << 20 | (command | DEXT) << 24
    return struct.pack("<QIBBH", address, word, 0, popts, 0)


def request(bench, payload=2048, mss=1):
    """A segmentation request at the head of the ring, in two descriptors."""
    bench.memory.write(BUFFERS, tcp_frame(bytes(payload)))
    bench.context(command=0x3 | TSE, mss=mss)
    bench.put(data_row(54 + payload, EOP | RS | TSE, popts=0x3))


@pytest.fixture
def card():
    with GuestMemory(4 << 20) as memory:
        bench = Bench(memory, cable=Sink(), engine=ReferenceEngine, traced=False)
        start(bench)
        yield bench


def test_a_ring_of_the_largest_frames_takes_the_memory_of_a_few(card):
    fill(card, data_row(0x3FFFF, EOP | RS), 400)
    tracemalloc.start()
    try:
        assert card.kick() is None
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert card.cable.bytes == 400 * 0x3FFFF
    assert peak < 8 * 0x40000


@pytest.mark.parametrize("size", [0, 60, 1514, 0x3FFFF])
def test_a_turn_has_a_bound_in_descriptors_frames_and_bytes(card, size):
    fill(card, data_row(size, EOP | RS))
    card.ring()
    assert card.cable.count <= SIZE // STEP
    assert card.cable.bytes <= SIZE + size
    assert 0 < card.read("TDH") <= SIZE // STEP
    card.clock.advance(0)
    assert card.read("TDH") == card.read("TDT")
    assert card.cable.count == (RING - 1 if size else 0)


def test_descriptors_that_finish_no_frame_end_a_turn_too(card):
    fill(card, data_row(0, RS))
    card.ring()
    assert 0 < card.read("TDH") <= SIZE // STEP
    assert card.read("ICR") & (Cause.TXDW | Cause.TXQE) == Cause.TXDW
    card.clock.advance(0)
    assert card.read("ICR") & Cause.TXQE


def test_a_request_that_a_turn_cannot_cut_goes_on_in_the_next(card):
    request(card)
    card.ring()
    assert 0 < card.cable.count <= SIZE // STEP
    assert not card.read("ICR") & Cause.TXQE
    card.legacy(frame(60))
    card.ring()
    assert card.cable.count <= SIZE // STEP, "that turn is to come"
    card.clock.advance(0)
    assert card.cable.count == 2049
    assert card.cable.bytes == 2048 * 55 + 60
    assert card.read("ICR") & Cause.TXQE


def test_doorbells_while_a_turn_is_to_come_cost_nothing(card):
    fill(card, data_row(60, EOP | RS))
    card.ring()
    head = card.read("TDH")
    for _ in range(100):
        card.ring()
    assert card.read("TDH") == head
    assert len(card.clock.live()) == 1


@pytest.mark.parametrize("reset", ["software", "power"])
def test_a_reset_forgets_the_turn_and_what_was_about_to_leave(card, reset):
    request(card)
    card.ring()
    sent = card.cable.count
    card.write("CTRL", 1 << 26) if reset == "software" else card.card.reset()
    assert card.clock.live() == []
    card.clock.advance(0)
    assert card.cable.count == sent
    start(card)
    card.legacy(frame(60))
    card.kick()
    assert card.cable.count == sent + 1


def test_the_transmitter_off_stops_between_turns_and_goes_on_when_it_is_on(card):
    fill(card, data_row(60, EOP | RS))
    card.ring()
    card.write("TCTL", 0)
    sent = card.cable.count
    card.clock.advance(0)
    assert card.cable.count == sent
    card.write("TCTL", 2)
    card.clock.advance(0)
    assert card.cable.count == RING - 1


def test_what_a_later_turn_meets_is_reported(card):
    fill(card, data_row(60, EOP | RS), 1000)
    fill(card, data_row(60, EOP | RS, address=1 << 40), 1, first=1000)
    card.ring()
    assert card.reported == []
    card.clock.advance(0)
    assert ["not RAM" in str(error) for error in card.reported] == [True]


def test_a_later_turn_holds_the_registers_to_the_rules_anew(card):
    """bhyve r366771: base and length written after the ring was taken up."""
    fill(card, data_row(60, EOP | RS))
    card.ring()
    card.write("TDLEN", 128)
    card.clock.advance(0)
    assert ["outside" in str(error) for error in card.reported] == [True]
    assert card.clock.live() == []
    card.write("TDLEN", RING * 16)
    card.write("TDBAH", 0xFFFF_FFFF)
    with pytest.raises(DeviceError, match="not RAM"):
        card.ring()
    assert card.clock.live() == []


def test_a_state_between_turns_loses_nothing(card):
    """What has left the ring leaves the card; what is in the ring is sent where it is restored."""
    request(card)
    card.legacy(frame(60), address=TX_BUFFERS)
    card.ring()
    assert card.cable.count < 2048
    state = card.card.state()
    assert card.cable.count == 2048
    with GuestMemory(4 << 20) as memory:
        memory.write(0, card.memory.read(0, 4 << 20))
        other = Bench(memory, cable=Sink())
        other.card.restore(state)
        assert other.read("TDT") - other.read("TDH") == 1
        other.clock.advance(0)
        assert other.read("TDT") == other.read("TDH")
        assert other.cable.bytes == 60


def test_a_state_after_the_last_descriptor_has_its_cause(card):
    request(card)
    card.ring()
    with GuestMemory(4 << 20) as memory:
        other = Bench(memory, cable=Sink())
        other.card.restore(card.card.state())
        assert other.read("ICR") & Cause.TXQE
        assert other.clock.live() == []
