"""``--trace KIND[,KIND...]``: which events are of interest."""

from __future__ import annotations

from collections.abc import Iterable

from pykvm.errors import UsageError
from pykvm.trace.events import DeviceEvent, Event, ExitEvent, IrqEvent

KINDS = {
    "exits": "every VM exit",
    "io": "port accesses",
    "mmio": "memory-mapped accesses",
    "unclaimed": "accesses that no device answers",
    "irq": "interrupt lines that change",
}


class Selection:
    """The kinds that a user named. Raises UsageError for one that does not exist.

    A device is named by its name, or by the start of it: ``uart`` means ``uart0``, too.
    """

    def __init__(self, text: str, devices: Iterable[str] = ()) -> None:
        names = [name.strip() for name in text.split(",") if name.strip()]
        devices = sorted(devices)
        for name in names or [text]:
            if name not in KINDS and not any(device.startswith(name) for device in devices):
                known = ", ".join([*KINDS, *devices])
                raise UsageError(f"--trace: {name!r} is unknown; it takes {known}")
        self._kinds = frozenset(name for name in names if name in KINDS)
        self._devices = tuple(name for name in names if name not in KINDS)

    def accepts(self, event: Event) -> bool:
        """Whether the user asked for such an event."""
        if event.device is not None and self._devices and event.device.startswith(self._devices):
            return True
        if isinstance(event, ExitEvent):
            return self._accepts_exit(event)
        if isinstance(event, IrqEvent):
            return "irq" in self._kinds
        return isinstance(event, DeviceEvent) and "exits" in self._kinds

    def _accepts_exit(self, event: ExitEvent) -> bool:
        kinds = self._kinds
        if "exits" in kinds:
            return True
        if event.address is None:
            return False
        if "unclaimed" in kinds and event.device is None:
            return True
        return event.reason.lower() in kinds
