"""The Internet checksum (RFC 1071)."""

from __future__ import annotations


def ones_sum(data: bytes | bytearray | memoryview, start: int = 0) -> int:
    """The 16-bit ones' complement sum of ``data`` (a last odd byte is padded with 0), folded."""
    total = start
    raw = bytes(data)
    if len(raw) % 2:
        raw += b"\0"
    # Summing 16-bit words modulo 0xffff is what folding does: one big number modulo 0xffff.
    if raw:
        words = int.from_bytes(raw, "big") % 0xFFFF
        total += words or (0xFFFF if any(raw) else 0)
    return fold(total)


def fold(total: int) -> int:
    """Carries added back until 16 bits are left."""
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def checksum(data: bytes | bytearray | memoryview, start: int = 0) -> int:
    """The complement of the sum: what goes into a header."""
    return ~ones_sum(data, start) & 0xFFFF
