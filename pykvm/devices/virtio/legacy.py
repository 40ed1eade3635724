"""The legacy interface: one window of I/O ports, queues by page number (VIRTIO 1.2, 4.1.4.8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykvm.devices.simple import SimpleDevice
from pykvm.devices.virtio import registers as r

if TYPE_CHECKING:
    from pykvm.devices.virtio.pci import VirtioPci

PAGE = 4096
NOTIFY = r.LEGACY["QUEUE_NOTIFY"].offset


class LegacyWindow(SimpleDevice):
    """BAR 0. With MSI-X enabled two vector registers stand before the device's configuration."""

    registers = r.LEGACY
    access_width = 4
    STATE = {"selected": 0}
    selected: int

    def __init__(self, name: str, function: VirtioPci) -> None:
        super().__init__(name)
        self._function = function
        self._device = function.device

    @property
    def bank(self) -> int:
        return int(self._function.msix.enabled)

    @property
    def _config_at(self) -> int:
        return r.LEGACY_CONFIG_MSIX if self.bank else r.LEGACY_CONFIG

    def read(self, offset: int, size: int) -> int:
        if offset >= self._config_at:
            return self._device.type.read_config(offset - self._config_at, size)
        register = r.LEGACY.lookup(offset, write=False, bank=self.bank)
        if register is None:
            return 0
        if register.name == "ISR":
            return self._function.interrupts.read_isr()
        return self._value(register.name) >> (offset - register.offset) * 8 & (1 << size * 8) - 1

    def _value(self, name: str) -> int:
        device = self._device
        queues = device.queues
        queue = queues[self.selected] if self.selected < len(queues) else None
        match name:
            case "DEVICE_FEATURES":
                return device.offered & 0xFFFF_FFFF
            case "GUEST_FEATURES":
                return device.features & 0xFFFF_FFFF
            case "QUEUE_PFN":
                return queue.descriptors // PAGE if queue and queue.enabled else 0
            case "QUEUE_SIZE":
                return queue.largest if queue else 0
            case "QUEUE_SELECT":
                return self.selected
            case "STATUS":
                return int(device.status)
            case "CONFIG_VECTOR":
                return device.config_vector
            case "QUEUE_VECTOR":
                return queue.vector if queue else r.NO_VECTOR
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        if offset >= self._config_at:
            self._device.type.write_config(offset - self._config_at, size, value)
            return
        register = r.LEGACY.lookup(offset, write=True, bank=self.bank)
        if register is None or register.offset != offset or size != register.size:
            return
        device = self._device
        match register.name:
            case "GUEST_FEATURES":
                device.accept(value, legacy=True)
            case "QUEUE_PFN":
                self._place(value)
            case "QUEUE_SELECT":
                self.selected = value
            case "QUEUE_NOTIFY":
                device.kick(value)
            case "STATUS":
                if value == 0:
                    self.reset()
                    self._function.restart()
                else:
                    device.write_status(value, legacy=True)
            case "CONFIG_VECTOR":
                device.config_vector = self._function.vector(value)
            case "QUEUE_VECTOR":
                if self.selected < len(device.queues):
                    device.queues[self.selected].vector = self._function.vector(value)
        self._function.vectors_changed()

    def _place(self, page: int) -> None:
        """The whole ring from one page on; 0 takes it back (2.7.2)."""
        device = self._device
        if self.selected >= len(device.queues):
            return
        queue = device.queues[self.selected]
        if page == 0:
            device.reset_queue(queue, legacy=True)
            return
        base = page * PAGE
        avail = base + 16 * queue.size
        used = avail + 6 + 2 * queue.size + PAGE - 1 & ~(PAGE - 1)
        for name, address in (("descriptors", base), ("driver", avail), ("device", used)):
            device.set_up(queue, name, address, legacy=True)
        device.enable(queue, legacy=True)
