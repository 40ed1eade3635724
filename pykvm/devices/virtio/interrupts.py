"""A virtio function's interrupts: ISR and INTA#, or messages (VIRTIO 1.2, 4.1.4.5)."""

from __future__ import annotations

from typing import Any, Protocol

from pykvm._native import ffi, lib
from pykvm.devices.pci.config import ConfigSpace
from pykvm.devices.pci.interrupt import IntxPin
from pykvm.devices.pci.msi import Msix
from pykvm.devices.virtio.queue import NO_VECTOR
from pykvm.interfaces import IrqLine

QUEUE, CONFIG = 1, 2  # ISR bits


class InterruptStatus(Protocol):
    """What the transport asks of either class below."""

    @property
    def isr(self) -> int:
        """The bits, without clearing them."""

    def fire(self, vector: int, config: bool) -> None:
        """A queue's interrupt, or a configuration change's."""

    def read_isr(self) -> int:
        """Reading clears."""

    def update(self) -> None:
        """COMMAND or the MSI-X capability changed."""

    def restore(self, isr: int) -> None:
        """Set the bits; 0 is a reset."""


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
        """COMMAND or the MSI-X capability changed, or a state was restored."""
        self._pin.set(bool(self.isr) and not self._msix.enabled)
        self._pin.update()
        self._msix.release()

    def restore(self, isr: int) -> None:
        self.isr = isr
        self._pin.set(bool(isr) and not self._msix.enabled)


class NativeInterrupts:
    """The same with the ISR in C, where threads raise it and vCPUs read it without Python."""

    def __init__(self, config: ConfigSpace, line: Any, msix: Msix) -> None:
        self._config = config
        self._line = line  # keeps line.native alive
        self._msix = msix
        self.native: Any = ffi.gc(lib.pk_isr_new(line.native), lib.pk_isr_free)
        config.pending = lambda: bool(self.isr) and not msix.enabled

    @property
    def isr(self) -> int:
        return int(lib.pk_isr_bits(self.native))

    def fire(self, vector: int, config: bool) -> None:
        if self._msix.enabled:
            if vector != NO_VECTOR:
                self._msix.fire(vector)
            return
        lib.pk_isr_raise(self.native, CONFIG if config else QUEUE)

    def read_isr(self) -> int:
        return int(lib.pk_isr_read(self.native))

    def update(self) -> None:
        silent = self._config.may("INTX_DIS") or self._msix.enabled
        lib.pk_isr_disable(self.native, silent)
        self._msix.release()

    def restore(self, isr: int) -> None:
        lib.pk_isr_read(self.native)
        if isr:
            lib.pk_isr_raise(self.native, isr)
