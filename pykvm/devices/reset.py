"""The two ways in which a PC resets itself: port 0xCF9, and the keyboard controller."""

from __future__ import annotations

from collections.abc import Callable

from pykvm.devices.simple import SimpleDevice
from pykvm.registers import Access, Field, Register, RegisterMap

RST_CNT = Register(
    "RST_CNT", 0,
    doc="reset control (Intel PIIX3/ICH datasheets): setting RST_CPU resets, SYS_RST says how hard",
    fields=(Field("SYS_RST", 1), Field("RST_CPU", 2), Field("FULL_RST", 3)),
)  # fmt: skip
_RST_CPU = RST_CNT["RST_CPU"].mask


class ResetControl(SimpleDevice):
    """``on_reset`` is called when RST_CPU goes from 0 to 1."""

    registers = RegisterMap("reset control", [RST_CNT])
    STATE = {"control": 0}
    control: int

    def __init__(self, on_reset: Callable[[], None]) -> None:
        super().__init__("reset")
        self._on_reset = on_reset

    def read(self, offset: int, size: int) -> int:
        return self.control

    def write(self, offset: int, size: int, value: int) -> None:
        rising = value & ~self.control & _RST_CPU
        self.control = value & 0x0E
        if rising:
            self._on_reset()


_DATA, _COMMAND = 0, 4
_OUTPUT_FULL, _SYSTEM = 0x1, 0x4
_SELF_TEST, _TEST_PORT, _READ_OUTPUT, _WRITE_OUTPUT, _READ_CONFIG, _WRITE_CONFIG = (
    0xAA, 0xAB, 0xD0, 0xD1, 0x20, 0x60,
)  # fmt: skip
_A20, _NO_RESET = 0x2, 0x1


class KeyboardController(SimpleDevice):
    """An 8042 without keyboard or mouse: self-test, configuration, the A20 and reset lines.

    Offset 0 is the data port (0x60), offset 4 status and command (0x64). Source: IBM PC/AT
    Technical Reference, "Keyboard Controller".
    """

    registers = RegisterMap(
        "8042",
        [
            Register("DATA", _DATA),
            Register(
                "STATUS", _COMMAND, access=Access.RO, reset=_SYSTEM,
                fields=(Field("OBF", 0), Field("IBF", 1), Field("SYS", 2), Field("CMD", 3)),
            ),
            Register("COMMAND", _COMMAND, access=Access.WO, fields=()),
        ],
    )  # fmt: skip
    STATE = {"output": 0, "full": 0, "command": 0, "config": 0, "port": _A20 | _NO_RESET}
    output: int
    full: int
    command: int
    config: int
    port: int

    def __init__(self, on_reset: Callable[[], None]) -> None:
        super().__init__("i8042")
        self._on_reset = on_reset

    def read(self, offset: int, size: int) -> int:
        if offset == _COMMAND:
            return _SYSTEM | (_OUTPUT_FULL if self.full else 0)
        if offset != _DATA:  # nobody's ports, between its two
            return 0xFF
        self.full = 0
        return self.output

    def write(self, offset: int, size: int, value: int) -> None:
        if offset == _COMMAND:
            self._run(value)
        elif offset == _DATA:
            command, self.command = self.command, 0
            if command == _WRITE_OUTPUT:
                self._set_port(value)
            elif command == _WRITE_CONFIG:
                self.config = value

    def _run(self, command: int) -> None:
        self.command = command
        answers = {
            _SELF_TEST: 0x55,
            _TEST_PORT: 0x00,
            _READ_OUTPUT: self.port,
            _READ_CONFIG: self.config,
        }
        if command in answers:
            self.output, self.full = answers[command], 1
        elif command >= 0xF0 and not command & 1:  # pulses the output lines whose bit is 0
            self._on_reset()

    def _set_port(self, value: int) -> None:
        self.port = value
        if not value & _NO_RESET:
            self._on_reset()
