"""Frames through the card's rings, both ways."""

import itertools
import struct
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pykvm.net.checksum import ones_sum
from pykvm.net.vnet import GSO_TCPV4, NEEDS_CSUM, Offload

from .conftest import EOP, IC, IDE, MAC, RS, TSE, VLE, frame

SECRC, LPE, UPE, MPE, BAM, EN = 1 << 26, 1 << 5, 1 << 3, 1 << 4, 1 << 15, 1 << 1
BROADCAST = b"\xff" * 6
MULTICAST = bytes.fromhex("01005e000005")


def tcp_frame(payload, *, ident=7, seq=0x1000, flags=0x19):
    """Ethernet, IPv4, TCP; lengths and checksums as a driver leaves them for TSO."""
    total = 0
    ip = struct.pack(
        ">BBHHHBBH4s4s", 0x45, 0, total, ident, 0, 64, 6, 0, b"\x0a\0\0\1", b"\x0a\0\0\2"
    )
    pseudo = ones_sum(ip[12:20]) + 6
    tcp = struct.pack(">HHIIBBHHH", 80, 81, seq, 0, 5 << 4, flags, 1000, pseudo & 0xFFFF, 0)
    return MAC + b"\2\0\0\0\0\1" + b"\x08\0" + ip + tcp + payload


def check_tcp(packet):
    """Both checksums of an IPv4 TCP frame; returns (ident, seq, flags, payload)."""
    ip = packet[14:34]
    total = int.from_bytes(ip[2:4], "big")
    assert total == len(packet) - 14
    assert ones_sum(ip) == 0xFFFF
    segment = packet[34:]
    assert ones_sum(segment, ones_sum(ip[12:20]) + 6 + len(segment)) == 0xFFFF
    ident, seq = int.from_bytes(ip[4:6], "big"), int.from_bytes(segment[4:8], "big")
    return ident, seq, segment[13], segment[20:]


# -- transmitting -----------------------------------------------------------------------------


def test_a_legacy_frame_goes_out_and_is_written_back(bench):
    bench.start()
    bench.legacy(frame(60))
    bench.write("IMS", 0x1)
    assert bench.kick() is None
    assert bench.cable.sent == [frame(60)]
    assert bench.done(0)
    assert bench.read("TDH") == 1
    assert bench.line.level
    assert bench.read("ICR") & 0x3 == 0x3  # TXDW, TXQE


def test_nothing_is_sent_while_the_transmitter_is_off_and_all_of_it_when_it_comes_on(bench):
    bench.start(tctl=0)
    bench.legacy(frame(60))
    bench.kick()
    assert bench.cable.sent == []
    bench.write("TCTL", 0x2)
    assert bench.cable.sent == [frame(60)]


def test_without_rs_nothing_is_written_back_and_no_txdw_is_raised(bench):
    bench.start()
    bench.legacy(frame(60), EOP)
    bench.kick()
    assert not bench.done(0)
    assert bench.read("ICR") & 0x3 == 0x2


def test_a_frame_may_span_descriptors_and_kicks(bench):
    bench.start()
    whole = frame(300)
    bench.legacy(whole[:100], RS)
    bench.kick()
    assert bench.cable.sent == []
    bench.legacy(whole[100:], EOP | RS)
    bench.kick()
    assert bench.cable.sent == [whole]


def test_the_ring_wraps(bench):
    bench.start(tx=8)
    for n in range(50):
        bench.legacy(frame(60 + n))
        bench.kick()
    assert [len(sent) for sent in bench.cable.sent] == list(range(60, 110))


def test_short_frames_are_padded_when_psp_says_so(bench):
    bench.start(tctl=0x2 | 0x8)
    bench.legacy(frame(20))
    bench.kick()
    assert bench.cable.sent == [frame(20).ljust(60, b"\0")]


def test_a_legacy_checksum_is_inserted(bench):
    bench.start()
    packet = bytearray(frame(60))
    packet[24:26] = b"\0\0"
    bench.legacy(bytes(packet), EOP | RS | IC, css=14, cso=24)
    bench.kick()
    assert ones_sum(bench.cable.sent[0][14:]) == 0xFFFF


def test_context_and_data_descriptors_fill_in_both_checksums(bench):
    bench.start()
    packet = bytearray(tcp_frame(b"hello"))
    packet[16:18] = (len(packet) - 14).to_bytes(2, "big")
    at = 50
    partial = int.from_bytes(packet[at : at + 2], "big") + len(packet) - 34
    packet[at : at + 2] = partial.to_bytes(2, "big")
    bench.context()
    bench.data(bytes(packet), popts=0x3)
    bench.kick()
    assert check_tcp(bench.cable.sent[0])[3] == b"hello"


@pytest.mark.parametrize("size", [1, 1460, 1461, 2920, 30000])
def test_tso_cuts_a_segment_into_frames(bench, size):
    bench.start()
    payload = bytes(n * 7 & 0xFF for n in range(size))
    bench.context(paylen=size, command=0x3 | TSE)
    bench.data(tcp_frame(payload), EOP | RS | TSE, popts=0x3)
    bench.kick()
    cut = [check_tcp(packet) for packet in bench.cable.sent]
    assert b"".join(part for *_, part in cut) == payload
    assert [ident for ident, *_ in cut] == [7 + n for n in range(len(cut))]
    assert [seq for _, seq, *_ in cut] == [0x1000 + 1460 * n for n in range(len(cut))]
    assert all(not flags & 0x09 for _, _, flags, _ in cut[:-1])
    assert cut[-1][2] == 0x19
    assert bench.read("TSCTC") == 1


def test_tso_is_handed_over_whole_to_a_backend_that_cuts(bench):
    bench.start()
    bench.cable.offloads = Offload.CSUM | Offload.TSO4
    bench.context(paylen=5000, command=0x3 | TSE)
    bench.data(tcp_frame(bytes(5000)), EOP | RS | TSE, popts=0x3)
    bench.kick()
    (packet,), (header,) = bench.cable.sent, bench.cable.headers
    assert (header.flags, header.gso_type, header.gso_size) == (NEEDS_CSUM, GSO_TCPV4, 1460)
    assert (header.hdr_len, header.csum_start, header.csum_offset) == (54, 34, 16)
    assert int.from_bytes(packet[16:18], "big") == len(packet) - 14
    assert ones_sum(packet[14:34]) == 0xFFFF
    pseudo = ones_sum(packet[26:34]) + 6 + len(packet) - 34
    assert int.from_bytes(packet[50:52], "big") == pseudo
    assert bench.read("GPTC") == 4


def test_a_vlan_tag_is_inserted(bench):
    bench.start()
    bench.write("CTRL", bench.read("CTRL") | 1 << 30)
    bench.legacy(frame(60), EOP | RS | VLE, special=0x2005)
    bench.kick()
    assert bench.cable.sent == [frame(60)[:12] + b"\x81\0\x20\x05" + frame(60)[12:]]


def test_a_delayed_write_back_waits_for_its_timer(bench):
    bench.start()
    bench.write("IMS", 0x1)
    bench.write("TIDV", 100)
    bench.legacy(frame(60), EOP | RS | IDE)
    bench.kick()
    assert not bench.line.level
    bench.clock.advance(100 * 1024)
    assert bench.line.level


# -- receiving --------------------------------------------------------------------------------


def test_a_frame_comes_in_and_is_reported(bench):
    bench.start()
    bench.write("IMS", 0x80)
    bench.cable.receiver.receive(frame(100))
    length, _, status, errors, _ = bench.received(0)
    assert (length, errors) == (100, 0)
    assert status & 0x3 == 0x3
    assert bench.buffer(0, 100) == frame(100)
    assert bench.read("RDH") == 1
    assert bench.line.level


def test_the_frame_check_sequence_is_stored_unless_stripped(bench):
    bench.start(rctl=EN | BAM)
    bench.cable.receiver.receive(frame(100))
    assert bench.received(0)[0] == 104
    assert bench.buffer(0, 104)[100:] == zlib.crc32(frame(100)).to_bytes(4, "little")


@pytest.mark.parametrize(
    ("bits", "size"),
    [(0, 2048), (1 << 16, 1024), (2 << 16, 512), (3 << 16, 256), (1 << 25 | 1 << 16, 16384),
     (1 << 25 | 2 << 16, 8192), (1 << 25 | 3 << 16, 4096)],
)  # fmt: skip
def test_buffers_of_all_sizes_are_filled(bench, bits, size):
    bench.start(rctl=EN | BAM | SECRC | LPE | bits, rx=64)
    packet = frame(9000)
    bench.cable.receiver.receive(packet)
    used = -(-9000 // size)
    assert b"".join(bench.buffer(n, min(size, 9000 - n * size)) for n in range(used)) == packet
    assert [bench.received(n)[2] & 2 for n in range(used)] == [0] * (used - 1) + [2]
    assert bench.read("RDH") == used


def test_without_a_descriptor_the_frame_is_dropped_counted_and_told(bench):
    bench.start(rx=8)
    for _ in range(9):
        bench.cable.receiver.receive(frame(60))
    assert bench.read("MPC") == 2
    assert bench.read("RNBC") == 2
    assert bench.read("ICR") & 0x40
    assert bench.read("GPRC") == 7


def test_a_starved_card_says_so_and_wakes_its_backend_when_it_is_fed(bench):
    bench.start(rx=8)
    while bench.cable.receiver.can_receive():
        bench.cable.receiver.receive(frame(60))
    assert bench.cable.resumed == 0
    bench.write("RDT", (bench.read("RDT") + 1) % 8)
    assert bench.cable.resumed == 1
    assert bench.cable.receiver.can_receive()


@pytest.mark.parametrize(
    ("destination", "bits", "taken"),
    [
        (MAC, 0, True),
        (bytes.fromhex("525400999999"), 0, False),
        (bytes.fromhex("525400999999"), UPE, True),
        (BROADCAST, 0, False),
        (BROADCAST, BAM, True),
        (MULTICAST, 0, False),
        (MULTICAST, MPE, True),
        (MULTICAST, UPE, False),
    ],
)
def test_addresses_are_filtered(bench, destination, bits, taken):
    bench.start(rctl=EN | SECRC | bits)
    bench.cable.receiver.receive(frame(60, destination))
    assert (bench.read("GPRC") == 1) == taken


@pytest.mark.parametrize(("mo", "shift"), [(0, 4), (1, 3), (2, 2), (3, 0)])
def test_the_multicast_table_is_indexed_by_mo(bench, mo, shift):
    bench.start(rctl=EN | SECRC | mo << 12)
    index = (MULTICAST[5] << 8 | MULTICAST[4]) >> shift & 0xFFF
    bench.write("MTA", 1 << (index & 31), index >> 5)
    bench.cable.receiver.receive(frame(60, MULTICAST))
    assert bench.read("MPRC") == 1


def test_long_frames_need_lpe(bench):
    bench.start()
    bench.cable.receiver.receive(frame(1519))
    assert bench.read("ROC") == 1
    bench.cable.receiver.receive(frame(1518))
    assert bench.read("GPRC") == 1


def test_a_vlan_tag_is_filtered_and_stripped(bench):
    bench.start(rctl=EN | SECRC | 1 << 18)
    bench.write("CTRL", bench.read("CTRL") | 1 << 30)
    plain = frame(100)
    tagged = plain[:12] + b"\x81\0\x20\x05" + plain[12:]
    bench.cable.receiver.receive(tagged)
    assert bench.read("GPRC") == 0
    bench.write("VFTA", 1 << 5, 0)
    bench.cable.receiver.receive(tagged)
    length, _, status, _, special = bench.received(0)
    assert (length, special) == (100, 0x2005)
    assert status & 0x8
    assert bench.buffer(0, 100) == plain


@pytest.mark.parametrize("broken", ["nothing", "ip", "tcp"])
def test_receive_checksums_are_checked(bench, broken):
    bench.start()
    bench.write("RXCSUM", 0x300)
    bench.context(paylen=100, command=0x3 | TSE)
    bench.data(tcp_frame(bytes(100)), EOP | RS | TSE, popts=0x3)
    bench.kick()
    packet = bytearray(bench.cable.sent[0])
    if broken == "ip":
        packet[22] ^= 1
    elif broken == "tcp":
        packet[60] ^= 1
    bench.cable.receiver.receive(bytes(packet))
    _, _, status, errors, _ = bench.received(0)
    assert status & 0x60 == 0x60
    assert errors == {"nothing": 0, "ip": 0x40, "tcp": 0x20}[broken]


def test_the_delay_timer_and_its_absolute_bound(bench):
    bench.start(rx=64)
    bench.write("IMS", 0x80)
    bench.write("RDTR", 100)
    bench.write("RADV", 150)
    for _ in range(2):
        bench.cable.receiver.receive(frame(60))
        bench.clock.advance(90 * 1024)
        level = bench.line.level
    assert level  # the second frame restarted the timer, the first one's bound was over


def test_mac_loopback_returns_frames_and_keeps_them_off_the_cable(bench):
    bench.start(rctl=EN | SECRC | UPE | 1 << 6)
    bench.legacy(frame(100))
    bench.kick()
    assert bench.cable.sent == []
    assert bench.buffer(0, 100) == frame(100)


def test_a_frame_needs_a_link(bench):
    bench.start()
    bench.card.set_link(False)
    bench.legacy(frame(60))
    bench.kick()
    bench.cable.receiver.receive(frame(60))
    assert bench.cable.sent == []
    assert bench.read("GPRC") == 0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(sizes=st.lists(st.integers(14, 4000), min_size=1, max_size=20),
       cuts=st.lists(st.integers(1, 3999), max_size=3), kicks=st.integers(1, 7))  # fmt: skip
def test_whatever_is_sent_arrives_once_in_order_and_whole(bench, sizes, cuts, kicks):
    bench.card.reset()
    bench.cable.sent.clear()
    bench.start(tx=8, tctl=0x2)
    waiting = 0
    for size in sizes:
        whole = frame(size)
        edges = [0, *sorted({cut for cut in cuts if cut < size}), size]
        pieces = [whole[a:b] for a, b in itertools.pairwise(edges)]
        for n, piece in enumerate(pieces):
            bench.legacy(piece, RS | (EOP if n == len(pieces) - 1 else 0))
            waiting += 1
            if waiting >= kicks:
                bench.kick()
                waiting = 0
    bench.kick()
    assert bench.cable.sent == [frame(size) for size in sizes]
    assert bench.read("TDH") == bench.read("TDT")
