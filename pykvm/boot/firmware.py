"""Firmware instead of an image: the CPU starts as after a reset, in a ROM below 4 GiB.

::

    1 MiB - 128 KiB   its last 128 KiB again, in RAM (a PC's shadow, writable)
    4 GiB - size      the ROM; the reset vector is 16 bytes before its end
"""

from __future__ import annotations

from pykvm.boot.image import read_file
from pykvm.boot.plan import Handover, Mode, Plan, Segment
from pykvm.errors import ImageError

MOST_BYTES = 8 << 20
_PAGE, _SHADOW, _MIB = 4096, 128 << 10, 1 << 20
_RESET_VECTOR = 0xFFF0


def read(path: str) -> bytes:
    """The ROM's bytes. Raises ImageError."""
    rom = read_file(path, "the firmware", 1 << 30)
    if len(rom) % _PAGE or len(rom) > MOST_BYTES:
        raise ImageError(
            f"{path}: the firmware has {len(rom)} bytes; it takes multiples of 4K up to 8M"
        )
    return rom


def plan(rom: bytes) -> Plan:
    """What goes into RAM; the rest of a machine is found by the firmware itself."""
    shadow = rom[-_SHADOW:]
    copy = Segment(_MIB - len(shadow), shadow, len(shadow), "the firmware's copy")
    return Plan("firmware", Mode.REAL, _RESET_VECTOR, (copy,), lambda facts: Handover(()))
