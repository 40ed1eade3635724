"""The map of RAM that firmware would report, for the protocols that pass one (e820).

0x00000   RAM                    0xa0000   nothing: video memory and option ROMs
0x9fc00   reserved (EBDA)        0xf0000   reserved: tables for the guest
                                 0x100000  RAM, and again from 4 GiB
"""

from __future__ import annotations

from pykvm.boot.plan import Facts
from pykvm.record import Record

RAM, RESERVED = 1, 2  # ACPI specification, 15.1: address range types
EBDA, VIDEO, BIOS, MIB, HIGH = 0x9FC00, 0xA0000, 0xF0000, 0x10_0000, 1 << 32


class Range(Record):
    """``size`` bytes from guest-physical ``start``."""

    start: int
    size: int
    kind: int


def ranges(facts: Facts) -> list[Range]:
    """RAM and what is reserved in it, in ascending order, without empty ones."""
    low, high = facts.memory_low, facts.memory_high
    found = [
        Range(0, EBDA, RAM),
        Range(EBDA, VIDEO - EBDA, RESERVED),
        Range(BIOS, MIB - BIOS, RESERVED),
        Range(MIB, low - MIB, RAM),
        Range(HIGH, high, RAM),
    ]
    return [r for r in found if r.size > 0]
