"""ACPI's fixed hardware: event and control registers, the timer (ACPI 6.4, 4.8.3).

The event block has the power button; its interrupt is the SCI. There is no SMI command port, so
ACPI mode is always on and SCI_EN reads as 1. The timer counts 3.579545 MHz in 32 bits and never
interrupts.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from pykvm.interfaces import EventLoop, IrqLine, State
from pykvm.registers import Access, Field, Register, RegisterMap, fields

PM1_STS = Register(
    "PM1_STS", 0, 2, Access.W1C,
    fields=fields("TMR:0 BM:4 GBL:5 PWRBTN:8 SLPBTN:9 RTC:10 WAK:15"),
)  # fmt: skip
PM1_EN = Register("PM1_EN", 2, 2, fields=fields("TMR:0 GBL:5 PWRBTN:8 SLPBTN:9 RTC:10"))
PM1_CNT = Register(
    "PM1_CNT", 4, 2, reset=1,
    fields=(
        Field("SCI_EN", 0),
        Field("BM_RLD", 1),
        Field("GBL_RLS", 2),
        Field("SLP_TYP", 10, 3),
        Field("SLP_EN", 13),
    ),
)  # fmt: skip
PM_TMR = Register("PM_TMR", 8, 4, Access.RO)
SIZE = 12
TIMER_HZ = 3_579_545

_PWRBTN = PM1_STS["PWRBTN"].mask
_ENABLES = sum(f.mask for f in PM1_EN.fields)
_SCI_EN, _SLP_EN = PM1_CNT["SCI_EN"].mask, PM1_CNT["SLP_EN"].mask
_BLOCK = struct.Struct("<HHHxxI")


class AcpiPower:
    """Any sleep type is soft-off here: ``on_power_off`` is called when SLP_EN is written. ``sci``
    is a level line."""

    registers = RegisterMap("ACPI PM1", [PM1_STS, PM1_EN, PM1_CNT, PM_TMR])
    access_width = 4
    bank = 0
    name = "acpi"

    def __init__(self, sci: IrqLine, loop: EventLoop, on_power_off: Callable[[], None]) -> None:
        self._sci = sci
        self._loop = loop
        self._on_power_off = on_power_off
        self.reset()

    def reset(self) -> None:
        self.status = self.enables = 0
        self.control = _SCI_EN
        self._set_timer(0)
        self._update()

    def press_button(self) -> bool:
        """The power button was pressed; whether the guest wants to be told."""
        self.status |= _PWRBTN
        self._update()
        return bool(self.enables & _PWRBTN)

    def _update(self) -> None:
        self._sci.set(bool(self.status & self.enables))

    def _timer(self) -> int:
        """What PM_TMR reads: 32 bits, wrapping."""
        passed = self._loop.now_ns() - self._since
        return self._count + passed * TIMER_HZ // 1_000_000_000 & 0xFFFF_FFFF

    def _set_timer(self, count: int) -> None:
        self._count, self._since = count, self._loop.now_ns()

    def read(self, offset: int, size: int) -> int:
        block = _BLOCK.pack(self.status, self.enables, self.control, self._timer())
        return int.from_bytes(block[offset : offset + size], "little")

    def write(self, offset: int, size: int, value: int) -> None:
        data, mask = value << offset * 8, (1 << size * 8) - 1 << offset * 8
        self.status &= ~data  # each 1 clears
        enables, enables_mask = data >> 16 & 0xFFFF, mask >> 16 & 0xFFFF
        self.enables = (self.enables & ~enables_mask | enables) & _ENABLES
        control, control_mask = data >> 32 & 0xFFFF, mask >> 32 & 0xFFFF
        self.control = self.control & ~control_mask | control & ~_SLP_EN | _SCI_EN
        self._update()
        if control & _SLP_EN:  # reads as 0
            self._on_power_off()

    def state(self) -> State:
        return {
            "version": 2,
            "status": self.status,
            "enables": self.enables,
            "control": self.control,
            "timer": self._timer(),
        }

    def restore(self, state: State) -> None:
        if state["version"] != 2:
            raise ValueError(f"{self.name}: state version {state['version']}")
        self.status, self.enables = state["status"], state["enables"]
        self.control = state["control"]
        self._set_timer(state["timer"])
        self._update()
