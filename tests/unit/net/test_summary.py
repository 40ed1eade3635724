"""A frame in one line: what is inside, or at least who sent it to whom."""

import dpkt
import pytest

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
