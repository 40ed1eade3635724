"""A card's option ROM: what its firmware register leads to (PCI 3.0, 6.2.5.2 and 6.3).

Firmware copies the code to RAM and runs it there; nobody runs it in place.
"""

from __future__ import annotations

from pykvm.devices.simple import SimpleDevice
from pykvm.registers import RegisterMap

LEAST, MOST = 2 << 10, 256 << 10
SIGNATURE = b"\x55\xaa"


class OptionRom(SimpleDevice):
    """The bytes of ``data``, and ones behind them up to ``size``, a power of two."""

    registers = RegisterMap("option ROM", [])
    access_width = 8

    def __init__(self, name: str, data: bytes) -> None:
        super().__init__(name)
        self.size = max(1 << (len(data) - 1).bit_length(), LEAST)
        self._bytes = data.ljust(self.size, b"\xff")

    def read(self, offset: int, size: int) -> int:
        return int.from_bytes(self._bytes[offset : offset + size], "little")

    def write(self, offset: int, size: int, value: int) -> None:
        """It is read-only."""
