"""QEMU's pci-testdev: how fast are writes that somebody counts (QEMU, docs/specs/pci-testdev).

Writing a test's number into either window starts it; the header then says where to write what, and
counts. In QEMU two of the three tests are caught by an eventfd; here every write is an exit.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from pykvm.devices.pci.config import Bar, ConfigSpace, Identity
from pykvm.interfaces import Device, State
from pykvm.registers import Access, Register, RegisterMap

IDENTITY = Identity(
    vendor=0x1B36, device=0x0005, class_code=0xFF0000, subsystem_vendor=0x1AF4, subsystem=0x1100
)
BARS = (Bar(0, 4096), Bar(1, 256, io=True))
TESTS = ("no-eventfd", "wildcard-eventfd", "datamatch-eventfd")
_WILDCARD = 1
_DATA, _ANY_DATA = 0xFA, 0xCE
_HEADER = struct.Struct("<BBxxIII")
_MOST_NAME = 32
_COUNT_MASK = 0xFFFF_FFFF

REGISTERS = RegisterMap(
    "pci-testdev",
    [
        Register("TEST", 0),
        Register("WIDTH", 1, access=Access.RO),
        Register("OFFSET", 4, 4, Access.RO),
        Register("DATA", 8, 4, Access.RO),
        Register("COUNT", 12, 4, Access.RO),
        Register("NAME", 16, access=Access.RO, count=_MOST_NAME, stride=1),
    ],
)


class Window:
    """One of the two: memory or ports."""

    registers = REGISTERS
    access_width = 1  # wider accesses are cut into bytes
    bank = 0

    def __init__(self, function: PciTestDevice, kind: str, bar: Bar) -> None:
        self.name = f"{function.name}-{kind}"
        self._function, self._kind, self._half = function, kind, bar.size // 2

    def header(self, test: int, count: int) -> bytes:
        """What a reader sees while ``test`` runs."""
        data = _ANY_DATA if test == _WILDCARD else _DATA
        name = f"{self._kind}-{TESTS[test]}".encode() + b"\0"
        return _HEADER.pack(test, 1, self._half + test, data, count) + name

    def counts(self, test: int, offset: int, value: int) -> bool:
        """Whether that write is what ``test`` asked for."""
        return offset == self._half + test and (test == _WILDCARD or value == _DATA)

    def read(self, offset: int, size: int) -> int:
        header = self._function.header()
        return header[offset] if offset < len(header) else 0

    def write(self, offset: int, size: int, value: int) -> None:
        if offset == 0:
            self._function.start(self, value)
        else:
            self._function.count_write(self, offset, value)

    def reset(self) -> None:
        self._function.reset()

    def state(self) -> State:
        return self._function.state()

    def restore(self, state: State) -> None:
        self._function.restore(state)


class PciTestDevice:
    """The function: two windows, and the test that runs."""

    answers: Mapping[int, tuple[Any, Any]] = {}

    def __init__(self, name: str) -> None:
        self.name = name
        self.config = ConfigSpace(IDENTITY, BARS)
        self._both = (Window(self, "mmio", BARS[0]), Window(self, "portio", BARS[1]))
        self.windows: Mapping[int, Device] = dict(enumerate(self._both))
        self._stop()

    def _stop(self) -> None:
        self._running: tuple[Window, int] | None = None
        self._count = 0

    def start(self, window: Window, test: int) -> None:
        """Run ``test`` in ``window``; a number that is none stops."""
        self._stop()
        if test < len(TESTS):
            self._running = window, test

    def header(self) -> bytes:
        """The running test's; empty without one."""
        if self._running is None:
            return b""
        window, test = self._running
        return window.header(test, self._count)

    def count_write(self, window: Window, offset: int, value: int) -> None:
        if self._running is not None and self._running[0] is window:
            self._count = self._count + window.counts(self._running[1], offset, value) & _COUNT_MASK

    def config_changed(self) -> None:
        """Nothing follows from it."""

    def placed(self, addresses: Mapping[int, int]) -> None:
        """Nothing follows from it."""

    def reset(self) -> None:
        self._stop()
        self.config.reset()

    def state(self) -> State:
        running = self._running and (self._both.index(self._running[0]), self._running[1])
        return {
            "version": 1,
            "config": self.config.state(),
            "running": running,
            "count": self._count,
        }

    def restore(self, state: State) -> None:
        if state["version"] != 1:
            raise ValueError(f"{self.name}: state version {state['version']}")
        self.config.restore(state["config"])
        running = state["running"]
        self._running = (self._both[running[0]], running[1]) if running is not None else None
        self._count = state["count"]
