"""What hostile guests did to other virtio cards, done to this one through registers and rings.

Each test is named after the public defect whose trigger it plays, and runs over both engines. After
every one the card must work again once its driver has reset it.
"""

import struct

import pytest

from pykvm.devices.virtio.net.features import Feature
from tests.support.virtio_driver import (
    ACKNOWLEDGE,
    DRIVER,
    DRIVER_OK,
    FEATURES_OK,
    INDIRECT,
    MSIX_BAR,
    NOWHERE,
    PACKED,
    VERSION_1,
    Legacy,
)  # fmt: skip
from tests.support.virtio_net import CONTROL, CONTROLS, ERR, MAC, OK, RX, TX, Bench
from tests.support.virtqueue import NEXT, WRITE

MRG = Feature.MRG_RXBUF
MEMORY = 2 << 20
MODES = [VERSION_1, VERSION_1 | PACKED]


def frame(size=60, to=MAC):
    return to + b"\x02\0\0\0\0\x77\x88\xb5" + bytes(n & 0xFF for n in range(size - 14))


@pytest.fixture(params=["reference", "C"])
def bench(request):
    made = []

    def make(features=VERSION_1, **options):
        card = Bench(native=request.param == "C", **options)
        made.append(card)
        queues = (RX, TX, CONTROL) if features & Feature.CTRL_VQ else (RX, TX)
        return card.start(features, queues=queues)

    yield make
    try:
        for card in made:
            works_again(card)
    finally:
        for card in made:
            card.close()


def works_again(card):
    """A reset brings it back, whatever happened."""
    card.rig.master(True)
    card.next_buffer = 0x80000
    card.chains.clear()
    legacy = isinstance(card.driver, Legacy)
    card.start(0 if legacy else VERSION_1, queues=(RX, TX))
    card.cable.collect()
    card.cable.sent.clear()
    card.send(frame(61))
    assert card.cable.sent[-1] == frame(61)
    for _ in range(4):  # what came while it was broken may have waited
        card.offer(2000)
    card.arrive(frame(62))
    assert frame(62) in [data for _, data in card.frames()]


# -- the control queue ----------------------------------------------------------------------------


@pytest.mark.parametrize("count", [65, 0x1000, 0x2AAA_AAAB, 0x7FFF_FFFF, 0xFFFF_FFFF])
def test_cve_2014_0150_the_number_of_addresses_overflows_the_table(bench, count):
    """0x2AAAAAAB entries of six bytes are 2 bytes in 32-bit arithmetic."""
    card = bench(VERSION_1 | CONTROLS)
    number = struct.pack("<I", count)
    for data in (number, number + bytes(12), bytes(4) + number, bytes(4) + number + bytes(6 * 64)):
        assert card.command(1, 0, data) == ERR
    many = struct.pack("<I", 65) + bytes(6 * 65)
    assert card.command(1, 0, many + many) == OK
    assert len(card.card.filters.unicast) == len(card.card.filters.multicast) == 64


def test_cve_2024_6505_receive_side_scaling_is_not_there_to_be_set_up(bench):
    card = bench(VERSION_1 | CONTROLS | Feature.MQ, pairs=2)
    assert not card.driver.offered() >> 60 & 1
    table = struct.pack("<IHH4HH", 0xFF, 3, 0, 0xFFFF, 9, 9, 9, 2)
    card.driver.set_up(4)
    for command in (1, 2):
        assert card.command(4, command, table, queue=4) == ERR
    assert card.command(4, 0, b"\xff\xff", queue=4) == ERR
    assert not card.broken


@pytest.mark.parametrize("features", MODES)
def test_cve_2023_6693_buffers_smaller_than_the_header(bench, features):
    """There is no header but the shortest: hash reports cannot be negotiated."""
    card = bench(features | MRG)
    assert not card.driver.offered() >> 57 & 1
    tokens = [card.offer(1) for _ in range(60)]
    card.arrive(frame(60))
    assert card.used(RX) == []
    tokens += [card.offer(20)]
    card.arrive(frame(60))
    rows = card.used(RX)
    assert [row[0] for row in rows] == tokens
    assert b"".join(row[2] for row in rows) == bytes(10) + b"\x3d\x00" + frame(60)


# -- receiving ------------------------------------------------------------------------------------


@pytest.mark.parametrize("features", [VERSION_1, VERSION_1 | PACKED, 0])
def test_cve_2015_7295_a_jumbo_frame_without_mergeable_or_big_buffers(bench, features):
    card = bench(features, transport="modern" if features else "legacy")
    card.memory.fill(0x80000, 0x40000, 0xEE)
    card.offer(1526)
    for size in (1519, 9000, 65000):
        card.arrive(frame(size))
    assert card.used(RX) == []
    assert card.memory.read(0x80000 + 1526, 1000) == b"\xee" * 1000
    assert not card.broken


@pytest.mark.parametrize("features", MODES)
@pytest.mark.parametrize("address", [NOWHERE, MEMORY - 6, MEMORY, 2**64 - 4])
def test_cve_2021_3748_the_number_of_buffers_goes_to_an_address_that_is_no_ram(
    bench, features, address
):
    card = bench(features | MRG)
    before = card.memory.read(0x100000, MEMORY - 0x100000)
    card.give(RX, [(address, 12, True), (card.room(2000), 2000, True)])
    card.arrive(frame(60))
    assert card.broken
    assert card.memory.read(0x100000, MEMORY - 0x100000) == before


@pytest.mark.parametrize("features", MODES)
@pytest.mark.parametrize(("buffers", "size"), [(1, 128), (64, 2)])
def test_cve_2022_26353_frames_that_find_too_little_room_cost_no_buffer(
    bench, features, buffers, size
):
    card = bench(features | (MRG if buffers > 1 else 0))
    tokens = [card.offer(size) for _ in range(buffers)]
    for _ in range(300):
        card.arrive(frame(200))
    assert card.used(RX) == []
    card.arrive(frame(116))
    assert [row[0] for row in card.used(RX)] == tokens


@pytest.mark.parametrize("features", [*MODES, VERSION_1 | MRG])
def test_cve_2024_8612_the_used_length_is_what_was_written(bench, features):
    card = bench(features)
    at = card.room(2000)
    card.memory.fill(at, 2000, 0xEE)
    card.give(RX, [(at, 30, True), (at + 30, 1970, True)])
    card.arrive(frame(60))
    assert [row[1] for row in card.used(RX)] == [72]
    assert card.memory.read(at + 72, 2000 - 72) == b"\xee" * (2000 - 72)
    card.give(TX, [*card.place(bytes(12) + frame()), (at, 100, True)])
    assert [row[1] for row in card.used(TX)] == [0]
    assert card.memory.read(at, 72)[12:] == frame(60)


def test_cve_2024_8612_an_answer_is_one_byte(bench):
    card = bench(VERSION_1 | CONTROLS)
    ack = card.room(100)
    card.memory.fill(ack, 100, 0xEE)
    card.give(CONTROL, [*card.place(b"\0\0\1"), (ack, 100, True)])
    assert [row[1] for row in card.used(CONTROL)] == [1]
    assert card.memory.read(ack, 100) == b"\0" + b"\xee" * 99


# -- rings ----------------------------------------------------------------------------------------


def test_cve_2016_5403_one_buffer_offered_again_and_again_without_completion(bench):
    """A ring's worth of the same buffer is as much as there can be."""
    card = bench(VERSION_1 | MRG)
    ring = card.driver.rings[RX]
    at = card.room(16)
    ring.row(0, at, 16, WRITE, 0)
    for _ in range(ring.size):
        ring.offer(0)
        ring.publish()
        card.driver.kick(RX)
        card.arrive(frame(1500))
    assert not card.broken
    ring.offer(0)
    ring.publish()
    card.driver.kick(RX)
    for _ in range(2):
        card.arrive(frame(60))
    assert len({head for head, _ in ring.used()}) <= 1


@pytest.mark.parametrize("queue", [RX, TX])
def test_cve_2016_6490_descriptors_without_length_that_follow_each_other(bench, queue):
    card = bench()
    ring = card.driver.rings[queue]
    for n in range(ring.size):
        ring.row(n, 0x80000, 0, NEXT | (WRITE if queue == RX else 0), (n + 1) % ring.size)
    ring.offer(0)
    ring.publish()
    card.driver.kick(queue)
    card.arrive(frame())
    assert card.broken


@pytest.mark.parametrize("features", MODES)
@pytest.mark.parametrize("queue", [RX, TX])
def test_cve_2016_7422_a_descriptor_of_nearly_4_gib(bench, features, queue):
    card = bench(features)
    card.give(queue, [(0x80000, 0xFFFF_FFF0, queue == RX)])
    card.arrive(frame())
    assert card.broken


@pytest.mark.parametrize("features", MODES)
@pytest.mark.parametrize("queue", [RX, TX, CONTROL])
@pytest.mark.parametrize("length", [1, 24, 16 * 1025, 0xFFFF_FFF0])
def test_cve_2011_2212_an_indirect_table_of_an_odd_or_huge_length(bench, features, queue, length):
    card = bench(features | INDIRECT | CONTROLS)
    ring = card.driver.rings[queue]
    ring.add([(0x80000, 60, queue == RX)], 0x90000)
    card.memory.write_u32(ring.descriptors + 8, length)
    ring.publish()
    card.driver.kick(queue)
    card.arrive(frame())
    assert card.broken


@pytest.mark.parametrize("number", [3, 0x7FFF, 0x8000, 0xFFFF])
def test_cve_2011_2512_a_kick_of_a_queue_that_is_not_there(bench, number):
    legacy = bench(0, transport="legacy")
    legacy.driver.kick(number)
    legacy.driver.put("QUEUE_SELECT", number)
    legacy.driver.put("QUEUE_PFN", 0x80)
    modern = bench()
    modern.driver.put("QUEUE_SELECT", number)
    for name in ("QUEUE_SIZE", "QUEUE_ENABLE", "QUEUE_DESC_LO", "QUEUE_RESET"):
        modern.driver.put(name, 1)
    modern.driver.window.write(0x3000 + (number & 0x3FF) * 4, 2, number)
    for card in (legacy, modern):
        assert not card.broken
        card.send(frame())
        assert card.cable.sent == [frame()]


@pytest.mark.parametrize("number", [3, 7, 0x100, 0x7FFF, 0x8000, 0xFFFF])
def test_cloud_hypervisor_7605_and_7917_a_queue_selected_that_is_not_there(bench, number):
    """All of its registers read as zeros and take no write, and no other queue's change."""
    legacy, modern = bench(0, transport="legacy"), bench()
    for card in (legacy, modern):
        driver = card.driver
        of_queue = {one.name for one in driver.registers if one.name.startswith("QUEUE_")}
        names = (
            of_queue
            - {"QUEUE_SELECT", "QUEUE_NOTIFY"}
            - (
                {"QUEUE_VECTOR"} if card is legacy else set()  # the MAC is there without MSI-X
            )
        )
        before = [queue.state() for queue in card.rig.device.queues]
        driver.put("QUEUE_SELECT", number)
        for value in (0, 1, 0xFFFF_FFFF):
            for name in names:
                driver.put(name, value & (1 << 8 * driver.registers[name].size) - 1)
                assert driver.get(name) == (0xFFFF if name.endswith("VECTOR") else 0)
        assert [queue.state() for queue in card.rig.device.queues] == before
        assert not card.broken
        card.send(frame())
        assert card.cable.sent == [frame()]


def test_cve_2017_17381_a_legacy_ring_at_no_address_and_past_the_end(bench):
    card = bench(0, transport="legacy")
    driver = card.driver
    for page in (0, 0xFFFF_FFFF, MEMORY >> 12, (MEMORY >> 12) - 1):
        driver.status = 0
        driver.status = ACKNOWLEDGE | DRIVER
        driver.put("QUEUE_SELECT", TX)
        driver.put("QUEUE_PFN", page)
        driver.status = ACKNOWLEDGE | DRIVER | DRIVER_OK
        driver.kick(TX)
        assert card.broken == (page != 0)


@pytest.mark.parametrize("features", MODES)
@pytest.mark.parametrize("where", [2**64 - 16, MEMORY - 16, MEMORY, NOWHERE])
@pytest.mark.parametrize("part", range(3))
def test_cve_2019_18960_a_ring_whose_end_only_is_outside(bench, features, where, part):
    """The sum of address and length wraps, or the start alone is RAM."""
    card = bench(features)
    driver = card.driver
    driver.status = 0
    driver.status = ACKNOWLEDGE | DRIVER
    driver.accept(features)
    driver.status = ACKNOWLEDGE | DRIVER | FEATURES_OK
    driver.set_up(RX)
    ring = driver.rings[RX]
    addresses = [ring.descriptors, ring.driver, ring.device]
    addresses[part] = where
    driver.put("QUEUE_SELECT", TX)
    driver.put("QUEUE_SIZE", 64)
    driver.place(*addresses)
    driver.put("QUEUE_ENABLE", 1)
    driver.status = ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK
    fits = part and features & PACKED and where == MEMORY - 16  # four bytes, in RAM
    assert card.broken != bool(fits)


@pytest.mark.parametrize("features", MODES)
def test_cve_2026_5747_queue_addresses_rewritten_after_activation(bench, features):
    card = bench(features)
    driver = card.driver
    driver.put("QUEUE_SELECT", TX)
    size = driver.get("QUEUE_SIZE")
    driver.put("QUEUE_SIZE", 1024)
    driver.place(NOWHERE, NOWHERE, NOWHERE)
    driver.put("QUEUE_ENABLE", 1)
    assert driver.get("QUEUE_SIZE") == size
    assert driver.get("QUEUE_DESC_LO") == driver.rings[TX].descriptors
    card.rig.device.rewired()
    card.send(frame())
    assert card.cable.sent == [frame()]


@pytest.mark.parametrize("features", MODES)
@pytest.mark.parametrize("queue", [RX, TX, CONTROL])
def test_cve_2024_3446_dma_into_the_card_s_own_registers(bench, features, queue):
    """Wherever its windows are, they are no RAM: nothing is entered a second time."""
    card = bench(features | CONTROLS)
    card.rig.function.placed({0: 0xC000, 1: NOWHERE, 4: NOWHERE + 0x4000})
    entered = []
    for window in card.rig.function.windows.values():
        window.read = window.write = lambda *access: entered.append(access)
    for at in (NOWHERE, NOWHERE + 0x4000 + 0x3000):
        ring = card.driver.rings[queue]
        pieces = card.place(b"\0\0\1") if queue == CONTROL else []
        ring.add([*pieces, (at, 2000, queue != TX)])
        ring.publish()
        card.rig.device.kick(queue)
        if queue == RX:
            card.arrive(frame())
        assert card.rig.device.status & 64
    assert entered == []
    for window in card.rig.function.windows.values():
        del window.read, window.write


# -- messages -------------------------------------------------------------------------------------


def test_cve_2015_7549_the_pending_bits_take_no_write(bench):
    table = bench().rig.function.windows[MSIX_BAR]
    for offset in range(table.pba_offset, table.size, 4):
        table.write(offset, 4, 0xFFFF_FFFF)
        assert table.read(offset, 4) == 0


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_cve_2020_13754_accesses_past_the_table_and_of_odd_widths(bench, size):
    table = bench().rig.function.windows[MSIX_BAR]
    before = table.state()
    for offset in (table.vectors * 16 - size + 1, table.vectors * 16, table.pba_offset - 1,
                   table.pba_offset + table.pba_size - size + 1, table.size - 1, table.size,
                   0xFFFF_FFFF, 2**64 - 1):  # fmt: skip
        table.write(offset, size, (1 << size * 8) - 1)
        assert table.read(offset, size) == 0
    if size < 4:
        for offset in range(0, 64, size):
            table.write(offset, size, (1 << size * 8) - 1)
    assert table.state() == before
