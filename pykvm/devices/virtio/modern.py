"""The modern interface: a memory BAR in parts that capabilities point to (VIRTIO 1.2, 4.1.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykvm.devices.simple import SimpleDevice
from pykvm.devices.virtio import registers as r
from pykvm.devices.virtio.features import Ring as Feature
from pykvm.devices.virtio.queue import Queue

if TYPE_CHECKING:
    from pykvm.devices.virtio.pci import VirtioPci

_ADDRESSES = {
    f"QUEUE_{name}_{half}": (attribute, half == "HI")
    for name, attribute in (("DESC", "descriptors"), ("DRIVER", "driver"), ("DEVICE", "device"))
    for half in ("LO", "HI")
}


class ModernWindow(SimpleDevice):
    """BAR 4: common configuration, ISR, the device's configuration, notifications."""

    registers = r.MODERN
    access_width = 4
    STATE = {"selected": 0, "device_select": 0, "driver_select": 0}
    selected: int
    device_select: int
    driver_select: int

    def __init__(self, name: str, function: VirtioPci) -> None:
        super().__init__(name)
        self._function = function
        self._device = function.device

    @property
    def _queue(self) -> Queue | None:
        queues = self._device.queues
        return queues[self.selected] if self.selected < len(queues) else None

    def read(self, offset: int, size: int) -> int:
        if r.CONFIG <= offset < r.NOTIFY:
            return self._device.type.read_config(offset - r.CONFIG, size)
        register = r.MODERN.lookup(offset, write=False)
        if register is None:
            return 0
        if register.name == "ISR":
            return self._function.interrupts.read_isr()
        return self._value(register.name) >> (offset - register.offset) * 8 & (1 << size * 8) - 1

    def _value(self, name: str) -> int:
        device, queue = self._device, self._queue
        match name:
            case "DEVICE_FEATURE_SELECT":
                return self.device_select
            case "DEVICE_FEATURE":
                return _half(device.offered, self.device_select)
            case "DRIVER_FEATURE_SELECT":
                return self.driver_select
            case "DRIVER_FEATURE":
                return _half(device.features, self.driver_select)
            case "CONFIG_VECTOR":
                return device.config_vector
            case "NUM_QUEUES":
                return len(device.queues)
            case "STATUS":
                return int(device.status)
            case "GENERATION":
                return device.generation
            case "QUEUE_SELECT":
                return self.selected
        if queue is None:
            return r.NO_VECTOR if name == "QUEUE_VECTOR" else 0
        match name:
            case "QUEUE_SIZE":
                return queue.size
            case "QUEUE_VECTOR":
                return queue.vector
            case "QUEUE_ENABLE":
                return int(queue.enabled)
            case "QUEUE_NOTIFY_OFF" | "QUEUE_NOTIFY_DATA":
                return queue.index
        if name in _ADDRESSES:
            attribute, high = _ADDRESSES[name]
            return int(getattr(queue, attribute)) >> (32 if high else 0) & 0xFFFF_FFFF
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        if r.CONFIG <= offset < r.NOTIFY:
            self._device.type.write_config(offset - r.CONFIG, size, value)
            return
        if offset >= r.NOTIFY:
            self._device.kick((offset - r.NOTIFY) // r.NOTIFY_STEP)
            return
        register = r.MODERN.lookup(offset, write=True)
        if register is None or register.offset != offset or size != register.size:
            return  # fields are written whole (4.1.3.1)
        self._set(register.name, value)
        self._function.vectors_changed()

    def _set(self, name: str, value: int) -> None:
        device = self._device
        match name:
            case "DEVICE_FEATURE_SELECT":
                self.device_select = value
            case "DRIVER_FEATURE_SELECT":
                self.driver_select = value
            case "DRIVER_FEATURE" if self.driver_select < 2:
                shift = 32 * self.driver_select
                kept = device.features & ~(0xFFFF_FFFF << shift)
                device.accept(kept | value << shift, legacy=False)
            case "CONFIG_VECTOR":
                device.config_vector = self._function.vector(value)
            case "STATUS":
                if value == 0:
                    self.reset()
                    self._function.restart()
                else:
                    device.write_status(value, legacy=False)
            case "QUEUE_SELECT":
                self.selected = value
            case _:
                if self._queue is not None:
                    self._set_queue(self._queue, name, value)

    def _set_queue(self, queue: Queue, name: str, value: int) -> None:
        device = self._device
        match name:
            case "QUEUE_SIZE" if 0 < value <= queue.largest:
                device.set_up(queue, "size", value, legacy=False)
            case "QUEUE_VECTOR":
                queue.vector = self._function.vector(value)
            case "QUEUE_ENABLE" if value == 1:
                device.enable(queue, legacy=False)
            case "QUEUE_RESET" if value == 1 and device.has(Feature.RING_RESET):
                device.reset_queue(queue, legacy=False)
            case _ if name in _ADDRESSES:
                attribute, high = _ADDRESSES[name]
                address = queue.with_half(attribute, high, value)
                device.set_up(queue, attribute, address, legacy=False)


def _half(features: int, select: int) -> int:
    return features >> 32 * select & 0xFFFF_FFFF if select < 2 else 0
