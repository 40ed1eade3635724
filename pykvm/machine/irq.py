"""Interrupt lines of the PC board: a device's wire to a GSI of the in-kernel controllers."""

from __future__ import annotations

from collections.abc import Callable

from pykvm.kvm.vm import Vm


class Gsi:
    """One input of the controllers. Several lines may share it: it is up while any of them is."""

    def __init__(self, vm: Vm, number: int) -> None:
        self._vm = vm
        self.number = number
        self._up = 0

    def change(self, level: bool) -> None:
        """One of the lines went up or down; KVM is only told when that changes the input."""
        before = self._up > 0
        self._up += 1 if level else -1
        if (self._up > 0) != before:
            self._vm.irq_line(self.number, level)


class GsiLine:
    """A level line to a GSI. ``on_change(level)`` is called on each change when given (tracing)."""

    def __init__(self, gsi: Gsi) -> None:
        self._gsi = gsi
        self.level = False
        self.on_change: Callable[[bool], None] | None = None

    @property
    def gsi(self) -> int:
        return self._gsi.number

    def set(self, level: bool) -> None:
        if level == self.level:
            return
        self.level = level
        self._gsi.change(level)
        if self.on_change is not None:
            self.on_change(level)
