"""The MC146818A clock and its CMOS cells (Motorola datasheet; cells above 0x0D are the PC's).

The index port selects what the data port is, so the index is the bank of DATA.
"""

from __future__ import annotations

from collections.abc import Iterator

from pykvm.registers import Access, Field, Register, RegisterMap

INDEX, DATA = 0, 1

SECONDS, SECONDS_ALARM, MINUTES, MINUTES_ALARM, HOURS, HOURS_ALARM = range(6)
WEEKDAY, DAY, MONTH, YEAR, REG_A, REG_B, REG_C, REG_D = range(6, 14)
BASE_KIB, EXTENDED_KIB, CENTURY, EXTENDED_KIB_2 = 0x15, 0x17, 0x32, 0x30
ABOVE_16M, ABOVE_4G = 0x34, 0x5B

A = Register(
    "REG_A", DATA, bank=REG_A, reset=0x26, doc="divider and rate",
    fields=(Field("RS", 0, 4), Field("DV", 4, 3, {2: "32768Hz"}), Field("UIP", 7)),
)  # fmt: skip
B = Register(
    "REG_B", DATA, bank=REG_B, reset=0x02, doc="format and interrupt enables",
    fields=(
        Field("DSE", 0),
        Field("24H", 1),
        Field("DM", 2, doc="binary; else BCD"),
        Field("SQWE", 3),
        Field("UIE", 4),
        Field("AIE", 5),
        Field("PIE", 6),
        Field("SET", 7),
    ),
)  # fmt: skip
C = Register(
    "REG_C", DATA, access=Access.RC, bank=REG_C, doc="interrupt flags",
    fields=(Field("UF", 4), Field("AF", 5), Field("PF", 6), Field("IRQF", 7)),
)  # fmt: skip
D = Register("REG_D", DATA, access=Access.RO, bank=REG_D, reset=0x80, fields=(Field("VRT", 7),))

_TIME = (
    "SECONDS SECONDS_ALARM MINUTES MINUTES_ALARM HOURS HOURS_ALARM WEEKDAY DAY MONTH YEAR".split()
)


def _registers() -> Iterator[Register]:
    yield Register("INDEX", INDEX, fields=(Field("CELL", 0, 7), Field("NMI_OFF", 7)))
    for cell, name in enumerate(_TIME):
        yield Register(name, DATA, bank=cell)
    yield from (A, B, C, D)
    for cell in range(0x0E, 0x80):
        yield Register(f"CMOS_{cell:02X}", DATA, bank=cell)


REGISTERS = RegisterMap("MC146818A", _registers)
