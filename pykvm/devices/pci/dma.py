"""A function's way to guest memory: open only while the guest lets it master the bus."""

from __future__ import annotations

from typing import Any

from pykvm.devices.pci.config import ConfigSpace
from pykvm.errors import DeviceError
from pykvm.memory import GuestMemory


class BusMaster:
    """``GuestMemory`` behind COMMAND's MASTER bit. Raises DeviceError, also for what is not RAM."""

    def __init__(self, config: ConfigSpace, memory: GuestMemory) -> None:
        self._config = config
        self._memory = memory

    @property
    def allowed(self) -> bool:
        """Whether the guest lets the function master the bus now."""
        return self._config.may("MASTER")

    def native(self) -> Any:
        """The same memory for C; whoever uses it asks ``allowed`` first."""
        return self._memory.native()

    def _open(self) -> GuestMemory:
        if not self.allowed:
            raise DeviceError("DMA while COMMAND forbids the function to master the bus")
        return self._memory

    def read(self, address: int, length: int) -> bytes:
        return self._open().read(address, length)

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        self._open().write(address, data)

    def view(self, address: int, length: int, *, write: bool = True) -> memoryview:
        return self._open().view(address, length, write=write)
