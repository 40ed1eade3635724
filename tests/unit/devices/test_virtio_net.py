"""virtio-net as a device type: configuration, features, control queue, link, pairs of queues."""

import struct

import pytest

from pykvm.devices.virtio.net.features import Feature
from pykvm.net.vnet import Offload
from tests.support.virtio_driver import (
    ACKNOWLEDGE,
    DRIVER,
    DRIVER_OK,
    FEATURES_OK,
    PACKED,
    VERSION_1,
)  # fmt: skip
from tests.support.virtio_net import CONTROL, CONTROLS, ERR, MAC, OK, RX, TX, Bench

OTHER = b"\x02\0\0\0\0\x77"
MULTICAST = b"\x01\x00\x5e\x00\x00\x01"
BROADCAST = b"\xff" * 6
LINK_UP, ANNOUNCE = 1, 2
RX_MODES, MACS, VLANS, ANNOUNCED, PAIRS, GUEST_OFFLOADS = range(6)
EVERYTHING = VERSION_1 | CONTROLS
USO = Offload.CSUM | Offload.TSO4 | Offload.TSO6 | Offload.USO4 | Offload.USO6


def frame(size=60, to=MAC, tag=b""):
    return to + OTHER + tag + b"\x88\xb5" + bytes(size - 14 - len(tag))


@pytest.fixture
def bench():
    made = []

    def make(**options):
        made.append(Bench(native=False, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def comes(card, data):
    """Whether the card hands the driver this frame."""
    card.offer(2000)
    card.arrive(data)
    got = [received for _, received in card.frames()]
    assert got in ([], [data])
    return bool(got)


# -- configuration space --------------------------------------------------------------------------


def test_the_configuration_has_address_status_pairs_and_mtu(bench):
    driver = bench(pairs=4, mtu=9000).start(VERSION_1).driver
    assert bytes(driver.config(n, 1) for n in range(6)) == MAC
    assert driver.config(6, 2) == LINK_UP
    assert driver.config(8, 2) == 4
    assert driver.config(10, 2) == 9000
    assert driver.config(4, 4) == int.from_bytes(MAC[4:] + b"\1\0", "little")
    assert driver.config(12, 4) == 0


def sizes(driver):
    """What QUEUE_SIZE says of every queue that there is."""
    got = []
    while True:
        driver.put("QUEUE_SELECT", len(got))
        if not (size := driver.get("QUEUE_SIZE")):
            return got
        got.append(size)


@pytest.mark.parametrize("transport", ["modern", "legacy"])
def test_the_queues_have_as_many_entries_as_asked_for_and_control_as_ever(bench, transport):
    assert sizes(bench(transport=transport).driver) == [1024, 1024, 64]
    for entries in (64, 32768):
        card = bench(transport=transport, pairs=2, entries=entries)
        assert sizes(card.driver) == [entries] * 4 + [64]


def test_a_modern_driver_takes_fewer_entries_but_no_more(bench):
    driver = bench(entries=4096).driver
    for size, then in ((4096, 4096), (8192, 4096), (128, 128)):
        driver.put("QUEUE_SIZE", size)
        assert driver.get("QUEUE_SIZE") == then


@pytest.mark.parametrize("features", [VERSION_1, VERSION_1 | PACKED])
def test_a_state_has_the_size_that_the_driver_chose(bench, features):
    first, second = bench(entries=4096), bench(entries=4096)
    first.start(features, queues=())
    first.driver.set_up(TX, 2048)
    second.rig.function.restore(first.rig.function.state())
    assert second.rig.device.queues[TX].size == 2048
    second.driver.put("QUEUE_SELECT", RX)
    assert second.driver.get("QUEUE_SIZE") == 4096


def test_a_modern_driver_cannot_write_it(bench):
    driver = bench().start(VERSION_1).driver
    for offset in range(0, 16, 4):
        driver.set_config(offset, 4, 0xFFFF_FFFF)
    assert driver.config(0, 4) == int.from_bytes(MAC[:4], "little")
    assert driver.config(6, 2) == LINK_UP


@pytest.mark.parametrize("msix", [False, True])
def test_a_legacy_driver_sets_its_address_there_and_receives_at_it(bench, msix):
    card = bench(transport="legacy")
    if msix:
        card.rig.enable_msix()
    card.start(CONTROLS, queues=(RX, TX, CONTROL))
    for n, byte in enumerate(OTHER):
        card.driver.set_config(n, 1, byte)
    card.driver.set_config(6, 2, 0)
    assert bytes(card.driver.config(n, 1) for n in range(6)) == OTHER
    assert card.driver.config(6, 2) == LINK_UP
    assert card.command(RX_MODES, 0, b"\0") == OK
    assert comes(card, frame(to=OTHER))
    assert not comes(card, frame(to=MAC))


def test_a_reset_brings_the_address_and_the_filters_back(bench):
    card = bench().start(EVERYTHING)
    assert card.command(MACS, 1, OTHER) == OK
    assert card.command(RX_MODES, 0, b"\0") == OK
    card.start(EVERYTHING)
    assert card.driver.config(0, 4) == int.from_bytes(MAC[:4], "little")
    assert comes(card, frame(to=BROADCAST))
    assert comes(card, frame(to=OTHER))


# -- features -------------------------------------------------------------------------------------


def accepted(card, features):
    """Whether FEATURES_OK stays."""
    driver = card.driver
    driver.status = 0
    driver.status = ACKNOWLEDGE
    driver.status = ACKNOWLEDGE | DRIVER
    driver.accept(int(features))
    driver.status = ACKNOWLEDGE | DRIVER | FEATURES_OK
    return bool(driver.status & FEATURES_OK)


@pytest.mark.parametrize(
    ("one", "needs"),
    [
        *((one, Feature.GUEST_CSUM) for one in (Feature.GUEST_TSO4, Feature.GUEST_TSO6,
                                                 Feature.GUEST_USO4, Feature.GUEST_USO6)),
        *((one, Feature.CSUM) for one in (Feature.HOST_TSO4, Feature.HOST_TSO6, Feature.HOST_USO)),
        *((one, Feature.CTRL_VQ) for one in (
            Feature.CTRL_RX, Feature.CTRL_VLAN, Feature.CTRL_RX_EXTRA, Feature.GUEST_ANNOUNCE,
            Feature.MQ, Feature.CTRL_MAC_ADDR)),
    ],
)  # fmt: skip
def test_a_feature_without_what_it_needs_is_refused(bench, one, needs):
    card = bench(pairs=2, offloads=USO)
    assert card.driver.offered() & one
    assert not accepted(card, VERSION_1 | one)
    assert accepted(card, VERSION_1 | one | needs)


def test_features_of_what_is_not_there_are_not_offered_and_refused(bench):
    card = bench()
    assert not card.driver.offered() & (Feature.MQ | Feature.HOST_USO | Feature.GUEST_USO4)
    assert not accepted(card, VERSION_1 | Feature.MQ | Feature.CTRL_VQ)


@pytest.mark.parametrize("bit", [10, 14, 52, 53, 57, 59, 60, 61, 62, 63])
def test_features_that_nobody_implements_are_not_offered_and_refused(bench, bit):
    """UFO, notification coalescing, hash reports, RSS and their like."""
    card = bench(pairs=2, offloads=USO)
    assert not card.driver.offered() >> bit & 1
    assert not accepted(card, card.driver.offered() | 1 << bit)


def test_the_driver_s_last_step_through_the_other_window_brings_no_feature_in(bench):
    """Features written as a modern driver, DRIVER_OK given as a legacy one: nobody checked them."""
    card = bench(transport="transitional", packed=False)
    driver, legacy = card.driver, card.rig.function.windows[0]
    driver.status = ACKNOWLEDGE
    driver.status = ACKNOWLEDGE | DRIVER
    driver.accept(VERSION_1 | PACKED | 1 << 60 | Feature.CTRL_VQ)
    legacy.write(0x12, 1, ACKNOWLEDGE | DRIVER | DRIVER_OK)
    assert card.rig.device.features == Feature.CTRL_VQ


# -- the control queue ----------------------------------------------------------------------------


def test_promiscuous_until_the_driver_says_otherwise(bench):
    card = bench().start(EVERYTHING)
    assert all(comes(card, frame(to=to)) for to in (MAC, OTHER, MULTICAST, BROADCAST))
    assert card.command(RX_MODES, 0, b"\0") == OK
    assert [comes(card, frame(to=to)) for to in (MAC, OTHER, MULTICAST, BROADCAST)] == [
        True, False, False, True,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("mode", "off", "on"),
    [  # what comes of MAC, OTHER, MULTICAST, BROADCAST
        (1, "1001", "1011"), (2, "1001", "1101"), (3, "1001", "1001"), (4, "1001", "0001"),
        (5, "1001", "1000"),
    ],
)  # fmt: skip
def test_the_modes_of_the_receive_filter(bench, mode, off, on):
    card = bench().start(EVERYTHING)
    assert card.command(RX_MODES, 0, b"\0") == OK
    for value, expected in ((0, off), (1, on), (0, off)):
        assert card.command(RX_MODES, mode, bytes((value,))) == OK
        came = [comes(card, frame(to=to)) for to in (MAC, OTHER, MULTICAST, BROADCAST)]
        assert "".join(str(int(one)) for one in came) == expected


def table(*addresses):
    return struct.pack("<I", len(addresses)) + b"".join(addresses)


def test_the_address_tables_let_in_what_they_hold(bench):
    card = bench().start(EVERYTHING)
    assert card.command(RX_MODES, 0, b"\0") == OK
    assert card.command(MACS, 0, table(OTHER) + table(MULTICAST)) == OK
    assert comes(card, frame(to=OTHER))
    assert comes(card, frame(to=MULTICAST))
    assert not comes(card, frame(to=b"\x33\x33\0\0\0\1"))
    assert card.command(MACS, 0, table() + table()) == OK
    assert not comes(card, frame(to=OTHER))


@pytest.mark.parametrize("kind", [0, 1])
def test_a_table_longer_than_the_card_s_lets_everything_of_its_kind_in(bench, kind):
    card = bench().start(EVERYTHING)
    assert card.command(RX_MODES, 0, b"\0") == OK
    many = table(*(bytes((2 + kind, 0, 0, 0, n, 1)) for n in range(65)))
    assert card.command(MACS, 0, table() + many if kind else many + table()) == OK
    assert comes(card, frame(to=OTHER)) == (kind == 0)
    assert comes(card, frame(to=MULTICAST)) == (kind == 1)


def test_a_malformed_table_changes_nothing(bench):
    card = bench().start(EVERYTHING)
    assert card.command(RX_MODES, 0, b"\0") == OK
    assert card.command(MACS, 0, table(OTHER) + table()) == OK
    for data in (
        b"", b"\1", b"\1\0\0\0", table(OTHER)[:-1] + table(), table(), table() + b"\1\0\0\0",
        b"\xff\xff\xff\xff" + OTHER * 20, b"\0\0\0\x40" + OTHER, table() + b"\xff\xff\xff\x7f",
    ):  # fmt: skip
        assert card.command(MACS, 0, data) == ERR
    assert comes(card, frame(to=OTHER))


def test_the_address_is_set_whole_or_not_at_all(bench):
    card = bench().start(EVERYTHING)
    assert card.command(RX_MODES, 0, b"\0") == OK
    assert card.command(MACS, 1, OTHER[:5]) == ERR
    assert comes(card, frame(to=MAC))
    assert card.command(MACS, 1, OTHER) == OK
    assert not comes(card, frame(to=MAC))
    assert comes(card, frame(to=OTHER))


def test_vlans_come_when_they_are_let_in(bench):
    card = bench().start(EVERYTHING)
    tag = b"\x81\x00\x20\x05"
    assert comes(card, frame())
    assert not comes(card, frame(tag=tag))
    assert card.command(VLANS, 0, b"\x05\x00") == OK
    assert comes(card, frame(tag=tag))
    assert not comes(card, frame(tag=b"\x81\x00\x20\x06"))
    assert card.command(VLANS, 1, b"\x05\x00") == OK
    assert not comes(card, frame(tag=tag))
    assert card.command(VLANS, 0, b"\xff\x0f") == OK
    assert card.command(VLANS, 0, b"\x00\x10") == ERR


def test_without_the_vlan_filter_all_come(bench):
    card = bench().start(VERSION_1)
    assert comes(card, frame(tag=b"\x81\x00\x20\x05"))


@pytest.mark.parametrize(
    ("without", "kind", "command", "data"),
    [
        (Feature.CTRL_RX, RX_MODES, 0, b"\1"), (Feature.CTRL_RX, RX_MODES, 1, b"\1"),
        (Feature.CTRL_RX_EXTRA, RX_MODES, 2, b"\1"), (Feature.CTRL_RX, MACS, 0, bytes(8)),
        (Feature.CTRL_MAC_ADDR, MACS, 1, OTHER), (Feature.CTRL_VLAN, VLANS, 0, b"\1\0"),
        (Feature.GUEST_ANNOUNCE, ANNOUNCED, 0, b""),
        (Feature.CTRL_GUEST_OFFLOADS, GUEST_OFFLOADS, 0, bytes(8)), (0, PAIRS, 0, b"\1\0"),
    ],
)  # fmt: skip
def test_a_command_without_its_feature_is_an_error(bench, without, kind, command, data):
    card = bench(pairs=2).start(EVERYTHING & ~without)
    assert card.command(kind, command, data) == ERR


@pytest.mark.parametrize(
    ("kind", "command", "data"),
    [
        (RX_MODES, 6, b"\1"), (RX_MODES, 0, b""), (MACS, 2, b"\1" * 8), (VLANS, 2, b"\1\0"),
        (VLANS, 0, b"\1"), (ANNOUNCED, 1, b""), (PAIRS, 0, b"\0\0"), (PAIRS, 0, b"\x03\0"),
        (PAIRS, 0, b"\1"), (PAIRS, 1, b"\1\0"), (PAIRS, 2, b"\1\0"), (GUEST_OFFLOADS, 0, b"\0" * 7),
        (GUEST_OFFLOADS, 1, bytes(8)), (GUEST_OFFLOADS, 0, b"\xff" * 8), (6, 0, b""),
        (255, 255, bytes(100)),
    ],
)  # fmt: skip
def test_a_command_that_makes_no_sense_is_an_error(bench, kind, command, data):
    card = bench(pairs=2).start(EVERYTHING | Feature.MQ | Feature.GUEST_CSUM)
    assert card.command(kind, command, data, queue=4) == ERR
    assert not card.broken


def test_a_command_may_come_in_any_pieces(bench):
    card = bench().start(EVERYTHING)
    ack = card.room(1)
    pieces = [*card.place(bytes((RX_MODES, 0, 0)), (1, 2)), (ack, 1, True)]
    card.give(CONTROL, pieces)
    assert [row[1] for row in card.used(CONTROL)] == [1]
    assert card.memory.read_u8(ack) == OK


@pytest.mark.parametrize("length", [0, 1])
def test_a_command_shorter_than_its_head_is_an_error(bench, length):
    card = bench().start(EVERYTHING)
    ack = card.room(1)
    card.memory.write_u8(ack, 0xEE)
    card.give(CONTROL, [*(card.place(bytes(length)) if length else []), (ack, 1, True)])
    assert card.memory.read_u8(ack) == ERR


def test_a_command_without_room_for_its_answer_breaks_the_device(bench):
    card = bench().start(EVERYTHING)
    card.give(CONTROL, card.place(bytes((RX_MODES, 0, 0))))
    assert card.broken
    assert card.rig.told == ["a control command without room for its acknowledgement"]


# -- offloads -------------------------------------------------------------------------------------


def test_the_driver_takes_unfinished_what_it_negotiated_until_it_says_otherwise(bench):
    card = bench()
    given = []
    card.card.engine.start = lambda session: given.append(session.receive)
    csum, tso = Feature.GUEST_CSUM, Feature.GUEST_TSO4 | Feature.GUEST_TSO6
    card.start(EVERYTHING | csum | tso)
    everything = Offload.CSUM | Offload.TSO4 | Offload.TSO6
    assert given.pop() == everything
    for wanted, receive in (
        (0, Offload.NONE), (csum, Offload.CSUM),
        (csum | Feature.GUEST_TSO6, Offload.CSUM | Offload.TSO6), (csum | tso, everything),
    ):  # fmt: skip
        assert card.command(GUEST_OFFLOADS, 0, int(wanted).to_bytes(8, "little")) == OK
        assert given.pop() == receive


def test_offloads_that_were_not_negotiated_cannot_be_switched_on(bench):
    card = bench().start(EVERYTHING | Feature.GUEST_CSUM)
    for wanted in (Feature.GUEST_TSO4, Feature.CSUM, 1 << 63):
        assert card.command(GUEST_OFFLOADS, 0, int(wanted).to_bytes(8, "little")) == ERR


# -- link -----------------------------------------------------------------------------------------


def test_a_pulled_cable_is_a_configuration_change(bench):
    card = bench().start(EVERYTHING)
    before = card.driver.get("GENERATION")
    card.card.set_link(False)
    assert card.driver.get("ISR") == 2
    assert card.driver.config(6, 2) == 0
    assert card.driver.get("GENERATION") != before
    card.card.set_link(False)
    assert card.driver.get("ISR") == 0
    card.card.set_link(True)
    assert card.driver.get("ISR") == 2
    assert card.driver.config(6, 2) == LINK_UP | ANNOUNCE
    assert card.command(ANNOUNCED, 0) == OK
    assert card.driver.config(6, 2) == LINK_UP


def test_a_driver_that_cannot_announce_itself_is_not_asked(bench):
    card = bench().start(VERSION_1 | Feature.STATUS)
    card.card.set_link(False)
    card.card.set_link(True)
    assert card.driver.config(6, 2) == LINK_UP


def test_a_driver_without_the_status_field_is_not_told(bench):
    card = bench().start(VERSION_1)
    card.card.set_link(False)
    assert card.driver.get("ISR") == 0


# -- pairs of queues ------------------------------------------------------------------------------


def test_the_control_queue_comes_after_the_pairs_that_the_driver_knows_of(bench):
    card = bench(pairs=4)
    assert card.driver.get("NUM_QUEUES") == 9
    card.start(EVERYTHING)
    assert card.command(RX_MODES, 0, b"\1", queue=2) == OK
    card.start(EVERYTHING | Feature.MQ)
    assert card.command(RX_MODES, 0, b"\1", queue=8) == OK
    assert card.command(RX_MODES, 0, b"\1", queue=2) is None


@pytest.mark.parametrize("native", [False, True])
def test_queues_of_pairs_that_are_not_used_are_left_alone(native):
    card = Bench(native=native, pairs=2).start(EVERYTHING | Feature.MQ)
    try:
        card.offer(2000, queue=2)
        card.send(frame(61), queue=3)
        assert card.used(2) == card.used(3) == card.cable.sent == []
        assert card.command(PAIRS, 0, b"\2\0", queue=4) == OK
        card.work()
        card.driver.kick(3)
        card.cable.collect()
        assert card.cable.sent == [frame(61)]
        assert card.command(PAIRS, 0, b"\1\0", queue=4) == OK
        card.send(frame(62), queue=3)
        assert card.cable.sent == [frame(61)]
        card.send(frame(63), queue=1)
        assert card.cable.sent == [frame(61), frame(63)]
    finally:
        card.close()


def test_each_pair_of_c_has_a_cable_of_its_own():
    card = Bench(native=True, pairs=2).start(EVERYTHING | Feature.MQ)
    try:
        assert card.command(PAIRS, 0, b"\2\0", queue=4) == OK
        assert card.cable.pairs == 2
        for queue in (0, 2):
            card.offer(2000, queue=queue)
        card.arrive(frame(61), pair=1)
        assert [data for _, data in card.frames(2)] == [frame(61)]
        assert card.frames(0) == []
    finally:
        card.close()


# -- life -----------------------------------------------------------------------------------------


def test_a_state_brings_back_filters_link_and_pairs(bench):
    card = bench(pairs=2).start(EVERYTHING | Feature.MQ)
    for command in (
        (RX_MODES, 0, b"\0"), (MACS, 1, OTHER), (MACS, 0, table() + table(MULTICAST)),
        (VLANS, 0, b"\5\0"), (PAIRS, 0, b"\2\0"), (GUEST_OFFLOADS, 0, bytes(8)),
    ):  # fmt: skip
        assert card.command(*command, queue=4) == OK
    card.card.set_link(False)
    card.card.set_link(True)
    other = bench(pairs=2)
    other.memory.write(0, card.memory.read(0, 2 << 20))
    other.rig.function.restore(card.rig.function.state())
    assert other.rig.function.state() == card.rig.function.state()
    other.driver.rings = card.driver.rings
    for ring in other.driver.rings.values():
        ring.memory = other.memory
    other.next_buffer = card.next_buffer
    assert comes(other, frame(to=OTHER))
    assert comes(other, frame(to=MULTICAST, tag=b"\x81\x00\x00\x05"))
    assert not comes(other, frame(to=MAC))
    assert other.driver.config(6, 2) == LINK_UP | ANNOUNCE
    for ring in other.driver.rings.values():
        ring.memory = card.memory


def test_what_breaks_the_device_in_the_middle_of_a_batch_ends_the_batch(bench):
    """A loop back: the answer to one frame finds the receive ring broken."""
    card = bench().start(VERSION_1)
    card.cable.send = lambda data, header=None: card.cable.receiver.receive(b"".join(data))
    card.give(RX, [(1 << 40, 2000, True)])
    ring = card.driver.rings[TX]
    for n in range(3):
        ring.add([*card.place(bytes(12) + frame(60 + n))])
    ring.publish()
    card.driver.kick(TX)
    assert card.broken
    assert ring.used() == []


def test_a_long_chain_is_read_no_further_than_asked(bench):
    """Gigabytes by the same pages again and again."""
    card = bench().start(EVERYTHING | 1 << 28)
    ack = card.room(1)
    head = card.place(bytes((RX_MODES, 0, 0)))
    card.give(CONTROL, [*head, *[(0, 1 << 20, False)] * 1000, (ack, 1, True)], indirect=True)
    assert card.memory.read_u8(ack) == OK
