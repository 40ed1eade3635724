"""A function's way to guest memory: open only while the guest lets it master the bus."""

from __future__ import annotations

from pykvm.devices.pci.config import ConfigSpace
from pykvm.errors import DeviceError
from pykvm.memory import GuestMemory


class BusMaster:
    """``GuestMemory`` behind COMMAND's MASTER bit. Raises DeviceError, also for what is not RAM."""

    def __init__(self, config: ConfigSpace, memory: GuestMemory) -> None:
        self._config = config
        self._memory = memory

    def _open(self) -> GuestMemory:
        if not self._config.may("MASTER"):
            raise DeviceError("DMA while COMMAND forbids the function to master the bus")
        return self._memory

    def read(self, address: int, length: int) -> bytes:
        return self._open().read(address, length)

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        self._open().write(address, data)

    def view(self, address: int, length: int, *, write: bool = True) -> memoryview:
        return self._open().view(address, length, write=write)
