"""ICR and IMS, and when a cause becomes an interrupt (manual, 3.4.3 and 13.4.17 to 13.4.21).

A cause is recorded at once; the line follows ICR & IMS, but ITR keeps it from rising again before
its interval is over. Delay timers (RDTR and RADV, TIDV and TADV) hold back RXT0 and TXDW: each
packet starts the first anew, the second bounds the whole wait.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pykvm.devices.e1000.registers import Cause
from pykvm.interfaces import EventLoop, IrqLine, Timer

_ITR_UNIT_NS = 256
_DELAY_UNIT_NS = 1024


class DelayTimer:
    """One pair of a packet timer and an absolute one; units of 1.024 us."""

    def __init__(self, loop: EventLoop, fire: Callable[[], None]) -> None:
        self._loop = loop
        self._fire = fire
        self._timer: Timer | None = None
        self._deadline: int | None = None  # of the absolute timer

    def start(self, delay: int, absolute: int) -> None:
        """A packet came: fire after ``delay``, and in any case ``absolute`` after the first."""
        now = self._loop.now_ns()
        if self._deadline is None and absolute:
            self._deadline = now + absolute * _DELAY_UNIT_NS
        when = now + delay * _DELAY_UNIT_NS
        if self._deadline is not None:
            when = min(when, self._deadline)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self.flush)

    def flush(self) -> None:
        """Fire now, if anything waits."""
        if self._timer is not None:
            self.cancel()
            self._fire()

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._deadline = None


class Interrupts:
    """``on_raise(causes)`` is told of every rise of the line, for the trace."""

    def __init__(
        self, irq: IrqLine, loop: EventLoop, on_raise: Callable[[int], None] | None = None
    ) -> None:
        self._irq = irq
        self._loop = loop
        self.on_raise = on_raise
        self.icr = self.ims = self.itr = 0
        self._next_ns = 0  # before that time the line may not rise again
        self._held: Timer | None = None
        self._level = False

    def reset(self) -> None:
        self.icr = self.ims = self.itr = self._next_ns = 0
        if self._held is not None:
            self._held.cancel()
            self._held = None
        self.update()

    def cause(self, bits: int) -> None:
        """Record causes."""
        self.icr |= bits
        self.update()

    def read_icr(self) -> int:
        """Reading clears."""
        value, self.icr = self.icr, 0
        self.update()
        return value

    def clear(self, bits: int) -> None:
        """Writing 1 to ICR clears."""
        self.icr &= ~bits
        self.update()

    def set_mask(self, bits: int) -> None:
        self.ims |= bits & Cause.ALL
        self.update()

    def clear_mask(self, bits: int) -> None:
        self.ims &= ~bits
        self.update()

    def update(self) -> None:
        """Let the line follow the registers, as far as ITR allows."""
        wanted = bool(self.icr & self.ims)
        if wanted and not self._level:
            self._rise()
        elif not wanted and self._level:
            self._level = False
            self._irq.set(False)

    def _rise(self) -> None:
        if self._held is not None:
            return
        now = self._loop.now_ns()
        if now < self._next_ns:
            self._held = self._loop.call_at(self._next_ns, self._release)
            return
        self._level = True
        self._next_ns = now + self.itr * _ITR_UNIT_NS
        if self.on_raise is not None:
            self.on_raise(self.icr & self.ims)
        self._irq.set(True)

    def _release(self) -> None:
        self._held = None
        self.update()

    def state(self) -> dict[str, Any]:
        return {"icr": self.icr, "ims": self.ims, "itr": self.itr}

    def restore(self, state: Any) -> None:
        self.icr, self.ims, self.itr = state["icr"], state["ims"], state["itr"]
        self.update()
