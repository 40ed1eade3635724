"""Registers through configuration space, for who cannot map a BAR (VIRTIO 1.2, 4.1.4.9).

The last capability holds a BAR, an offset and a length; its data field is that register.
"""

from __future__ import annotations

from collections.abc import Mapping

from pykvm.devices.pci.config import ConfigSpace
from pykvm.interfaces import Device

_CAP_VENDOR, _PCI_CFG = 0x09, 5
_BODY = 18  # after the two bytes of every capability
_BAR, _OFFSET, _LENGTH, _DATA = 4, 8, 12, 16


class ConfigWithWindow(ConfigSpace):
    """A configuration space whose data field reads and writes registers of a BAR."""

    capability = 0
    windows: Mapping[int, Device] = {}

    def _target(self, offset: int, size: int) -> tuple[Device, int, int] | None:
        """What an access that touches the data field means: (window, offset, size)."""
        at = self.capability
        if not at or offset != at + _DATA:
            return None
        window = self.windows.get(self.cells[at + _BAR])
        where = int.from_bytes(self.cells[at + _OFFSET : at + _OFFSET + 4], "little")
        length = int.from_bytes(self.cells[at + _LENGTH : at + _LENGTH + 4], "little")
        if window is None or length not in (1, 2, 4) or length > size or where % length:
            return None
        return window, where, length

    def read(self, offset: int, size: int) -> int:
        target = self._target(offset, size)
        if target is None:
            return super().read(offset, size)
        window, where, length = target
        return window.read(where, length)

    def write(self, offset: int, size: int, value: int) -> None:
        target = self._target(offset, size)
        if target is None:
            super().write(offset, size, value)
            return
        window, where, length = target
        window.write(where, length, value & (1 << length * 8) - 1)


def add_window(config: ConfigSpace, windows: Mapping[int, Device]) -> None:
    """Give ``config`` the capability, onto ``windows`` by BAR."""
    assert isinstance(config, ConfigWithWindow)
    body = bytearray(_BODY)
    body[0:2] = _BODY + 2, _PCI_CFG
    writable = bytearray(_BODY)
    writable[_BAR - 2] = 0xFF
    writable[_OFFSET - 2 : _DATA + 4 - 2] = b"\xff" * (_DATA + 4 - _OFFSET)
    config.capability = config.add_capability(_CAP_VENDOR, bytes(body), bytes(writable))
    config.windows = windows
