"""A frame in one line: what is inside, or at least who sent it to whom."""

from unittest.mock import Mock

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykvm.net.summary import summary

A, B = bytes.fromhex("525400000001"), bytes.fromhex("525400000002")
ENDS = "52:54:00:00:00:01 > 52:54:00:00:00:02, "
FOUR = {"src": b"\x0a\0\0\1", "dst": b"\x0a\0\0\2"}


def frame(payload, kind=dpkt.ethernet.ETH_TYPE_IP):
    return bytes(dpkt.ethernet.Ethernet(src=A, dst=B, type=kind, data=payload))


def ip(protocol, payload):
    return frame(dpkt.ip.IP(**FOUR, p=protocol, data=payload, len=20 + len(payload)))


@pytest.mark.parametrize(
    ("data", "inside"),
    [
        (frame(dpkt.arp.ARP(spa=b"\x0a\0\0\1", tpa=b"\x0a\0\0\2"), dpkt.ethernet.ETH_TYPE_ARP),
         "ARP who has 10.0.0.2, 42 bytes"),
        (frame(dpkt.arp.ARP(op=2, sha=A, spa=b"\x0a\0\0\1"), dpkt.ethernet.ETH_TYPE_ARP),
         "ARP 10.0.0.1 is at 52:54:00:00:00:01, 42 bytes"),
        (ip(6, dpkt.tcp.TCP(sport=1, dport=2, seq=3, ack=4, flags=0x12, data=b"abc")),
         "10.0.0.1.1 > 10.0.0.2.2 TCP SA seq 3 ack 4, 3 of data, 57 bytes"),
        (ip(17, dpkt.udp.UDP(sport=5, dport=6, ulen=12, data=b"abcd")),
         "10.0.0.1.5 > 10.0.0.2.6 UDP, 4 of data, 46 bytes"),
        (ip(1, dpkt.icmp.ICMP(type=8, data=dpkt.icmp.ICMP.Echo())),
         "10.0.0.1 > 10.0.0.2 ICMP echo request, 42 bytes"),
        (ip(99, b"?"), "10.0.0.1 > 10.0.0.2 protocol 99, 35 bytes"),
        (frame(b"x" * 4, 0x88B5), "type 0x88b5, 18 bytes"),
    ],
)  # fmt: skip
def test_a_frame_says_what_it_carries(data, inside):
    assert summary(data) == ENDS + inside


@pytest.mark.parametrize("length", [0, 5, 13, 14, 20, 33])
def test_a_frame_cut_short_anywhere_is_still_a_line(length):
    data = ip(6, dpkt.tcp.TCP(sport=1, dport=2, data=b"abc"))[:length]
    assert summary(data).endswith(f", {length} bytes")


FRAGMENT, ROUTING, OPTIONS = 44, 43, 60


@pytest.mark.parametrize("behind", [0, 6, 17, FRAGMENT, ROUTING, OPTIONS, 50, 51, 58, 59])
def test_an_ipv6_fragment_with_another_extension_header_behind_it_is_told_of(behind):
    extensions = bytes((behind, 0, 0, 9, 0, 0, 0, 1)) + bytes((59, *bytes(31)))
    six = bytes((0x60, 0, 0, 0)) + len(extensions).to_bytes(2, "big") + bytes((FRAGMENT, 64))
    data = B + A + b"\x86\xdd" + six + b"\xfe" * 32 + extensions  # dpkt cannot even build it
    assert summary(data).startswith(ENDS)
    assert summary(data).endswith(f", {len(data)} bytes")


@given(
    head=st.sampled_from((b"\x08\x00E", b"\x86\xdd`", b"\x81\0", b"\x88\x47", b"\x88\xcc", b"")),
    data=st.binary(max_size=120), protocol=st.sampled_from((0, 4, 6, 17, 41, 43, 44, 50, 51, 60)),
    hostile=st.sampled_from((None, RecursionError, AttributeError, TypeError, OverflowError)),
)  # fmt: skip
def test_any_frame_has_a_line_whatever_the_parser_raises(head, data, protocol, hostile):
    body = bytearray(B + A + head + data)
    for at in (20, 23):
        if len(body) > at:
            body[at] = protocol
    with pytest.MonkeyPatch.context() as patch:
        if hostile:
            patch.setattr(dpkt.ethernet.Ethernet, "unpack", Mock(side_effect=hostile))
        assert "\n" not in summary(bytes(body))
