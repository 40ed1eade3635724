"""What hostile guests did to other emulated cards, done to this one through its registers.

Each test is named after the public defect (or the plain description) whose trigger it plays. After
every one the card must still work, or work again after a reset by its driver. Every test runs over
both engines.
"""

import struct
from functools import partial

import pytest

from pykvm.devices.e1000.native import NativeEngine
from pykvm.devices.e1000.reference import ReferenceEngine
from pykvm.devices.e1000.tx import MAX_FRAME
from pykvm.memory import GuestMemory
from tests.unit.e1000.conftest import (
    EOP,
    IC,
    MAC,
    RS,
    RX_RING,
    TSE,
    TX_BUFFERS,
    TX_RING,
    Bench,
    Cable,
    SocketCable,
    frame,
)  # fmt: skip
from tests.unit.e1000.test_e1000_frames import BAM, EN, SECRC, tcp_frame

ENGINES = {
    "reference": (ReferenceEngine, Cable),
    "native": (partial(NativeEngine, threaded=False), SocketCable),
    "coalescing": (partial(NativeEngine, threaded=False, coalesce=True), SocketCable),
}


@pytest.fixture(params=ENGINES)
def bench(request):
    engine, cable = ENGINES[request.param]
    with GuestMemory(4 << 20) as memory:
        bench = Bench(memory, engine=engine, cable=cable())
        yield bench
        bench.card.close()
        bench.cable.close()
        del bench.card


@pytest.fixture(autouse=True)
def _the_card_works_afterwards(bench):
    yield
    bench.card.config.write(0x04, 2, 0x7)
    bench.write("CTRL", 1 << 26)
    bench.cable.sent.clear()
    bench.start()
    bench.legacy(frame(60))
    bench.kick()
    assert bench.cable.sent == [frame(60)]
    bench.receive(frame(60))
    assert bench.read("GPRC") == 1


def test_cve_2012_6075_an_oversized_frame_with_lpe_and_sbp_off_is_dropped(bench):
    bench.start(rctl=EN | SECRC | BAM | 3 << 16, rx=128)
    for size in (1519, 9000, 16380, 65535):
        bench.receive(frame(size))
    assert bench.read("RDH") == 0
    assert bench.read("ROC") == 4


def test_cve_2012_6075_with_lpe_a_frame_beyond_16384_is_dropped_too(bench):
    bench.start(rctl=EN | SECRC | BAM | 1 << 5 | 3 << 16, rx=128)
    bench.receive(frame(16385))
    assert bench.read("RDH") == 0


@pytest.mark.parametrize(("hdrlen", "mss"), [(0, 0), (54, 0), (0, 1460), (255, 1460), (54, 0xFFFF)])
def test_cve_2015_6815_tso_with_no_progress_per_turn_ends(bench, hdrlen, mss):
    bench.start()
    bench.context(paylen=100, command=0x3 | TSE | RS, hdrlen=hdrlen, mss=mss)
    bench.data(tcp_frame(bytes(100)), EOP | RS | TSE, popts=0x3)
    bench.kick()
    assert bench.read("TDH") == bench.read("TDT")
    assert len(bench.cable.sent) <= 1


@pytest.mark.parametrize("which", ["TDH", "TDT"])
def test_cve_2016_1981_a_transmit_index_beyond_the_ring_does_nothing(bench, which):
    bench.start()
    bench.write("TDH", 0)
    bench.card.put("TDT", 4)
    bench.card.put(which, 0xFFFF)
    assert "outside" in bench.kick()
    assert bench.cable.sent == []


@pytest.mark.parametrize("which", ["RDH", "RDT"])
def test_cve_2017_9310_a_receive_index_beyond_the_ring_has_no_room(bench, which):
    bench.start()
    bench.write(which, 0xFFFF)
    bench.receive(frame(60))
    assert bench.read("MPC") == 1
    assert bench.read("GPRC") == 0


def test_cve_2020_28916_a_null_receive_buffer_is_used_up_once(bench):
    bench.start()
    bench.memory.write(RX_RING, bytes(16))
    before = bench.memory.read(0, 64)
    bench.receive(frame(60))
    assert bench.read("RDH") == 1
    assert bench.memory.read(0, 64) == before


def test_cve_2021_20257_transmit_descriptors_of_garbage_end_at_the_tail(bench):
    bench.start(tx=64)
    for n in range(63):
        seed = (n * 2654435761) & 0xFFFF_FFFF
        bench.put(struct.pack("<IIII", seed, seed >> 3, seed ^ 0x5A5A5A5A, seed * 7 & 0xFFFF_FFFF))
    bench.kick()
    assert bench.read("TDH") == bench.read("TDT")


def test_cve_2021_3416_loopback_does_not_reenter_the_transmitter(bench):
    bench.start(rctl=EN | SECRC | BAM | 1 << 6, tx=128, rx=128)
    for _ in range(120):
        bench.legacy(frame(60))
    bench.kick()
    assert bench.read("GPRC") == 120


@pytest.mark.parametrize("address", [0xFEB0_0000, 0xE000_3818, 1 << 40, 2**64 - 1, (4 << 20) - 1])
def test_cve_2020_15859_dma_from_a_bar_or_from_nowhere_is_refused(bench, address):
    bench.start()
    bench.legacy(bytes(60), address=address)
    assert "not RAM" in bench.kick()
    assert bench.cable.sent == []
    assert bench.read("TDH") == 1


@pytest.mark.parametrize("address", [0xFEB0_0000, 0xE000_2818, 1 << 40, 2**64 - 16])
def test_cve_2023_3019_receiving_into_a_bar_drops_the_frame(bench, address):
    bench.start()
    bench.memory.write(RX_RING, struct.pack("<QQ", address, 0))
    bench.receive(frame(60))
    assert bench.read("RDH") == 0
    assert bench.read("MPC") == 1
    assert ["not RAM" in str(error) for error in bench.reported] == [True]
    assert bench.kick() is None  # nothing that the doorbell is to blame for


@pytest.mark.parametrize("ring", ["TDBAL", "RDBAL"])
def test_a_ring_in_a_bar_does_nothing(bench, ring):
    bench.start()
    bench.write(ring, 0xFEB0_0000)
    bench.card.put("TDT", 3)
    bench.kick()
    bench.receive(frame(60))
    assert bench.cable.sent == []


@pytest.mark.parametrize("layout", [
    {"ipcss": 255, "tucss": 255}, {"tucso": 255}, {"ipcso": 255}, {"tucss": 54}, {"ipcss": 34},
    {"tucss": 0, "ipcss": 0, "hdrlen": 1}, {"ipcse": 0xFFFF, "tucse": 0xFFFF},
])  # fmt: skip
def test_cve_2020_16092_headers_that_make_no_sense_assert_nothing(bench, layout):
    bench.start()
    bench.context(paylen=200, command=0x3 | TSE | RS, **layout)
    bench.data(tcp_frame(bytes(200)), EOP | RS | TSE, popts=0x3)
    bench.kick()
    assert bench.read("TDH") == bench.read("TDT")


@pytest.mark.parametrize("size", [1, 13, 14])
def test_cve_2020_27617_and_cve_2024_3567_frames_shorter_than_their_headers(bench, size):
    bench.start()
    bench.context(paylen=0, command=0x3 | TSE | RS)
    bench.data(bytes(size), EOP | RS | TSE, popts=0x3)
    bench.data(bytes(size), EOP | RS, popts=0x3)
    bench.kick()
    assert bench.read("TDH") == bench.read("TDT")
    bench.receive(bytes(size))


def test_cve_2016_6834_zero_length_fragments_carry_nothing(bench):
    bench.start()
    for _ in range(3):
        bench.data(b"", RS, length=0)
    bench.data(frame(60), EOP | RS)
    bench.kick()
    assert bench.cable.sent == [frame(60)]
    bench.legacy(b"", EOP | RS)
    bench.kick()
    assert len(bench.cable.sent) == 1


def test_cve_2016_6888_and_cve_2018_17963_a_frame_without_end_is_bounded(bench):
    bench.start(tx=8)
    for _ in range(64):  # 64 times 60,000 bytes, no end of packet
        bench.data(None, RS, length=60_000, address=TX_BUFFERS)
        bench.kick()
        assert len(bench.card.state()["transmitter"]["packet"]["data"]) <= MAX_FRAME
    bench.data(None, EOP | RS, length=1, address=TX_BUFFERS)
    bench.kick()
    assert bench.cable.sent == []


@pytest.mark.parametrize("end", [RS, EOP | RS])
def test_cve_2016_6888_a_frame_of_more_fragments_than_any_table_has_room_for(bench, end):
    bench.start(tx=1024)
    data = frame(1000)
    bench.memory.write(TX_BUFFERS, data)
    for n in range(len(data)):
        bench.data(None, RS, length=1, address=TX_BUFFERS + n)
    bench.data(None, end, length=0)
    bench.kick()
    assert bench.read("TDH") == bench.read("TDT")
    assert bench.cable.sent == ([data] if end & EOP else [])


def test_cve_2018_17963_a_frame_of_many_megabytes_is_dropped_whole(bench):
    bench.start(tx=1024)
    for _ in range(1000):
        bench.data(None, RS, length=0xFFFFF, address=0)
    bench.data(None, EOP | RS, length=0xFFFFF, address=0)
    assert "a frame" in bench.kick()
    assert bench.cable.sent == []
    assert bench.read("TDH") == bench.read("TDT")


def test_cve_2019_5609_a_tso_header_longer_than_the_frame_is_refused(bench):
    bench.start()
    bench.context(paylen=10, command=0x3 | TSE | RS, hdrlen=240)
    bench.data(tcp_frame(bytes(10)), EOP | RS | TSE, popts=0x3)
    assert "no sense" in bench.kick()
    assert bench.cable.sent == []


@pytest.mark.parametrize(
    ("second", "sizes"),
    [
        ({"hdrlen": 0, "mss": 0, "paylen": 0}, []),
        ({"hdrlen": 240, "mss": 1, "paylen": 0xFFFFF}, [241] * 1814),
        ({"hdrlen": 54, "mss": 100, "paylen": 10}, [154] * 20),
        ({"hdrlen": 255, "mss": 0xFFFF, "paylen": 1}, [2054]),
        ({"hdrlen": 54, "mss": 1000, "ipcss": 255, "tucss": 255}, []),
        ({"hdrlen": 54, "mss": 600, "paylen": 2000}, [654, 654, 654, 254]),
    ],
)  # fmt: skip
def test_virtualbox_2018_a_context_in_the_middle_of_a_tse_frame(bench, second, sizes):
    """A header length and a payload that shrink when part of the frame is there already: the frame
    is cut, whole, by the context that stands when it ends."""
    bench.start()
    whole = tcp_frame(bytes(n & 0xFF for n in range(2000)))
    bench.context(paylen=2000, command=0x3 | TSE | RS, hdrlen=54, mss=1460)
    bench.data(whole[:600], RS | TSE, popts=0x3)
    bench.context(**{"command": 0x3 | TSE | RS, **second})
    bench.data(whole[600:], EOP | RS | TSE, popts=0x3, address=TX_BUFFERS + 4096)
    bench.kick()
    assert bench.read("TDH") == bench.read("TDT")
    assert [len(sent) for sent in bench.cable.sent] == sizes
    cut = second["hdrlen"]
    assert b"".join(sent[cut:] for sent in bench.cable.sent) == (whole[cut:] if sizes else b"")


@pytest.mark.parametrize("cso", [60, 59, 255])
def test_cve_2022_23087_a_checksum_offset_past_the_frame_writes_nothing(bench, cso):
    bench.start()
    bench.legacy(frame(60), EOP | RS | IC, cso=cso, css=14)
    bench.kick()
    assert bench.cable.sent == [frame(60)]


def test_a_checksum_start_past_the_end_does_nothing(bench):
    bench.start()
    bench.legacy(frame(60), EOP | RS | IC, cso=24, css=61)
    bench.kick()
    assert bench.cable.sent == [frame(60)]


def test_a_transmit_ring_of_length_0_does_nothing(bench):
    bench.start()
    bench.write("TDLEN", 0)
    bench.card.put("TDT", 5)
    bench.kick()
    assert bench.cable.sent == []


def test_a_receive_ring_of_an_odd_length_is_cut_to_whole_128_bytes(bench):
    bench.start()
    bench.write("RDLEN", 128 + 127)
    assert bench.read("RDLEN") == 128
    bench.write("RDLEN", 127)
    bench.receive(frame(60))
    assert bench.read("MPC") == 1


def test_without_bus_mastering_nothing_is_read_or_written(bench):
    bench.start()
    bench.legacy(frame(60))
    bench.card.config.write(0x04, 2, 0x3)
    assert "master" in bench.kick()
    before = bench.memory.read(RX_RING, 16)
    bench.receive(frame(60))
    assert bench.cable.sent == []
    assert bench.memory.read(RX_RING, 16) == before
    assert bench.memory.read(TX_RING + 12, 1) == b"\0"


def test_moderation_of_zero_or_all_ones_keeps_the_clock_bounded(bench):
    bench.start(rx=64)
    bench.write("RDTR", 0xFFFF)
    bench.write("RADV", 0xFFFF)
    bench.write("ITR", 0xFFFF)
    for _ in range(500):
        bench.receive(frame(60, MAC))
        bench.write("RDT", (bench.read("RDH") - 1) % 64)
    assert bench.read("GPRC") == 500
    live = [timer for timer in bench.clock.timers if timer.callback is not None]
    assert len(live) <= 3
