"""Frames to measure and test with: plain ones of any size, a TCP flow, a request to segment."""

from __future__ import annotations

from pykvm.net.checksum import checksum, ones_sum
from pykvm.net.vnet import GSO_TCPV4, NEEDS_CSUM, VnetHeader

MSS, SEGMENTS = 1460, 44
DESTINATION, SOURCE = bytes.fromhex("020000000001"), bytes.fromhex("525400123456")
EXPERIMENTAL = b"\x88\xb5"
_IP = bytes.fromhex("4500000000014000400600000a0000020a000001")
_TCP = bytes.fromhex("303900500000000100000001501000ff00000000")
_HEADERS = 54


def plain_frame(size: int) -> bytes:
    """``size`` bytes without FCS, of the Ethernet type for experiments."""
    return (DESTINATION + SOURCE + EXPERIMENTAL).ljust(size, b"\xa5")


def tcp_headers() -> bytes:
    """Ethernet, IPv4 and TCP, as a driver leaves them for TSO: lengths open, the pseudo header's
    sum in the checksum field."""
    pseudo = ones_sum(_IP[12:20], _IP[9])
    tcp = _TCP[:16] + pseudo.to_bytes(2, "big") + _TCP[18:]
    return DESTINATION + SOURCE + b"\x08\x00" + _IP + tcp


def tcp_request(payload: int = MSS * SEGMENTS) -> tuple[bytes, VnetHeader]:
    """What becomes ``SEGMENTS`` segments, with the header that asks the kernel to cut it."""
    out = bytearray(tcp_headers() + bytes(payload))
    length = len(out) - 14
    out[16:18] = length.to_bytes(2, "big")
    out[24:26] = (~ones_sum(out[14:34]) & 0xFFFF).to_bytes(2, "big")
    partial = int.from_bytes(out[50:52], "big") + length - 20
    out[50:52] = ones_sum(b"", partial).to_bytes(2, "big")
    return bytes(out), VnetHeader(NEEDS_CSUM, GSO_TCPV4, _HEADERS, MSS, 34, 16)


def tcp_flow(count: int, payload: int = MSS) -> list[bytes]:
    """Successive frames of one TCP flow, every checksum in place."""
    frames = []
    for n in range(count):
        out = bytearray(tcp_headers() + bytes((n & 0xFF,)) * payload)
        out[16:18] = (len(out) - 14).to_bytes(2, "big")
        out[18:20] = (n & 0xFFFF).to_bytes(2, "big")
        out[24:26] = checksum(out[14:34]).to_bytes(2, "big")
        out[38:42] = (n * payload & 0xFFFF_FFFF).to_bytes(4, "big")
        out[50:52] = checksum(out[34:], len(out) - 34).to_bytes(2, "big")
        frames.append(bytes(out))
    return frames
