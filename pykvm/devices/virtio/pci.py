"""A virtio device as a PCI function: legacy, modern or both (VIRTIO 1.2, 4.1).

BAR 0   I/O ports: the legacy registers
BAR 1   memory: the MSI-X table
BAR 4   memory, 64-bit: the modern registers
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pykvm.devices.pci.config import Bar, ConfigSpace, Identity
from pykvm.devices.pci.dma import BusMaster
from pykvm.devices.pci.msi import Msix, MsixTable
from pykvm.devices.virtio import registers as r
from pykvm.devices.virtio.configaccess import ConfigWithWindow, add_window
from pykvm.devices.virtio.device import Trace, Type, VirtioDevice
from pykvm.devices.virtio.interrupts import Interrupts, InterruptStatus, NativeInterrupts
from pykvm.devices.virtio.legacy import NOTIFY, LegacyWindow
from pykvm.devices.virtio.modern import ModernWindow
from pykvm.devices.virtio.queue import NO_VECTOR
from pykvm.devices.virtio.wires import Wires
from pykvm.errors import DeviceError
from pykvm.interfaces import Device, EventLoop, IrqLine, Kicks, Messages, State
from pykvm.memory import GuestMemory
from pykvm.record import Record

VENDOR = 0x1AF4
TRANSPORTS = ("transitional", "legacy", "modern")
_TRANSITIONAL_IDS = {1: 0x1000, 2: 0x1001, 3: 0x1003, 4: 0x1005}
_MODERN_BASE = 0x1040
_LEGACY_BAR, _MSIX_BAR, _MODERN_BAR = 0, 1, 4
_CAP_VENDOR = 0x09
_COMMON_CFG, _NOTIFY_CFG, _ISR_CFG, _DEVICE_CFG = 1, 2, 3, 4


class Surroundings(Record):
    """What a function works with. Without ``kicks`` each kick is an access of the window's;
    ``report`` is told what the driver did wrong."""

    irq: IrqLine
    loop: EventLoop
    memory: GuestMemory
    messages: Messages
    kicks: Kicks | None = None
    trace: Trace | None = None
    report: Callable[[DeviceError], None] = lambda error: None


class VirtioPci:
    """``kind`` in a slot. ``transport`` is one of ``TRANSPORTS``."""

    def __init__(
        self, name: str, kind: Type, around: Surroundings, *, transport: str = "transitional",
        packed: bool = True,
    ) -> None:  # fmt: skip
        self.name = name
        legacy, modern = transport != "modern", transport != "legacy"
        bars = (
            *([Bar(_LEGACY_BAR, r.LEGACY_SIZE, io=True)] if legacy else []),
            Bar(_MSIX_BAR, _table_size(len(kind.queue_sizes) + 1)),
            *([Bar(_MODERN_BAR, r.MODERN_SIZE, wide=True, prefetch=True)] if modern else []),
        )
        self.config: ConfigSpace = ConfigWithWindow(_identity(kind, legacy), bars)
        self.device = VirtioDevice(
            kind, BusMaster(self.config, around.memory), around.loop, packed=packed and modern,
            trace=around.trace, report=around.report,
        )  # fmt: skip
        table = MsixTable(f"{name}-msix", len(kind.queue_sizes) + 1)
        self.msix = Msix(self.config, table, _MSIX_BAR, around.messages.send)
        table.on_unmask = self.vectors_changed
        self._placed: Mapping[int, int] = {}
        self.answers: Mapping[int, tuple[Any, Any]] = {}
        self.interrupts = self._wire(around, legacy, modern)
        self.device.interrupt = self.interrupts.fire
        self._way = self._interrupt_way()
        windows: dict[int, Device] = {_MSIX_BAR: table}
        self.windows: Mapping[int, Device] = windows
        if legacy:
            windows[_LEGACY_BAR] = LegacyWindow(name if not modern else f"{name}-io", self)
        if modern:
            window = windows[_MODERN_BAR] = ModernWindow(name, self)
            self._add_capabilities(kind)
            add_window(self.config, {_MODERN_BAR: window})

    def _wire(self, around: Surroundings, legacy: bool, modern: bool) -> InterruptStatus:
        """Interrupts, and with ``around.kicks`` what queues need that C works."""
        if around.kicks is None:
            return Interrupts(self.config, around.irq, self.msix)
        interrupts = NativeInterrupts(self.config, around.irq, self.msix)
        wires = self.device.wires = Wires(
            around.kicks, around.messages, self.msix, interrupts.native,
            lambda queue: self.device.queues[queue].vector, self._kicked_at,
        )  # fmt: skip
        self.msix.table.also_pending = wires.pending
        queues = len(self.device.queues)
        answers = {
            _LEGACY_BAR: wires.answer(r.LEGACY["ISR"].offset, NOTIFY, 0, queues),
            _MODERN_BAR: wires.answer(r.ISR, r.NOTIFY, r.NOTIFY_STEP, queues),
        }
        there = {_LEGACY_BAR: legacy, _MODERN_BAR: modern}
        self.answers = {bar: answer for bar, answer in answers.items() if there[bar]}
        return interrupts

    def _kicked_at(self, queue: int) -> list[tuple[int, bool, int | None]]:
        """Where the driver writes to kick ``queue``; see ``wires.Address``."""
        found: list[tuple[int, bool, int | None]] = []
        if _LEGACY_BAR in self._placed:
            found.append((self._placed[_LEGACY_BAR] + NOTIFY, True, queue))
        if _MODERN_BAR in self._placed:
            at = self._placed[_MODERN_BAR] + r.NOTIFY + queue * r.NOTIFY_STEP
            found.append((at, False, None))
        return found

    def _interrupt_way(self) -> tuple[bool, bool]:
        return self.msix.enabled, self.device.dma.allowed

    def _add_capabilities(self, kind: Type) -> None:
        """Where the parts of the modern window are (4.1.4)."""
        for what, offset, length, more in (
            (_COMMON_CFG, r.COMMON, r.COMMON_SIZE, b""),
            (_NOTIFY_CFG, r.NOTIFY, r.NOTIFY_STEP * len(kind.queue_sizes),
             r.NOTIFY_STEP.to_bytes(4, "little")),
            (_ISR_CFG, r.ISR, 1, b""),
            (_DEVICE_CFG, r.CONFIG, max(kind.config_size, 4), b""),
        ):  # fmt: skip
            head = bytes((16 + len(more), what, _MODERN_BAR, 0, 0, 0))
            body = head + offset.to_bytes(4, "little") + length.to_bytes(4, "little") + more
            self.config.add_capability(_CAP_VENDOR, body, bytes(len(body)))

    # -- for the windows ----------------------------------------------------------------------

    def vector(self, value: int) -> int:
        """The vector that the driver gets when it asks for ``value`` (4.1.5.1.2)."""
        return value if value < self.msix.table.vectors else NO_VECTOR

    def vectors_changed(self) -> None:
        """A queue may have got another vector, or a vector another message."""
        self.msix.release()
        if self.device.wires is not None:
            self.device.wires.update()

    def restart(self) -> None:
        """The driver reset the device: its own part, and what the transport holds for it."""
        self.device.reset()
        self.interrupts.restore(0)
        if self.device.wires is not None:
            self.device.wires.forget()

    # -- for the bus --------------------------------------------------------------------------

    def config_changed(self) -> None:
        """The guest wrote the configuration space."""
        self.interrupts.update()
        self.vectors_changed()
        before, self._way = self._way, self._interrupt_way()
        if self._way != before:
            self.device.rewired()

    def placed(self, addresses: Mapping[int, int]) -> None:
        """Where the windows are."""
        self._placed = dict(addresses)
        if self.device.wires is not None:
            self.device.wires.moved()

    # -- life ---------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of guest memory; idempotent."""
        self.device.type.stop()
        for queue in self.device.queues:
            queue.ring = None
        if self.device.wires is not None:
            self.device.wires.close()

    def state(self) -> State:
        device = self.device.state()  # first: finishing something may interrupt
        return {
            "version": 1, "config": self.config.state(), "device": device,
            "isr": self.interrupts.isr,
            "windows": {index: window.state() for index, window in self.windows.items()},
        }  # fmt: skip

    def restore(self, state: State) -> None:
        if state["version"] != 1:
            raise ValueError(f"{self.name}: state version {state['version']}")
        self.config.restore(state["config"])
        for index, window in self.windows.items():
            window.restore(state["windows"][index])
        self.interrupts.restore(state["isr"])
        self.device.restore(state["device"])
        self.interrupts.update()


def _identity(kind: Type, legacy: bool) -> Identity:
    """Legacy drivers find the type in the subsystem's ID, modern ones in the device's (4.1.2)."""
    return Identity(
        vendor=VENDOR,
        device=_TRANSITIONAL_IDS[kind.kind] if legacy else _MODERN_BASE + kind.kind,
        class_code=kind.class_code, revision=0 if legacy else 1,
        subsystem_vendor=VENDOR, subsystem=kind.kind if legacy else 0x1100, interrupt_pin=1,
    )  # fmt: skip


def _table_size(vectors: int) -> int:
    return MsixTable("", vectors).size
