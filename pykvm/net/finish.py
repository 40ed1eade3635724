"""What a virtio-net header asks for, done in software: checksums and segmentation."""

from __future__ import annotations

from collections.abc import Iterator

from pykvm.net.checksum import checksum, fold
from pykvm.net.segment import Layout, segments
from pykvm.net.vnet import (
    GSO_ECN,
    GSO_NONE,
    GSO_TCPV4,
    GSO_TCPV6,
    GSO_UDP_L4,
    NEEDS_CSUM,
    VnetHeader,
)

_ETHERNET, _TAG = 14, 4
_TAGS = (b"\x81\x00", b"\x88\xa8")
_IPV4 = b"\x08\x00"
_MOST_SEGMENTS = 2048


def finish(header: VnetHeader, frame: bytes) -> Iterator[bytes]:
    """The frames as they go on the wire; none when the header makes no sense."""
    if header.gso_type & ~GSO_ECN != GSO_NONE:
        yield from _segmented(header, frame)
    elif header.flags & NEEDS_CSUM:
        at = header.csum_start + header.csum_offset
        if header.csum_start < len(frame) and at + 2 <= len(frame):
            out = bytearray(frame)
            _put_sum(out, at, checksum(memoryview(out)[header.csum_start :]))
            yield bytes(out)
    else:
        yield frame


def _put_sum(out: bytearray, at: int, value: int) -> None:
    """A sum of 0 is written as its other form: in UDP 0 says that there is none (RFC 768)."""
    out[at : at + 2] = (value or 0xFFFF).to_bytes(2, "big")


def _network_header(frame: bytes) -> tuple[int, bytes]:
    """Where the IP header is, behind up to two VLAN tags, and the Ethernet type of it."""
    at = _ETHERNET
    while frame[at - 2 : at] in _TAGS and at < _ETHERNET + 2 * _TAG:
        at += _TAG
    return at, frame[at - 2 : at]


def _segmented(header: VnetHeader, frame: bytes) -> Iterator[bytes]:
    kind = header.gso_type & ~GSO_ECN
    if kind not in (GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4) or not header.flags & NEEDS_CSUM:
        return
    tcp = kind != GSO_UDP_L4
    ip, ethertype = _network_header(frame)
    ipv4 = kind == GSO_TCPV4 or (not tcp and ethertype == _IPV4)
    transport = header.csum_start
    if len(frame) < transport + (20 if tcp else 8):
        return
    length = (frame[transport + 12] >> 4) * 4 if tcp else 8
    at = transport + header.csum_offset
    layout = Layout(
        ip=ip, transport=transport, checksum_at=at, header=transport + length,
        mss=header.gso_size, ipv4=ipv4, tcp=tcp, ip_checksum=ipv4, ip_checksum_at=ip + 10,
    )  # fmt: skip
    payload = len(frame) - layout.header
    if not layout.fits() or payload < 0 or payload > header.gso_size * _MOST_SEGMENTS:
        return
    # The driver's sum has the whole length in it, a card's does not.
    out = bytearray(frame)
    partial = int.from_bytes(out[at : at + 2], "big") + (~(len(out) - transport) & 0xFFFF)
    out[at : at + 2] = fold(partial).to_bytes(2, "big")
    for segment in segments(bytes(out), layout):
        sent = bytearray(segment)
        _put_sum(sent, at, int.from_bytes(sent[at : at + 2], "big"))
        yield bytes(sent)
