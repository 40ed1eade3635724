"""TCP segmentation in software: one big segment into frames of at most MSS payload bytes.

What a card's TSO and the kernel's GSO both do: headers are repeated, lengths, IP identification and
TCP sequence numbers follow, FIN and PSH stay on the last, checksums are made anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pykvm.net.checksum import checksum

_FIN_PSH = 0x09


class Layout(NamedTuple):
    """Where a frame's headers are, in bytes from its start, and what is to be done with them."""

    ip: int  # IPCSS
    transport: int  # TUCSS
    checksum_at: int  # TUCSO
    header: int  # HDRLEN: bytes of all headers
    mss: int
    ipv4: bool
    tcp: bool
    ip_checksum: bool
    ip_checksum_at: int = 0
    transport_checksum: bool = True

    def fits(self) -> bool:
        """Whether every field that segmentation changes lies inside the headers."""
        ip_end = self.ip + (20 if self.ipv4 else 40)
        transport_end = self.transport + (20 if self.tcp else 8)
        return (
            self.mss > 0
            and ip_end <= self.transport
            and transport_end <= self.header
            and self.checksum_at + 2 <= self.header
            and (not self.ip_checksum or self.ip_checksum_at + 2 <= self.transport)
        )


def _put16(frame: bytearray, at: int, value: int) -> None:
    frame[at : at + 2] = (value & 0xFFFF).to_bytes(2, "big")


def _get(frame: bytes | bytearray, at: int, size: int) -> int:
    return int.from_bytes(frame[at : at + size], "big")


def segments(frame: bytes, layout: Layout) -> Iterator[bytes]:
    """The frames. ``layout.fits()`` must hold and the frame be longer than its headers.

    The checksum field holds the sum of the pseudo header without the length, as drivers leave it
    for a card (manual of the 8254x, 3.5.7).
    """
    header, payload = frame[: layout.header], frame[layout.header :]
    sequence = _get(header, layout.transport + 4, 4)
    ident = _get(header, layout.ip + 4, 2)
    partial = _get(header, layout.checksum_at, 2)
    for number, at in enumerate(range(0, max(len(payload), 1), layout.mss)):
        part = payload[at : at + layout.mss]
        out = bytearray(header + part)
        length = len(out) - layout.transport
        if layout.ipv4:
            _put16(out, layout.ip + 4, ident + number)
        set_lengths(out, layout, len(out))
        if layout.tcp:
            out[layout.transport + 4 : layout.transport + 8] = (
                sequence + at & 0xFFFF_FFFF
            ).to_bytes(4, "big")
            if at + layout.mss < len(payload):
                out[layout.transport + 13] &= ~_FIN_PSH
        if layout.transport_checksum:
            _put16(out, layout.checksum_at, 0)
            value = checksum(memoryview(out)[layout.transport :], partial + length)
            _put16(out, layout.checksum_at, value)
        yield bytes(out)


def set_lengths(out: bytearray, layout: Layout, total: int) -> None:
    """The IP (and UDP) length fields for a frame of ``total`` bytes, and the IP header's sum."""
    if layout.ipv4:
        _put16(out, layout.ip + 2, total - layout.ip)
    else:
        _put16(out, layout.ip + 4, total - layout.ip - 40)
    if not layout.tcp:
        _put16(out, layout.transport + 4, total - layout.transport)
    if layout.ip_checksum:
        _put16(out, layout.ip_checksum_at, 0)
        value = checksum(memoryview(out)[layout.ip : layout.transport])
        _put16(out, layout.ip_checksum_at, value)
