"""Which frames the card takes: addresses, the multicast table, VLANs (manual, 13.4.22, 13.5)."""

from __future__ import annotations

from collections.abc import Callable

from pykvm.devices.e1000.registers import RCTL

_UPE, _MPE, _BAM, _VFE = (RCTL[name].mask for name in ("UPE", "MPE", "BAM", "VFE"))
_AV = 1 << 31
_BROADCAST = b"\xff" * 6
# MO selects which 12 bits of the last two address bytes index the table.
_SHIFTS = (4, 3, 2, 0)

Get = Callable[[str, int], int]
"""A register array's element."""


def accepts(frame: bytes, rctl: int, get: Get) -> bool:
    """Whether the destination address passes."""
    destination = frame[:6]
    if destination == _BROADCAST:
        return bool(rctl & _BAM) or bool(rctl & _MPE) or _exact(destination, get)
    if destination[0] & 1:
        return bool(rctl & _MPE) or _hashed(destination, rctl, get) or _exact(destination, get)
    return bool(rctl & _UPE) or _exact(destination, get)


def _exact(destination: bytes, get: Get) -> bool:
    low, high = int.from_bytes(destination[:4], "little"), int.from_bytes(destination[4:], "little")
    for n in range(16):
        rah = get("RAH", n)
        if rah & _AV and rah & 0xFFFF == high and get("RAL", n) == low:
            return True
    return False


def _hashed(destination: bytes, rctl: int, get: Get) -> bool:
    shift = _SHIFTS[RCTL["MO"].get(rctl)]
    bits = (destination[5] << 8 | destination[4]) >> shift & 0xFFF
    return bool(get("MTA", bits >> 5) >> (bits & 0x1F) & 1)


def accepts_vlan(tag: int, rctl: int, get: Get) -> bool:
    """Whether a tagged frame's VLAN passes; all do while the filter is off."""
    vlan = tag & 0xFFF
    return not rctl & _VFE or bool(get("VFTA", vlan >> 5) >> (vlan & 0x1F) & 1)
