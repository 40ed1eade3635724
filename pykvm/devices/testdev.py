"""Registers that do nothing but remember: for benches and for tests of the exit path."""

from __future__ import annotations

from pykvm.devices.simple import SimpleDevice
from pykvm.registers import Register, RegisterMap


class TestRegisters(SimpleDevice):
    """Eight bytes that read back what was written last."""

    __test__ = False  # not a test class, whatever its name looks like to a collector
    registers = RegisterMap("test", [Register("LATCH", 0, 8)])
    access_width = 8
    STATE = {"value": 0}
    value: int

    def read(self, offset: int, size: int) -> int:
        return self.value

    def write(self, offset: int, size: int, value: int) -> None:
        self.value = value
