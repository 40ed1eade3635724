"""ICR and IMS, and when a cause becomes an interrupt (manual, 3.4.3 and 13.4.17 to 13.4.21).

A cause is recorded at once; the line follows ICR & IMS, but ITR keeps it from rising again before
its interval is over. Delay timers (RDTR and RADV, TIDV and TADV) hold back RXT0 and TXDW: each
packet starts the first anew, the second bounds the whole wait.
"""

from __future__ import annotations

from collections.abc import Callable

from pykvm.devices.e1000.engine import Cells
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
    """ICR, IMS and ITR are ``cells``'. ``on_raise(causes)`` is told of every rise of the line, for
    the trace."""

    def __init__(
        self, cells: Cells, irq: IrqLine, loop: EventLoop,
        on_raise: Callable[[int], None] | None = None,
    ) -> None:  # fmt: skip
        self._cells = cells
        self._irq = irq
        self._loop = loop
        self.on_raise = on_raise
        self._next_ns = 0  # before that time the line may not rise again
        self._held: Timer | None = None
        self._level = False

    def reset(self) -> None:
        """The cells were set anew."""
        self._next_ns = 0
        if self._held is not None:
            self._held.cancel()
            self._held = None
        self.update()

    def _change(self, name: str, *, set: int = 0, clear: int = 0) -> None:
        self._cells.put(name, (self._cells.get(name) | set) & ~clear)
        self.update()

    def cause(self, bits: int) -> None:
        """Record causes."""
        self._change("ICR", set=bits)

    def read_icr(self) -> int:
        """Reading clears."""
        value = self._cells.get("ICR")
        self._change("ICR", clear=value)
        return value

    def clear(self, bits: int) -> None:
        """Writing 1 to ICR clears."""
        self._change("ICR", clear=bits)

    def set_mask(self, bits: int) -> None:
        self._change("IMS", set=bits)

    def clear_mask(self, bits: int) -> None:
        self._change("IMS", clear=bits)

    @property
    def _unmasked(self) -> int:
        return self._cells.get("ICR") & self._cells.get("IMS")

    def update(self) -> None:
        """Let the line follow the registers, as far as ITR allows."""
        wanted = bool(self._unmasked)
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
        self._next_ns = now + self._cells.get("ITR") * _ITR_UNIT_NS
        if self.on_raise is not None:
            self.on_raise(self._unmasked)
        self._irq.set(True)

    def _release(self) -> None:
        self._held = None
        self.update()
