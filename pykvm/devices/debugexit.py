"""The debug-exit port: a guest writes a value and the run ends with it.

QEMU's isa-debug-exit rule: the process ends with ``(value << 1) | 1``, so a guest's own status is
always odd.
"""

from __future__ import annotations

from collections.abc import Callable

from pykvm.devices.simple import SimpleDevice
from pykvm.registers import Access, Register, RegisterMap


class DebugExit(SimpleDevice):
    """``on_exit`` receives the exit status, 8 bits."""

    registers = RegisterMap("debug exit", [Register("EXIT", 0, 4, Access.WO)])
    access_width = 4

    def __init__(self, on_exit: Callable[[int], None]) -> None:
        super().__init__("debugexit")
        self._on_exit = on_exit

    def read(self, offset: int, size: int) -> int:
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        self._on_exit((value << 1 | 1) & 0xFF)
