"""Port 0x80: firmware and small kernels write how far they have come."""

from __future__ import annotations

from collections import deque

from pykvm.devices.simple import SimpleDevice
from pykvm.registers import Register, RegisterMap

HISTORY = 16


class PostCode(SimpleDevice):
    """Latches the last code; ``history`` holds the last 16, oldest first."""

    registers = RegisterMap("POST code", [Register("CODE", 0)])
    STATE = {"code": 0}
    code: int

    def __init__(self) -> None:
        self.history: deque[int] = deque(maxlen=HISTORY)
        super().__init__("postcode")

    def read(self, offset: int, size: int) -> int:
        return self.code

    def write(self, offset: int, size: int, value: int) -> None:
        self.code = value
        self.history.append(value)
