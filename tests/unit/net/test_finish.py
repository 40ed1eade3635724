"""What a virtio-net header asks for, done in software, as receivers want it."""

import struct

import pytest

from pykvm.net.checksum import ones_sum
from pykvm.net.finish import finish
from pykvm.net.vnet import (
    GSO_NONE,
    GSO_TCPV4,
    GSO_TCPV6,
    GSO_UDP,
    GSO_UDP_L4,
    NEEDS_CSUM,
    VnetHeader,
)  # fmt: skip

MACS = b"\x52\x54\0\x12\x34\x56" + b"\x02\0\0\0\0\x01"
TAGS = {0: b"", 1: b"\x81\x00\x20\x05", 2: b"\x88\xa8\x00\x07\x81\x00\x20\x05"}
TCP, UDP = 6, 17
FIN_PSH_ACK = 0x19


def packet(protocol, payload, *, version=4, tags=0, ident=7):
    """A frame as a driver leaves it for the device: lengths are the whole's, the checksum field has
    the pseudo header's sum. Returns (frame, where IP starts, where the transport starts)."""
    if protocol == TCP:
        transport = struct.pack(">HHIIBBHHH", 80, 81, 0xFFFF_FF00, 9, 0x50, FIN_PSH_ACK, 999, 0, 0)
    else:
        transport = struct.pack(">HHHH", 53, 54, 8 + len(payload), 0)
    size = len(transport) + len(payload)
    if version == 4:
        head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + size, ident, 0x4000, 64, protocol, 0)
        addresses = b"\x0a\0\0\1\x0a\0\0\2"
        ethertype = b"\x08\x00"
    else:
        head = struct.pack(">IHBB", 6 << 28, size, protocol, 64)
        addresses = bytes(15) + b"\1" + bytes(15) + b"\2"
        ethertype = b"\x86\xdd"
    ip = 14 + len(TAGS[tags])
    start = ip + len(head) + len(addresses)
    at = 16 if protocol == TCP else 6
    pseudo = ones_sum(addresses, protocol + size)
    transport = transport[:at] + pseudo.to_bytes(2, "big") + transport[at + 2 :]
    return MACS + TAGS[tags] + ethertype + head + addresses + transport + payload, ip, start


def request(protocol, kind, mss, start, *, flags=NEEDS_CSUM):
    length = start + (20 if protocol == TCP else 8)
    return VnetHeader(flags, kind, length, mss, start, 16 if protocol == TCP else 6)


def right(frame, protocol, ip, start, version):
    """Lengths and checksums are those of this very frame."""
    addresses = frame[ip + 12 : ip + 20] if version == 4 else frame[ip + 8 : ip + 40]
    if version == 4:
        assert int.from_bytes(frame[ip + 2 : ip + 4], "big") == len(frame) - ip
        assert ones_sum(frame[ip : ip + 20]) == 0xFFFF
    else:
        assert int.from_bytes(frame[ip + 4 : ip + 6], "big") == len(frame) - ip - 40
    if protocol == UDP:
        assert int.from_bytes(frame[start + 4 : start + 6], "big") == len(frame) - start
    assert ones_sum(frame[start:], ones_sum(addresses, protocol + len(frame) - start)) == 0xFFFF
    return True


@pytest.mark.parametrize("tags", [0, 1, 2])
@pytest.mark.parametrize("version", [4, 6])
def test_tcp_is_cut_into_segments_that_receivers_accept(version, tags):
    payload = bytes(n * 7 & 0xFF for n in range(3500))
    whole, ip, start = packet(TCP, payload, version=version, tags=tags)
    kind = GSO_TCPV4 if version == 4 else GSO_TCPV6
    frames = list(finish(request(TCP, kind, 1000, start), whole))
    assert [len(frame) - start - 20 for frame in frames] == [1000, 1000, 1000, 500]
    assert b"".join(frame[start + 20 :] for frame in frames) == payload
    for n, frame in enumerate(frames):
        assert right(frame, TCP, ip, start, version)
        assert frame[:ip] == whole[:ip]
        sequence = 0xFFFF_FF00 + 1000 * n & 0xFFFF_FFFF
        assert int.from_bytes(frame[start + 4 : start + 8], "big") == sequence
        assert frame[start + 13] == (FIN_PSH_ACK if n == 3 else 0x10)
        if version == 4:
            assert int.from_bytes(frame[ip + 4 : ip + 6], "big") == 7 + n


@pytest.mark.parametrize("tags", [0, 1, 2])
@pytest.mark.parametrize("version", [4, 6])
def test_udp_is_cut_into_datagrams_that_receivers_accept(version, tags):
    whole, ip, start = packet(UDP, bytes(range(250)), version=version, tags=tags)
    frames = list(finish(request(UDP, GSO_UDP_L4, 100, start), whole))
    assert [len(frame) - start - 8 for frame in frames] == [100, 100, 50]
    assert b"".join(frame[start + 8 :] for frame in frames) == bytes(range(250))
    assert all(right(frame, UDP, ip, start, version) for frame in frames)


@pytest.mark.parametrize("protocol", [TCP, UDP])
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("size", [0, 1, 99])
def test_a_checksum_is_filled_in(protocol, version, size):
    whole, ip, start = packet(protocol, bytes(size), version=version, tags=1)
    if version == 4:  # the driver's own work
        value = ~ones_sum(whole[ip : ip + 20]) & 0xFFFF
        whole = whole[: ip + 10] + value.to_bytes(2, "big") + whole[ip + 12 :]
    (frame,) = finish(request(protocol, GSO_NONE, 0, start), whole)
    assert right(frame, protocol, ip, start, version)


def test_a_sum_of_zero_is_never_written_since_that_means_none():
    for cut in (False, True):
        for odd in range(1 << 16):
            payload = odd.to_bytes(2, "big")
            whole, _, start = packet(UDP, payload)
            if ones_sum(whole[start:]) == 0xFFFF:
                break
        kind = GSO_UDP_L4 if cut else GSO_NONE
        (frame,) = finish(request(UDP, kind, 10, start), whole)
        assert frame[start + 6 : start + 8] == b"\xff\xff"


def test_what_asks_for_nothing_stays_as_it_is():
    whole, _, start = packet(TCP, b"x" * 99)
    assert list(finish(VnetHeader(), whole)) == [whole]
    assert list(finish(VnetHeader(0, GSO_NONE, 5, 6, start, 16), whole)) == [whole]


@pytest.mark.parametrize(
    "header",
    [
        VnetHeader(NEEDS_CSUM, GSO_NONE, 0, 0, 2000, 0),  # starts past the end
        VnetHeader(NEEDS_CSUM, GSO_NONE, 0, 0, 34, 0xFFFF),
        VnetHeader(NEEDS_CSUM, GSO_NONE, 0, 0, 0xFFFF, 0xFFFF),
        VnetHeader(NEEDS_CSUM, GSO_TCPV4, 54, 0, 34, 16),  # no payload per segment
        VnetHeader(NEEDS_CSUM, GSO_TCPV4, 54, 100, 20, 16),  # inside the IP header
        VnetHeader(NEEDS_CSUM, GSO_TCPV4, 54, 100, 0, 0),
        VnetHeader(NEEDS_CSUM, GSO_TCPV4, 54, 100, 1030, 16),  # no room for a TCP header
        VnetHeader(NEEDS_CSUM, GSO_TCPV4, 54, 100, 34, 900),  # the sum in the payload
        VnetHeader(NEEDS_CSUM, GSO_TCPV6, 54, 100, 34, 16),  # an IPv4 packet's place
        VnetHeader(0, GSO_TCPV4, 54, 100, 34, 16),
        VnetHeader(NEEDS_CSUM, GSO_UDP, 54, 100, 34, 6),
        VnetHeader(NEEDS_CSUM, 0x7F, 54, 100, 34, 16),
    ],
)
def test_a_request_that_makes_no_sense_sends_nothing(header):
    whole, _, _ = packet(TCP, bytes(980))
    assert list(finish(header, whole)) == []


def test_one_byte_per_segment_is_bounded():
    whole, _, start = packet(TCP, bytes(3000))
    assert list(finish(request(TCP, GSO_TCPV4, 1, start), whole)) == []
