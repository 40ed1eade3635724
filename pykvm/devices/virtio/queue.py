"""A virtqueue as the driver sets it up, before and while it is a ring."""

from __future__ import annotations

from typing import Any

from pykvm.devices.virtio.ring import Layout, Ring

NO_VECTOR = 0xFFFF
_FIELDS = "size descriptors driver device enabled vector".split()


class Queue:
    """``largest`` entries at most. Once enabled the set-up is frozen, until a reset."""

    def __init__(self, index: int, largest: int) -> None:
        self.index = index
        self.largest = largest
        self.vector = NO_VECTOR
        self.ring: Ring | None = None
        self.reset()

    def reset(self) -> None:
        """Back to before the driver found it; its vector stays until the whole device is reset."""
        self.size = self.largest
        self.descriptors = self.driver = self.device = 0
        self.enabled = False
        self.ring = None

    @property
    def layout(self) -> Layout:
        return Layout(self.size, self.descriptors, self.driver, self.device)

    def set(self, name: str, value: int) -> None:
        """``size`` or an address; ignored once the queue is enabled."""
        if not self.enabled:
            setattr(self, name, value)

    def with_half(self, name: str, high: bool, value: int) -> int:
        """The address ``name`` with 32 of its bits replaced."""
        old: int = getattr(self, name)
        return old & 0xFFFF_FFFF | value << 32 if high else old >> 32 << 32 | value

    def state(self) -> dict[str, Any]:
        ring = self.ring.state() if self.ring is not None else None
        return {name: getattr(self, name) for name in _FIELDS} | {"ring": ring}

    def restore(self, state: Any) -> None:
        """All but the ring, which the device makes again and then restores."""
        for name in _FIELDS:
            setattr(self, name, state[name])
