"""Flat images: bytes that are loaded as they are and entered at their first one."""

from __future__ import annotations

from pykvm.boot import lowmem
from pykvm.boot.plan import Mode, Plan, Segment
from pykvm.errors import ImageError

LOAD_ADDRESS = {Mode.REAL: 0x1000, Mode.PROTECTED: 0x10_0000, Mode.LONG: 0x10_0000}


def plan(
    name: str, data: bytes | memoryview, mode: Mode, load_address: int | None, entry: int | None
) -> Plan:
    """The plan for a flat image. Raises ImageError for one that the mode cannot reach."""
    address = LOAD_ADDRESS[mode] if load_address is None else load_address
    start = address if entry is None else entry
    if mode is Mode.REAL and start > 0xFFFF:
        raise ImageError(f"{name}: real mode starts with CS=0, so the entry {start:#x} is too high")
    if mode is Mode.PROTECTED and start > 0xFFFF_FFFF:
        raise ImageError(f"{name}: the entry {start:#x} is not a 32-bit address")
    return Plan(
        "flat", mode, start, (Segment(address, data, len(data), "the image"),), lowmem.kit(mode)
    )
