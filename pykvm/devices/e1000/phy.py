"""The M88E1000 PHY inside the card, reached through MDIC (manual, 8.6 and 13.4.9; IEEE 802.3,
clause 22, for registers 0 to 15).
"""

from __future__ import annotations

from pykvm.registers import Access, Register, RegisterMap, fields

ADDRESS = 1


def _r(
    name: str, number: int, access: Access = Access.RW, reset: int = 0, bits: str = ""
) -> Register:
    return Register(name, number * 2, 2, access, reset, fields(bits))


PCTRL = _r("PCTRL", 0, reset=0x1140,
           bits="SPEED1:6 COL:7 DUPLEX:8 RESTART:9 ISOLATE:10 PDOWN:11 ANEG:12 SPEED0:13 LOOP:14"
                " RST:15")  # fmt: skip
PSTATUS = _r(
    "PSTATUS", 1, Access.RO, reset=0x7949, bits="EXT:0 JABBER:1 LINK:2 ABLE:3 FAULT:4 DONE:5"
)
PSSTAT = _r("PSSTAT", 17, Access.RO, reset=0x0000,
            bits="JABBER:0 MDIX:6 LINK:10 RESOLVED:11 PAGE:12 DUPLEX:13 SPEED:14:2")  # fmt: skip

REGISTERS = RegisterMap(
    "M88E1000",
    [
        PCTRL,
        PSTATUS,
        _r("PHY_ID1", 2, Access.RO, reset=0x0141),
        _r("PHY_ID2", 3, Access.RO, reset=0x0C20),
        _r("ANA", 4, reset=0x0DE1),
        _r("LPA", 5, Access.RO, reset=0x0000),
        _r("ANE", 6, Access.RO, reset=0x0000),
        _r("NPT", 7),
        _r("LPN", 8, Access.RO),
        _r("GCON", 9, reset=0x0E00),
        _r("GSTATUS", 10, Access.RO),
        _r("ESTATUS", 15, Access.RO, reset=0x3000),
        _r("PSCON", 16, reset=0x0360),
        PSSTAT,
        _r("PIE", 18),
        _r("PIS", 19, Access.RC),
        _r("EPSCON", 20, reset=0x0D60),
        _r("REC", 21, Access.RO),
        _r("PAGE", 29),
        _r("GEN", 30),
    ],
)

_LINK_BITS = PSTATUS["LINK"].mask | PSTATUS["DONE"].mask
_SPECIFIC = PSSTAT["LINK"].mask | PSSTAT["RESOLVED"].mask | PSSTAT["DUPLEX"].mask | 2 << 14
_PARTNER, _EXPANSION, _GIGABIT_PARTNER = 0x45E1, 0x0001, 0x3C00


class Phy:
    """Registers by number; ``cable`` is whether one is plugged in. Negotiation takes no time."""

    def __init__(self) -> None:
        self.cable = True
        self.cells: dict[int, int] = {}
        self.reset()

    def reset(self) -> None:
        self.cells = {r.offset // 2: r.reset for r in REGISTERS}

    def read(self, number: int) -> int | None:
        """None for a register that does not exist."""
        if number not in self.cells:
            return None
        value = self.cells[number]
        if self.link:
            value |= {1: _LINK_BITS, 5: _PARTNER, 6: _EXPANSION, 10: _GIGABIT_PARTNER,
                      17: _SPECIFIC}.get(number, 0)  # fmt: skip
        return value

    def write(self, number: int, value: int) -> bool:
        """False for a register that does not exist; read-only ones swallow it."""
        register = REGISTERS.lookup(number * 2, write=True)
        if number not in self.cells:
            return False
        if register is None:
            return True
        if register is PCTRL:
            if value & PCTRL["RST"].mask:
                self.reset()
                return True
            value &= ~(PCTRL["RST"].mask | PCTRL["RESTART"].mask)  # both clear themselves
        self.cells[number] = value
        return True

    @property
    def link(self) -> bool:
        """Whether there is a carrier: a cable, and a PHY that is not powered down."""
        return self.cable and not self.cells[0] & PCTRL["PDOWN"].mask

    @property
    def looped(self) -> bool:
        return bool(self.cells[0] & PCTRL["LOOP"].mask)
