"""The card's I/O window: an address register and a data register (manual, 13.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykvm.devices.simple import SimpleDevice
from pykvm.registers import Register, RegisterMap

if TYPE_CHECKING:
    from pykvm.devices.e1000.device import E1000

_WINDOW = 0x20000


class IoWindow(SimpleDevice):
    """IOADDR selects a register of the memory window, IODATA is it."""

    registers = RegisterMap("82540EM I/O", [Register("IOADDR", 0, 4), Register("IODATA", 4, 4)])
    access_width = 4
    STATE = {"address": 0}
    address: int

    def __init__(self, name: str, card: E1000) -> None:
        super().__init__(name)
        self._card = card

    def read(self, offset: int, size: int) -> int:
        if offset == 0:
            return self.address
        if 4 <= offset < 8 and self.address < _WINDOW:
            return self._card.read(self.address + offset - 4, size)
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        if offset == 0:
            self.address = value
        elif offset == 4 and self.address < _WINDOW:
            self._card.write(self.address, size, value)
