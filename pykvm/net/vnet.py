"""The virtio-net header: what a frame still needs, as TAP devices and virtio cards say it.

Layout and meaning: VIRTIO 1.2, section 5.1.6; ``struct virtio_net_hdr`` in <linux/virtio_net.h>.
"""

from __future__ import annotations

import struct
from enum import IntFlag
from typing import NamedTuple

_FORMAT = struct.Struct("<BBHHHH")
SIZE = _FORMAT.size
MERGEABLE_SIZE = SIZE + 2
"""With ``num_buffers`` behind it."""

NEEDS_CSUM = 1
GSO_NONE, GSO_TCPV4, GSO_UDP, GSO_TCPV6, GSO_UDP_L4, GSO_ECN = 0, 1, 3, 4, 5, 0x80
ETHERNET = 14


class Offload(IntFlag):
    """What a side can finish for the other."""

    NONE = 0
    CSUM = 1
    TSO4 = 2
    TSO6 = 4
    USO4 = 8
    USO6 = 16
    OTHER = 32
    """What nobody finishes: a request that is none of the above."""


class VnetHeader(NamedTuple):
    """Sizes and offsets in bytes from the start of the frame."""

    flags: int = 0
    gso_type: int = GSO_NONE
    hdr_len: int = 0
    gso_size: int = 0
    csum_start: int = 0
    csum_offset: int = 0

    @property
    def needs(self) -> Offload:
        """What has to be finished."""
        kinds = {
            GSO_NONE: Offload.CSUM if self.flags & NEEDS_CSUM else Offload.NONE,
            GSO_TCPV4: Offload.TSO4, GSO_TCPV6: Offload.TSO6,
            GSO_UDP_L4: Offload.USO4 | Offload.USO6,
        }  # fmt: skip
        return kinds.get(self.gso_type & ~GSO_ECN, Offload.OTHER)

    def admitted(self, size: int, requests: int) -> VnetHeader | None:
        """The header with which a driver's frame of ``size`` bytes may leave; None for one that
        makes no sense, or asks for more than was negotiated (VIRTIO 1.2, 5.1.6.2).

        ``requests`` is what it may ask for: bit 0 a checksum, bit N a gso_type of N, bit 7 that ECN
        is kept. Flags but NEEDS_CSUM are a device's to set, or of a later specification. A device
        ignores them (5.1.6.2.2), as others do: such frames leave, with the flags cleared. What
        asks for nothing may have anything in the fields that say how.
        """
        header = self._replace(flags=self.flags & NEEDS_CSUM)
        if self.hdr_len > size:
            return None
        if header.flags:
            end = self.csum_start + self.csum_offset + 2
            if not requests & 1 or self.csum_start < ETHERNET or end > size:
                return None
        if self.gso_type != GSO_NONE:
            kind = self.gso_type & ~GSO_ECN
            ecn_kept = requests & GSO_ECN and kind in (GSO_TCPV4, GSO_TCPV6)
            if self.gso_type & GSO_ECN and not ecn_kept:
                return None
            if not header.flags or not self.gso_size or not 1 << kind & requests & ~GSO_ECN:
                return None
        return header

    def pack(self) -> bytes:
        return _FORMAT.pack(*self)

    @classmethod
    def unpack(cls, data: bytes) -> VnetHeader:
        """From the first 10 bytes; raises ValueError when there are fewer."""
        if len(data) < SIZE:
            raise ValueError(f"a virtio-net header has {SIZE} bytes, not {len(data)}")
        return cls(*_FORMAT.unpack_from(data))
