"""Interrupt lines of the PC board: a device's wire to a GSI of the in-kernel controllers."""

from __future__ import annotations

from collections.abc import Callable

from pykvm.kvm.vm import Vm


class GsiLine:
    """A level line to one GSI; KVM is only told of changes.

    ``on_change(level)`` is called on each change when given (tracing).
    """

    def __init__(self, vm: Vm, gsi: int) -> None:
        self._vm = vm
        self.gsi = gsi
        self.level = False
        self.on_change: Callable[[bool], None] | None = None

    def set(self, level: bool) -> None:
        if level == self.level:
            return
        self.level = level
        self._vm.irq_line(self.gsi, level)
        if self.on_change is not None:
            self.on_change(level)
