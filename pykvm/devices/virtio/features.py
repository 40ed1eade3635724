"""Feature bits (VIRTIO 1.2, chapter 6 and the devices' own sections), by number and by name."""

from __future__ import annotations

from enum import IntFlag


class Ring(IntFlag):
    """What transport and rings can do, for every device type."""

    NOTIFY_ON_EMPTY = 1 << 24
    ANY_LAYOUT = 1 << 27
    INDIRECT_DESC = 1 << 28
    EVENT_IDX = 1 << 29
    VERSION_1 = 1 << 32
    ACCESS_PLATFORM = 1 << 33
    RING_PACKED = 1 << 34
    IN_ORDER = 1 << 35
    ORDER_PLATFORM = 1 << 36
    SR_IOV = 1 << 37
    NOTIFICATION_DATA = 1 << 38
    RING_RESET = 1 << 40


LEGACY = (1 << 32) - 1
"""What a driver without VERSION_1 can see and take (2.2.3, legacy interface)."""


def names(features: int, own: type[IntFlag]) -> str:
    """The set bits, lowest first, by the device type's names and the common ones:
    ``CSUM|MAC|VERSION_1``; unknown ones by number."""
    known = {flag.value: flag.name for flag in (*own, *Ring)}
    bits = [1 << n for n in range(64) if features >> n & 1]
    return "|".join(known.get(bit) or f"bit{bit.bit_length() - 1}" for bit in bits) or "none"
