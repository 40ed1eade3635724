"""Turns: how much a device does at a stretch for a guest that asks for ever more.

A guest sizes its rings, its frames and what one request becomes. A device works on them for a turn
at a time: so many steps, so many bytes, so long. Then it lets go of the machine's lock, and goes on
from the event loop; what is left is in the rings until then, and in memory at most one request.
"""

from __future__ import annotations

from collections.abc import Callable

from pykvm.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from pykvm.interfaces import EventLoop, Timer

SIZE = 1 << 20
"""Bytes of work in a turn."""
STEP = 1024
"""Bytes that a step (a descriptor, a chain, a frame) counts as, however few it moves."""
LONGEST_NS = 50_000_000
"""A turn does not go on for longer than that and a step."""


class Turn:
    """What is left of a turn that starts now."""

    def __init__(self, loop: EventLoop) -> None:
        self._loop = loop
        self._left = SIZE
        self._end = loop.now_ns() + LONGEST_NS

    def spend(self, size: int = 0) -> None:
        """A step that moves ``size`` bytes."""
        self._left -= STEP + size

    @property
    def over(self) -> bool:
        """Whether the rest is for a later turn."""
        return self._left <= 0 or self._loop.now_ns() >= self._end


class Later:
    """``work`` that goes on in a turn of its own, from the event loop."""

    def __init__(self, loop: EventLoop, work: Callable[[], None]) -> None:
        self._loop = loop
        self._work = work
        self._timer: Timer | None = None

    @property
    def waits(self) -> bool:
        """Whether a turn is to come."""
        return self._timer is not None

    def ask(self) -> None:
        """A turn is wanted, as soon as others have had theirs."""
        if self._timer is None:
            self._timer = self._loop.call_at(self._loop.now_ns(), self._run)

    def forget(self) -> None:
        """None is wanted any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _run(self) -> None:
        self._timer = None
        self._work()
