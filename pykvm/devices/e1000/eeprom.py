"""The card's EEPROM: 64 words of a 93C46 behind EERD and behind EECD's four wires.

Contents: manual, chapter 5.6; the words from 0 to 0x3F add up to 0xBABA. The Microwire protocol of
the serial wires is the 93C46 datasheet's: a start bit, two bits of opcode, six of address.
"""

from __future__ import annotations

import struct
from typing import Any

from pykvm.devices.e1000.registers import EECD

WORDS = 64
_CHECKSUM_WORD, _CHECKSUM = 0x3F, 0xBABA
_SK, _CS, _DI, _DO, _REQ, _GNT = (EECD[n].mask for n in ("SK", "CS", "DI", "DO", "REQ", "GNT"))
_READ = 0b10
_COMMAND_BITS = 1 + 2 + 6


def contents(mac: bytes, device: int, subsystem: int = 0, vendor: int = 0x8086) -> list[int]:
    """The words for a card with that address."""
    words = [0] * WORDS
    words[0:3] = struct.unpack("<3H", mac)
    words[0x03] = 0x0802
    words[0x05] = 0xFFFF  # no image version
    words[0x0A] = 0x4408  # initialization control 1: the identity below is valid
    words[0x0B], words[0x0C] = subsystem, vendor
    words[0x0D], words[0x0E] = device, vendor
    words[0x0F] = 0x3040  # initialization control 2
    words[_CHECKSUM_WORD] = (_CHECKSUM - sum(words)) & 0xFFFF
    return words


class Eeprom:
    """The words and where the serial protocol stands."""

    def __init__(self, words: list[int]) -> None:
        self.words = words
        self.reset()

    def reset(self) -> None:
        self._wires = 0
        self._in = 0
        self._bits = 0
        self._out = 0
        self._left = 0

    def read_word(self, address: int) -> int:
        """Addresses past the end wrap, as the chip ignores their high bits."""
        return self.words[address % WORDS]

    def eecd(self) -> int:
        """What EECD reads as: our wires, the presence bit, the grant that software asked for."""
        grant = _GNT if self._wires & _REQ else 0
        return EECD.reset | self._wires & (_SK | _CS | _DI | _REQ) | grant | self._out

    def write_eecd(self, value: int) -> None:
        """A new level on the wires; a rising clock moves one bit."""
        rising = value & ~self._wires & _SK
        self._wires = value
        if not value & _CS:
            self._in = self._bits = self._left = self._out = 0
        elif rising:
            self._clock(bool(value & _DI))

    def _clock(self, bit: bool) -> None:
        if self._left:
            self._left -= 1
            self._out = _DO if self._shift >> self._left & 1 else 0
            return
        if not self._bits and not bit:
            return  # still waiting for the start bit
        self._in = self._in << 1 | bit
        self._bits += 1
        if self._bits == _COMMAND_BITS:
            if self._in >> 6 & 0b11 == _READ:
                self._shift = self.read_word(self._in & 0x3F)
                self._left = 16
            self._out = 0  # the dummy bit before the data
            self._in = self._bits = 0

    _shift = 0

    def state(self) -> dict[str, Any]:
        return {
            "words": list(self.words),
            "wires": self._wires,
            "in": self._in,
            "bits": self._bits,
            "out": self._out,
            "left": self._left,
            "shift": self._shift,
        }

    def restore(self, state: Any) -> None:
        self.words = list(state["words"])
        self._wires, self._in, self._bits = state["wires"], state["in"], state["bits"]
        self._out, self._left, self._shift = state["out"], state["left"], state["shift"]
