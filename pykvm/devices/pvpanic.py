"""pvpanic: a guest kernel that panics says so, and nobody waits for it (QEMU, docs/specs/pvpanic).

Reading says which events are understood, writing is an event.
"""

from __future__ import annotations

from collections.abc import Callable

from pykvm.devices.simple import SimpleDevice
from pykvm.registers import Field, Register, RegisterMap

EVENT = Register(
    "EVENT", 0, reset=0x3,
    fields=(
        Field("PANICKED", 0),
        Field("CRASH_LOADED", 1, doc="it panicked, and a kernel of its own looks at the remains"),
    ),
)  # fmt: skip
_PANICKED = EVENT["PANICKED"].mask


class PvPanic(SimpleDevice):
    """``on_panic`` is called when the guest has given up; a crash kernel is left to run."""

    registers = RegisterMap("pvpanic", [EVENT])

    def __init__(self, on_panic: Callable[[], None]) -> None:
        super().__init__("pvpanic")
        self._on_panic = on_panic

    def read(self, offset: int, size: int) -> int:
        return EVENT.reset

    def write(self, offset: int, size: int, value: int) -> None:
        if value & _PANICKED:
            self._on_panic()
