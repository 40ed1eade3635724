"""QEMU's pc-testdev, which test kernels drive: a latch, interrupt lines, memory that is a device.

Three windows, as kvm-unit-tests know them: ports 0xe0 to 0xeb, one port from 0x2000 on for each
interrupt line, and 64 KiB at 0xff000000.
"""

from __future__ import annotations

from collections.abc import Sequence

from pykvm.devices.simple import SimpleDevice
from pykvm.interfaces import IrqLine, State
from pykvm.registers import Access, Register, RegisterMap

LINES = 24
MEMORY_SIZE = 0x1_0000
PORTS_SIZE = 12
_FLUSH, _BYTES = 4, 8


class TestPorts(SimpleDevice):
    """A latch of 32 bits that is seen twice: at once, and for accesses that a bus cuts into bytes.
    Between them a page's mapping can be flushed; pykvm has nothing to flush."""

    __test__ = False
    registers = RegisterMap(
        "pc-testdev ports",
        [
            Register("LATCH", 0, 4),
            Register("FLUSH_PAGE", _FLUSH, 4, Access.WO),
            Register("LATCH_BYTES", _BYTES, 4),
        ],
    )
    access_width = 4
    STATE = {"latch": 0}
    latch: int

    def __init__(self) -> None:
        super().__init__("testdev")

    def read(self, offset: int, size: int) -> int:
        if _FLUSH <= offset < _BYTES:
            return 0
        return self.latch >> offset % 4 * 8 & (1 << size * 8) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        if _FLUSH <= offset < _BYTES:
            return
        shift = offset % 4 * 8
        mask = (1 << size * 8) - 1 << shift
        self.latch = (self.latch & ~mask | value << shift) & 0xFFFF_FFFF


class TestLines(SimpleDevice):
    """Each port drives a line: up for any value but 0."""

    __test__ = False
    registers = RegisterMap(
        "pc-testdev lines", [Register("LINE", 0, 1, Access.WO, count=LINES, stride=1)]
    )
    STATE = {"levels": 0}
    levels: int

    def __init__(self, lines: Sequence[IrqLine]) -> None:
        self._lines = lines
        super().__init__("testdev-irq")

    def reset(self) -> None:
        super().reset()
        self._drive()

    def _drive(self) -> None:
        for n, line in enumerate(self._lines):
            line.set(bool(self.levels >> n & 1))

    def read(self, offset: int, size: int) -> int:
        return 0xFF

    def write(self, offset: int, size: int, value: int) -> None:
        self.levels = self.levels & ~(1 << offset) | bool(value) << offset
        self._lines[offset].set(bool(value))

    def restore(self, state: State) -> None:
        super().restore(state)
        self._drive()


class TestMemory(SimpleDevice):
    """Bytes that read back, each access an exit."""

    __test__ = False
    registers = RegisterMap(
        "pc-testdev memory", [Register("BYTE", 0, 1, count=MEMORY_SIZE, stride=1)]
    )
    access_width = 8

    def __init__(self) -> None:
        self._cells = bytearray(MEMORY_SIZE)
        super().__init__("testdev-mem")

    def reset(self) -> None:
        self._cells[:] = bytes(MEMORY_SIZE)

    def read(self, offset: int, size: int) -> int:
        return int.from_bytes(self._cells[offset : offset + size], "little")

    def write(self, offset: int, size: int, value: int) -> None:
        self._cells[offset : offset + size] = value.to_bytes(size, "little")

    def state(self) -> State:
        return {"version": 1, "cells": bytes(self._cells)}

    def restore(self, state: State) -> None:
        if state["version"] != 1 or len(state["cells"]) != MEMORY_SIZE:
            raise ValueError(f"{self.name}: not a state of version 1")
        self._cells[:] = state["cells"]
