"""The debug console: one port; what is written goes to the host, byte by byte.

Bochs has it at port 0xe9, firmware logs to 0x402. A read answers 0xe9, which is how a guest finds
out that it is there.
"""

from __future__ import annotations

from pykvm.devices.simple import SimpleDevice
from pykvm.interfaces import CharBackend
from pykvm.registers import Register, RegisterMap

PRESENT = 0xE9


class DebugConsole(SimpleDevice):
    """Output only: what ``backend`` has for a guest waits there for ever."""

    registers = RegisterMap("debug console", [Register("DATA", 0, reset=PRESENT)])

    def __init__(self, backend: CharBackend) -> None:
        super().__init__("debugcon")
        self._backend = backend
        backend.connect(self)

    def room(self) -> int:
        return 0

    def receive(self, data: bytes) -> None:
        """Nothing comes where there is no room."""

    def read(self, offset: int, size: int) -> int:
        return PRESENT

    def write(self, offset: int, size: int, value: int) -> None:
        self._backend.write(bytes([value]))
