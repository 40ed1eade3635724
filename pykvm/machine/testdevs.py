"""``--testdev``: the devices that other people's test kernels expect of QEMU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykvm.devices.pcitestdev import PciTestDevice
from pykvm.devices.pctestdev import (
    LINES,
    MEMORY_SIZE,
    PORTS_SIZE,
    TestLines,
    TestMemory,
    TestPorts,
)

if TYPE_CHECKING:
    from pykvm.machine.machine import Machine

PORTS, LINE_PORTS, MEMORY = 0xE0, 0x2000, 0xFF00_0000
"""Port 0xe9 is among them, so the debug console is at its other port alone."""


def plug_testdevs(machine: Machine) -> None:
    """pc-testdev at its fixed places, pci-testdev in the next free slot."""
    board = machine.board
    board.plug(board.pio, PORTS, PORTS_SIZE, TestPorts())
    lines = [machine.irq("testdev-irq", gsi) for gsi in range(LINES)]
    board.plug(board.pio, LINE_PORTS, LINES, TestLines(lines))
    board.plug(board.mmio, MEMORY, MEMORY_SIZE, TestMemory())
    machine.pci.plug(machine.pci.free_slot(), PciTestDevice("pci-testdev"))
