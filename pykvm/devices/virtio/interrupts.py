"""A virtio function's interrupts: ISR and INTA#, or messages (VIRTIO 1.2, 4.1.4.5)."""

from __future__ import annotations

from pykvm.devices.pci.config import ConfigSpace
from pykvm.devices.pci.interrupt import IntxPin
from pykvm.devices.pci.msi import Msix
from pykvm.devices.virtio.queue import NO_VECTOR
from pykvm.interfaces import IrqLine

QUEUE, CONFIG = 1, 2  # ISR bits


class Interrupts:
    """With MSI-X enabled vectors are messages, else the ISR's bits hold INTA# until it is read."""

    def __init__(self, config: ConfigSpace, line: IrqLine, msix: Msix) -> None:
        self._pin = IntxPin(config, line)
        self._msix = msix
        self.isr = 0

    def fire(self, vector: int, config: bool) -> None:
        """A queue's interrupt, or a configuration change's."""
        if self._msix.enabled:
            if vector != NO_VECTOR:
                self._msix.fire(vector)
            return
        self.isr |= CONFIG if config else QUEUE
        self._pin.set(True)

    def read_isr(self) -> int:
        """Reading clears."""
        value, self.isr = self.isr, 0
        self._pin.set(False)
        return value

    def update(self) -> None:
        """COMMAND or the MSI-X capability changed."""
        self._pin.update()
        self._msix.release()

    def reset(self) -> None:
        self.isr = 0
        self._pin.set(False)
