"""Successive frames of one TCP flow merged into one that the kernel's GSO cuts into them again.

The reference of ``native/coalesce.h``. A frame is merged only if segmentation makes it anew byte
for byte, so that nobody behind the kernel's segmentation can tell.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from pykvm.net.checksum import checksum, fold, ones_sum
from pykvm.net.vnet import GSO_NONE, GSO_TCPV4, GSO_TCPV6, NEEDS_CSUM, VnetHeader

Sent = tuple[VnetHeader, bytes]
"""What a backend is given: a frame and what it still needs."""

MOST_FRAMES = 64
_MOST_PACKET = 65535  # bytes of IP packet
_SHORTEST = 60  # a shorter frame is padded on its way; segments are not
_IP, _CHECKSUM = 14, 16
_TCP, _PSH, _ACK = 6, 0x08, 0x10


class Segment(NamedTuple):
    """A frame that may be merged: where its TCP header is, how long all headers are, in bytes."""

    frame: bytes
    tcp: int
    size: int
    partial: bool  # the checksum field has the pseudo header's sum, for the kernel to finish

    @property
    def ipv4(self) -> bool:
        return self.tcp == _IP + 20

    @property
    def push(self) -> bool:
        return bool(self.frame[self.tcp + 13] & _PSH)

    @property
    def data(self) -> bytes:
        return self.frame[self.size :]


def _word(frame: bytes | bytearray, at: int) -> int:
    return int.from_bytes(frame[at : at + 2], "big")


def parse(header: VnetHeader, frame: bytes) -> Segment | None:
    """The frame as one to merge, if its headers make it one."""
    packet = len(frame) - _IP
    if len(frame) < _SHORTEST or packet > _MOST_PACKET or header.gso_type != GSO_NONE:
        return None
    kind = _word(frame, 12)
    if kind == 0x0800:  # no options, no fragment (DF or not), no padding behind
        tcp = _IP + 20
        good = frame[14] == 0x45 and _word(frame, 16) == packet
        good = good and not _word(frame, 20) & ~0x4000 and frame[23] == _TCP
    elif kind == 0x86DD:  # no extension headers, no padding behind
        tcp = _IP + 40
        good = frame[14] >> 4 == 6 and _word(frame, 18) == len(frame) - tcp and frame[20] == _TCP
    else:
        return None
    if not good or len(frame) < tcp + 20:
        return None
    size = tcp + (frame[tcp + 12] >> 4) * 4
    if frame[tcp + 12] & 0xF or frame[tcp + 13] & ~_PSH != _ACK:
        return None
    if not tcp + 20 <= size < len(frame):
        return None
    partial = bool(header.flags & NEEDS_CSUM)
    if partial and (header.csum_start, header.csum_offset) != (tcp, _CHECKSUM):
        return None
    return Segment(frame, tcp, size, partial)


def _set_length(headers: bytearray, tcp: int, length: int) -> None:
    """Give a packet its length and IP checksum; ``length`` is that of the frame."""
    if tcp != _IP + 20:
        headers[18:20] = (length - tcp).to_bytes(2, "big")
        return
    headers[16:18] = (length - _IP).to_bytes(2, "big")
    headers[24:26] = bytes(2)
    headers[24:26] = checksum(headers[_IP : _IP + 20]).to_bytes(2, "big")


def _pseudo(headers: bytes | bytearray, tcp: int, length: int) -> int:
    """The sum of the pseudo header for ``length`` bytes of TCP header and data."""
    addresses = headers[26:34] if tcp == _IP + 20 else headers[22:54]
    return fold(ones_sum(addresses) + _TCP + length)


def sums_up(segment: Segment) -> bool:
    """Whether the TCP checksum, or what was left of it to finish, is right. 0 and 0xFFFF mean the
    same, and which of them the kernel makes depends on its way: neither is merged."""
    frame, tcp = segment.frame, segment.tcp
    value = _word(frame, tcp + _CHECKSUM)
    pseudo = _pseudo(frame, tcp, len(frame) - tcp)
    if segment.partial:
        return value == pseudo
    return value not in (0, 0xFFFF) and ones_sum(frame[tcp:], pseudo) == 0xFFFF


@dataclass
class Train:
    """Frames of one flow in a row."""

    segments: list[Segment] = field(default_factory=list)

    def _is_nth(self, segment: Segment, n: int) -> bool:
        """Whether segmentation would make these headers for its nth frame: all but the TCP checksum
        and PSH, which are looked at apart."""
        first = self.segments[0]
        if (segment.tcp, segment.size) != (first.tcp, first.size):
            return False
        tcp, theirs = first.tcp, segment.frame[: segment.size]
        made = bytearray(first.frame[: first.size])
        if first.ipv4:
            made[18:20] = (_word(made, 18) + n & 0xFFFF).to_bytes(2, "big")
        _set_length(made, tcp, len(segment.frame))
        sequence = int.from_bytes(made[tcp + 4 : tcp + 8], "big") + n * len(first.data)
        made[tcp + 4 : tcp + 8] = (sequence & 0xFFFF_FFFF).to_bytes(4, "big")
        made[tcp + 13] = theirs[tcp + 13]
        made[tcp + 16 : tcp + 18] = theirs[tcp + 16 : tcp + 18]
        return made == theirs

    def takes(self, segment: Segment) -> bool:
        """Whether the frame may follow those that are here."""
        if not self.segments:
            return True
        first, last, count = self.segments[0], self.segments[-1], len(self.segments)
        mss, data = len(first.data), len(segment.data)
        length = first.size + sum(len(each.data) for each in self.segments)
        return (
            not last.push
            and len(last.data) == mss
            and count < MOST_FRAMES
            and data <= mss
            and length + data - _IP <= _MOST_PACKET
            and self._is_nth(segment, count)
            and self._is_nth(first, 0)
            and sums_up(first)
            and sums_up(segment)
        )

    def merged(self) -> Sent:
        """All of them in one, for the kernel to cut; at least two."""
        first, last = self.segments[0], self.segments[-1]
        headers = bytearray(first.frame[: first.size])
        data = b"".join(segment.data for segment in self.segments)
        tcp, length = first.tcp, first.size + len(data)
        _set_length(headers, tcp, length)
        headers[tcp + 13] = last.frame[tcp + 13]
        at = tcp + _CHECKSUM
        headers[at : at + 2] = _pseudo(headers, tcp, length - tcp).to_bytes(2, "big")
        kind = GSO_TCPV4 if first.ipv4 else GSO_TCPV6
        mss = len(first.data)
        return VnetHeader(NEEDS_CSUM, kind, first.size, mss, tcp, _CHECKSUM), bytes(headers) + data


def coalesce(frames: Iterable[Sent]) -> list[Sent]:
    """What is to be sent for ``frames``, in order: some merged, the others as they were."""
    out: list[Sent] = []
    train = Train()
    for header, frame in frames:
        segment = parse(header, frame)
        if segment is None:
            train = Train()
        elif train.segments and train.takes(segment):
            train.segments.append(segment)
            out[-1] = train.merged()
            continue
        else:
            train = Train([segment])
        out.append((header, frame))
    return out
