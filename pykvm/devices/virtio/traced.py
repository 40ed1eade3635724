"""A ring that tells what happens on it, for the trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pykvm.devices.virtio.ring import Chain, Ring


class TracedRing:
    """``ring`` with every chain, interrupt decision and kick setting told, by queue number."""

    def __init__(self, ring: Ring, queue: int, tell: Callable[[str, dict[str, Any]], None]) -> None:
        self._ring = ring
        self._queue = queue
        self._tell = tell
        self._pushed = 0
        self.unpop = ring.unpop
        self.state = ring.state
        self.restore = ring.restore

    def pop(self) -> Chain | None:
        chain = self._ring.pop()
        if chain is not None:
            self._tell("pop", {
                "queue": self._queue, "id": chain.id,
                "readable": _sizes(chain.readable), "writable": _sizes(chain.writable),
            })  # fmt: skip
        return chain

    def push(self, chain: Chain, written: int) -> None:
        self._ring.push(chain, written)
        self._pushed += 1
        self._tell("push", {"queue": self._queue, "id": chain.id, "written": written})

    def flush(self) -> bool:
        wanted = self._ring.flush()
        if self._pushed:
            what = "interrupt" if wanted else "interrupt suppressed"
            self._tell(what, {"queue": self._queue, "chains": self._pushed})
            self._pushed = 0
        return wanted

    def disable_kicks(self) -> None:
        self._ring.disable_kicks()

    def enable_kicks(self) -> bool:
        return self._ring.enable_kicks()


def _sizes(pieces: list[memoryview]) -> str:
    return "+".join(str(len(piece)) for piece in pieces) or "0"
