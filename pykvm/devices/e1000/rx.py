"""The receive ring, in Python: the reference that says what receiving means (manual, 3.2).

A descriptor is 16 bytes: address 8 | length 2, checksum 2, status 1, errors 1, special 2.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Any

from pykvm.devices.e1000.registers import RCTL, RXCSUM
from pykvm.devices.pci.dma import BusMaster
from pykvm.net.checksum import ones_sum
from pykvm.registers import Register, fields

DESCRIPTOR = 16
_RESULT = struct.Struct("<HHBBH")
_DD, _EOP, _IXSM, _VP, _TCPCS, _IPCS = 0x01, 0x02, 0x04, 0x08, 0x20, 0x40
_TCPE, _IPE = 0x20, 0x40
_STATUS = Register(
    "STATUS", 0, fields=fields("DD:0 EOP:1 IXSM:2 VP:3 UDPCS:4 TCPCS:5 IPCS:6 PIF:7")
)
_BSEX, _SECRC = RCTL["BSEX"].mask, RCTL["SECRC"].mask
_SIZES = (2048, 1024, 512, 256)
_IPOFL, _TUOFL = RXCSUM["IPOFL"].mask, RXCSUM["TUOFL"].mask
_IPV4, _TCP, _UDP = 0x0800, 6, 17
MAX_FRAME = 16384


def buffer_size(rctl: int) -> int:
    """Bytes of each receive buffer (13.4.22: BSIZE and BSEX)."""
    size = _SIZES[RCTL["BSIZE"].get(rctl)]
    return size * 16 if rctl & _BSEX and size != 2048 else size


def room(length: int, head: int, tail: int) -> int:
    """Descriptors that the card may fill; 0 for registers that make no ring."""
    count = length // DESCRIPTOR
    if head >= count or tail >= count:
        return 0
    return (tail - head) % count


@dataclass
class Received:
    """Where the ring stands after a frame, and what was written into which descriptor."""

    head: int
    rows: list[dict[str, Any]]


def store(
    dma: BusMaster, frame: bytes, vlan: int | None, *, base: int, length: int, head: int, rctl: int,
    rxcsum: int, packet: bytes,
) -> Received:  # fmt: skip
    """Write ``frame`` into the ring from ``head`` on; there must be room for it.

    ``packet`` is the frame as it came, with its tag, which the checksums are taken over. Raises
    DeviceError when ring or buffers are not RAM.
    """
    if not rctl & _SECRC:  # the frame check sequence is stored, too, unless it is stripped
        frame += zlib.crc32(packet).to_bytes(4, "little")
    size = buffer_size(rctl)
    count = length // DESCRIPTOR
    status, errors, csum = offload(frame, rxcsum)
    rows = []
    pieces = [frame[at : at + size] for at in range(0, len(frame), size)]
    for number, piece in enumerate(pieces):
        at = base + head * DESCRIPTOR
        address = int.from_bytes(dma.read(at, 8), "little")
        if address:  # a null descriptor is used up without data
            dma.write(address, piece)
        last = number == len(pieces) - 1
        flags = _DD | (status | _EOP if last else 0)
        if vlan is not None and last:
            flags |= _VP
        row = _RESULT.pack(len(piece), csum if last else 0, flags, errors if last else 0, vlan or 0)
        dma.write(at + 8, row)
        rows.append(
            {
                "index": head,
                "address": address,
                "length": len(piece),
                "status": _STATUS.decode(flags).replace(" ", "|"),
            }
        )
        head = (head + 1) % count
    return Received(head, rows)


def offload(frame: bytes, rxcsum: int) -> tuple[int, int, int]:
    """(status, errors, packet checksum) that receive checksum offload yields (3.2.9)."""
    start = RXCSUM["PCSS"].get(rxcsum)
    packet_sum = ones_sum(frame[start:])
    if not rxcsum & (_IPOFL | _TUOFL):
        return _IXSM, 0, packet_sum
    ip = frame[14:]
    if int.from_bytes(frame[12:14], "big") != _IPV4 or len(ip) < 20 or ip[0] >> 4 != 4:
        return _IXSM, 0, packet_sum
    header = (ip[0] & 0xF) * 4
    total = int.from_bytes(ip[2:4], "big")
    if header < 20 or total < header or total > len(ip):
        return _IXSM, 0, packet_sum
    status = errors = 0
    if rxcsum & _IPOFL:
        status |= _IPCS
        errors |= 0 if ones_sum(ip[:header]) == 0xFFFF else _IPE
    fragment = int.from_bytes(ip[6:8], "big") & 0x3FFF
    segment = ip[header:total]
    wanted = ip[9] == _TCP or (ip[9] == _UDP and segment[6:8] != b"\0\0")
    if rxcsum & _TUOFL and wanted and not fragment:
        pseudo = ones_sum(ip[12:20]) + ip[9] + len(segment)
        status |= _TCPCS
        errors |= 0 if ones_sum(segment, pseudo) == 0xFFFF else _TCPE
    return status, errors, packet_sum
