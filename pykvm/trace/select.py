"""``--trace KIND[,KIND...]``: which events are of interest."""

from __future__ import annotations

from collections.abc import Iterable

from pykvm.errors import UsageError
from pykvm.trace.events import Event, ExitEvent, IrqEvent

KINDS = {
    "exits": "every VM exit, and what devices report",
    "io": "port accesses",
    "mmio": "memory-mapped accesses",
    "unclaimed": "accesses that no device answers",
    "irq": "interrupt lines that change",
}


class Selection:
    """The kinds that a user named. Raises UsageError for one that does not exist.

    A device is named by its name, or by the start of it: ``uart`` means ``uart0``, too; it stands
    for the device's exits, interrupts and events.
    """

    def __init__(self, text: str, devices: Iterable[str] = ()) -> None:
        names = [name.strip() for name in text.split(",") if name.strip()]
        devices = sorted(devices)
        chosen: set[str] = set()
        for name in names or [text]:
            if name in KINDS:
                continue
            meant = [name] if name in devices else [d for d in devices if d.startswith(name)]
            if not name or not meant:
                known = ", ".join([*KINDS, *devices])
                raise UsageError(f"--trace: {name!r} is unknown; it takes {known}")
            chosen.update(meant)
        self.kinds = frozenset(name for name in names if name in KINDS)
        self.devices = frozenset(chosen)

    @property
    def wants_exits(self) -> bool:
        """Whether any exit can be accepted; if not, nobody needs RIP and code bytes."""
        return bool(self.devices or self.kinds - {"irq"})

    @property
    def wants_irqs(self) -> bool:
        """Whether any IrqEvent can be accepted."""
        return bool(self.devices) or "irq" in self.kinds

    @property
    def wants_devices(self) -> bool:
        """Whether any DeviceEvent can be accepted."""
        return bool(self.devices) or "exits" in self.kinds

    def accepts(self, event: Event) -> bool:
        """Whether the user asked for such an event."""
        if event.device in self.devices:
            return True
        kinds = self.kinds
        if isinstance(event, ExitEvent):
            if "exits" in kinds:
                return True
            if event.address is None:
                return False
            if event.device is None and "unclaimed" in kinds:
                return True
            return event.reason.lower() in kinds
        return ("irq" if isinstance(event, IrqEvent) else "exits") in kinds
