"""The PC board: which device sits at which port, on which interrupt line.

    0x0060-0x0064   keyboard controller stub (reset)      0x0080  POST codes
    0x0070-0x0071   CMOS and clock, IRQ 8                 0x00f4  debug exit
    0x03f8-0x03ff   serial port, IRQ 4                    0x0600  ACPI event, control, timer; IRQ 9
    0x00e9, 0x0402  debug console                         0x0505  pvpanic
    0x0510-0x051b   fw_cfg
    0x0cf8-0x0cff   PCI host bridge, with the reset control register at 0x0cf9

PIC, PIT (with port 0x61), IOAPIC and LAPIC are KVM's own and never reach this process.
"""

from __future__ import annotations

from collections.abc import Sequence

from pykvm.bus import MMIO_SIZE, PIO_SIZE, Bus, Range
from pykvm.devices import power
from pykvm.devices.debugcon import DebugConsole
from pykvm.devices.debugexit import DebugExit
from pykvm.devices.pci.host import HostBridge
from pykvm.devices.postcode import PostCode
from pykvm.devices.pvpanic import PvPanic
from pykvm.devices.reset import KeyboardController, ResetControl
from pykvm.devices.rtc import Rtc
from pykvm.devices.serial import Uart16550
from pykvm.hints import Protocol
from pykvm.interfaces import CharBackend, Device, EventLoop, IrqLine
from pykvm.machine.plugging import check_device

COM1, COM1_IRQ = 0x3F8, 4
RTC, RTC_IRQ = 0x70, 8
ACPI, SCI = 0x600, 9
DEBUG_CONSOLES, PVPANIC, FW_CFG = (0xE9, 0x402), 0x505, 0x510
LAPIC, IOAPIC, IOAPIC_ID = 0xFEE0_0000, 0xFEC0_0000, 0  # as KVM has them
LEVEL_HIGH = 0xD
"""How tables describe a line that KVM_IRQ_LINE drives, and that is level-triggered (ACPI 5.2.12.5,
MultiProcessor 4.3.4: polarity in bits 1:0, trigger mode in bits 3:2)."""
DEBUG_EXIT, POST_CODE, KEYBOARD, RESET_CONTROL = 0xF4, 0x80, 0x60, 0xCF9


class Wiring(Protocol):
    """What the board needs of the machine that it is plugged into."""

    @property
    def loop(self) -> EventLoop:
        """Where devices get timers from."""

    def irq(self, device: str, gsi: int) -> IrqLine:
        """The line of ``device`` to ``gsi``."""

    def guest_exit(self, status: int) -> None:
        """The guest wrote its exit status."""

    def power_off(self) -> None:
        """The guest switched itself off."""

    def reset(self) -> None:
        """The guest asked for a reset."""

    def panic(self) -> None:
        """The guest said that it has panicked."""


class Board:
    """The two buses and every device on them, in the order they were plugged in."""

    def __init__(self, bridge: HostBridge, acpi: power.AcpiPower) -> None:
        self.bridge = bridge
        self.acpi = acpi
        self.pio = Bus("port", PIO_SIZE)
        self.mmio = Bus("address", MMIO_SIZE)
        self.devices: list[Device] = []
        self.ranges: list[Range] = []

    def plug(self, bus: Bus, base: int, size: int, device: Device) -> Range:
        """Map ``device`` at ``base``; raises PlugError, and RangeError, which is one."""
        check_device(device, self.devices)
        added = bus.add(Range(base, size, device, number=len(self.ranges)))
        self.ranges.append(added)
        self.list(device)
        return added

    def list(self, device: Device) -> None:
        """Count ``device`` in."""
        if not any(other is device for other in self.devices):
            self.devices.append(device)


def pc(
    wiring: Wiring,
    *,
    serial: CharBackend,
    debug: CharBackend,
    memory_low: int,
    memory_high: int,
    debug_ports: Sequence[int] = DEBUG_CONSOLES,
) -> Board:
    """A PC's board with its legacy devices."""
    # The reset control register lies inside the host bridge's address register.
    board = Board(
        bridge=HostBridge("pci", ResetControl(wiring.reset)),
        acpi=power.AcpiPower(wiring.irq("acpi", SCI), wiring.loop, wiring.power_off),
    )
    uart = Uart16550("uart0", wiring.irq("uart0", COM1_IRQ), serial)
    rtc = Rtc(
        wiring.irq("rtc", RTC_IRQ), wiring.loop, memory_low=memory_low, memory_high=memory_high
    )
    board.plug(board.pio, COM1, 8, uart)
    board.plug(board.pio, RTC, 2, rtc)
    board.plug(board.pio, DEBUG_EXIT, 4, DebugExit(wiring.guest_exit))
    board.plug(board.pio, POST_CODE, 1, PostCode())
    console = DebugConsole(debug)
    for port in debug_ports:
        board.plug(board.pio, port, 1, console)
    board.plug(board.pio, PVPANIC, 1, PvPanic(wiring.panic))
    board.plug(board.pio, ACPI, power.SIZE, board.acpi)
    # One range, so that the device sees its offsets; port 0x61 in it is KVM's own, with the PIT.
    board.plug(board.pio, KEYBOARD, 5, KeyboardController(wiring.reset))
    return board
