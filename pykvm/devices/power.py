"""ACPI's PM1a control register, as far as switching off needs it (ACPI 6.4, 4.8.3.2.1)."""

from __future__ import annotations

from collections.abc import Callable

from pykvm.devices.simple import SimpleDevice
from pykvm.registers import Field, Register, RegisterMap

PM1_CNT = Register(
    "PM1_CNT", 0, 2,
    fields=(Field("SCI_EN", 0), Field("SLP_TYP", 10, 3), Field("SLP_EN", 13)),
)  # fmt: skip
_SLP_EN = PM1_CNT["SLP_EN"].mask


class AcpiPower(SimpleDevice):
    """Any sleep type is soft-off here: ``on_power_off`` is called when SLP_EN is written."""

    registers = RegisterMap("ACPI PM1a", [PM1_CNT])
    access_width = 2
    STATE = {"control": PM1_CNT["SCI_EN"].mask}
    control: int

    def __init__(self, on_power_off: Callable[[], None]) -> None:
        super().__init__("acpi")
        self._on_power_off = on_power_off

    def read(self, offset: int, size: int) -> int:
        return self.control >> offset * 8 & (1 << size * 8) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        mask = (1 << size * 8) - 1 << offset * 8
        written = value << offset * 8
        self.control = (self.control & ~mask | written) & ~_SLP_EN  # SLP_EN reads as 0
        if written & _SLP_EN:
            self._on_power_off()
