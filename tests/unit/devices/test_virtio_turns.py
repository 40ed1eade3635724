"""A virtio card in Python works a turn at a time: what its driver asks for at once is bounded."""

import struct

import pytest

from pykvm.devices.turns import SIZE, STEP
from pykvm.devices.virtio.net.features import Feature
from pykvm.net.vnet import GSO_TCPV4, NEEDS_CSUM, Offload, VnetHeader
from tests.support.virtio_driver import PACKED, VERSION_1
from tests.support.virtio_net import MAC, TX, Bench
from tests.unit.e1000.test_e1000_frames import tcp_frame

MODES = [VERSION_1, VERSION_1 | PACKED]
FEATURES = Feature.CSUM | Feature.HOST_TSO4
MOST = SIZE // STEP


@pytest.fixture(params=MODES)
def card(request):
    bench = Bench(native=False, offloads=Offload.NONE, memory=4 << 20)
    bench.start(request.param | FEATURES, queues=(0, TX))
    yield bench
    bench.close()


def large(card, payload=2048):
    """A request for a frame for each byte."""
    header = VnetHeader(NEEDS_CSUM, GSO_TCPV4, 54, 1, 34, 16)
    card.send(tcp_frame(bytes(payload)), header.pack())


def test_a_request_that_a_turn_cannot_cut_goes_on_in_the_next(card):
    large(card)
    assert 0 < len(card.cable.sent) <= MOST
    large(card, 100)
    assert len(card.cable.sent) <= MOST, "that turn is to come"
    card.rig.loop.advance(0)
    assert len(card.cable.sent) == 2148
    assert len(card.used(TX)) == 2


def test_large_frames_end_a_turn_by_their_bytes(card):
    at = card.place(bytes(12) + MAC + bytes(65000))
    ring = card.driver.rings[TX]
    for _ in range(60):
        ring.add(at)
    ring.publish()
    card.driver.kick(TX)
    assert 0 < len(card.cable.sent) <= SIZE // 65000 + 1
    card.rig.loop.advance(0)
    assert len(card.cable.sent) == 60


def test_a_reset_forgets_the_turn(card):
    ring = card.driver.rings[TX]
    for _ in range(3):
        ring.add(card.place(_request()))
    ring.publish()
    card.driver.kick(TX)
    card.driver.status = 0
    sent = len(card.cable.sent)
    assert sent <= 2048, "no more than what was taken off the ring"
    assert card.rig.loop.live() == []
    card.start(VERSION_1, queues=(0, TX))
    card.send(MAC + bytes(50))
    assert card.cable.sent[sent:] == [MAC + bytes(50)]


def _request():
    header = VnetHeader(NEEDS_CSUM, GSO_TCPV4, 54, 1, 34, 16)
    return header.pack() + struct.pack("<H", 0) + tcp_frame(bytes(2048))


def test_a_state_between_turns_loses_nothing(card):
    """Frames whose chain is used leave the card; chains that wait are served where it goes on."""
    ring = card.driver.rings[TX]
    for _ in range(2):
        ring.add(card.place(_request()))
    ring.publish()
    card.driver.kick(TX)
    assert len(card.cable.sent) < 2048
    state = card.rig.function.state()
    assert len(card.cable.sent) == 2048
    other = Bench(native=False, offloads=Offload.NONE, memory=4 << 20)
    try:
        other.memory.write(0, card.memory.read(0, 4 << 20))
        other.rig.function.restore(state)
        other.rig.loop.advance(0)
        assert len(other.cable.sent) == 2048
    finally:
        other.close()


def test_a_queue_that_is_broken_in_a_later_turn_breaks_the_device_once(card):
    large(card)
    ring = card.driver.rings[TX]
    ring.add([(1 << 40, 60, False)])
    ring.publish()
    card.rig.loop.advance(0)
    assert card.broken
    assert len(card.rig.told) == 1
    assert card.rig.loop.live() == []


def test_a_later_turn_is_not_told_as_a_kick():
    card = Bench(native=False, offloads=Offload.NONE, memory=4 << 20, trace=True)
    try:
        card.start(VERSION_1 | FEATURES, queues=(0, TX))
        large(card)
        assert card.rig.loop.live()
        card.rig.loop.advance(0)
        assert len(card.cable.sent) == 2048
        assert [what for what, _ in card.rig.traced].count("kick") == 1
    finally:
        card.close()
