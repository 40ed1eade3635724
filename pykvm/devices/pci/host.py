"""The host bridge: configuration mechanism #1 at ports 0xCF8 and 0xCFC (PCI 3.0, 3.2.2.3.2).

0xCF8 holds an address, taken from whole double words only; the four bytes at 0xCFC are a window
onto the register that it selects. A PC puts its reset control register (0xCF9) into the middle of
the address register, told apart by the size of the access.
"""

from __future__ import annotations

from pykvm.devices.pci.config import ConfigSpace, Identity
from pykvm.errors import PlugError
from pykvm.hints import Protocol
from pykvm.interfaces import Device, State
from pykvm.registers import Field, Register, RegisterMap

SLOTS = 32
_ENABLE = 1 << 31

ADDRESS = Register(
    "CONFIG_ADDRESS", 0, 4,
    fields=(Field("REG", 2, 6), Field("FUNC", 8, 3), Field("DEV", 11, 5), Field("BUS", 16, 8),
            Field("ENABLE", 31)),
)  # fmt: skip
REGISTERS = RegisterMap("PCI host bridge", [ADDRESS, Register("CONFIG_DATA", 4, 4)])

# What a 440FX says of itself; kernels that look for a known bridge find one.
BRIDGE = Identity(
    vendor=0x8086, device=0x1237, class_code=0x060000, revision=2,
    subsystem_vendor=0x1AF4, subsystem=0x1100,  # by which SeaBIOS knows a virtual PC
)  # fmt: skip
# 82441FX datasheet, 3.2.14: who answers between 640 KiB and 1 MiB. Here RAM does, always.
PAM, PAM_COUNT = 0x59, 7


class Function(Protocol):
    """What the bridge needs of a PCI function."""

    config: ConfigSpace


class HostBridge:
    """Eight ports: the address register, then the data window. Sits at slot 0 itself."""

    registers = REGISTERS
    access_width = 4
    bank = 0

    def __init__(self, name: str, reset_control: Device) -> None:
        self.name = name
        self._reset_control = reset_control
        self.config = ConfigSpace(BRIDGE)
        self.config.allow(PAM, PAM_COUNT, (1 << PAM_COUNT * 8) - 1)
        self.functions: dict[int, Function] = {0: self}
        self.address = 0

    def plug(self, slot: int, function: Function) -> None:
        """Put a function into a slot. Raises PlugError when the slot is taken or is none."""
        if not 0 < slot < SLOTS or slot in self.functions:
            raise PlugError(f"PCI slot {slot} is not free")
        self.functions[slot] = function

    def _selected(self) -> ConfigSpace | None:
        bus, device = self.address >> 16 & 0xFF, self.address >> 11 & 0x1F
        if not self.address & _ENABLE or bus or self.address >> 8 & 7:
            return None
        function = self.functions.get(device)
        return function.config if function else None

    def read(self, offset: int, size: int) -> int:
        if offset < 4:
            if size == 4:
                return self.address
            if offset == 1 and size == 1:
                return self._reset_control.read(0, 1)
            return (1 << size * 8) - 1
        config = self._selected()
        if config is None:
            return (1 << size * 8) - 1
        return config.read((self.address & 0xFC) + offset - 4, size)

    def write(self, offset: int, size: int, value: int) -> None:
        if offset < 4:
            if size == 4:
                self.address = value & 0x80FF_FFFC
            elif offset == 1 and size == 1:
                self._reset_control.write(0, 1, value)
            return
        config = self._selected()
        if config is not None:
            config.write((self.address & 0xFC) + offset - 4, size, value)

    def reset(self) -> None:
        self.address = 0
        self.config.reset()
        self._reset_control.reset()

    def state(self) -> State:
        return {
            "version": 1,
            "address": self.address,
            "config": self.config.state(),
            "reset_control": self._reset_control.state(),
        }

    def restore(self, state: State) -> None:
        if state["version"] != 1:
            raise ValueError(f"{self.name}: state version {state['version']}")
        self.address = state["address"]
        self.config.restore(state["config"])
        self._reset_control.restore(state["reset_control"])
