"""A function's INTx pin: an IrqLine that honours INTX_DIS and shows in STATUS (PCI 3.0, 6.2)."""

from __future__ import annotations

from pykvm.devices.pci.config import ConfigSpace
from pykvm.interfaces import IrqLine


class IntxPin:
    """Level-triggered, shared between functions by the board."""

    def __init__(self, config: ConfigSpace, line: IrqLine) -> None:
        self._config = config
        self._line = line
        self.level = False
        config.pending = lambda: self.level

    def set(self, level: bool) -> None:
        if level != self.level:
            self.level = level
            self.update()

    def update(self) -> None:
        """INTX_DIS may have changed."""
        self._line.set(self.level and not self._config.may("INTX_DIS"))
