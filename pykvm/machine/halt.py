"""Noticing that the guest has halted for good.

With KVM's own interrupt controllers a ``hlt`` never leaves the kernel, so ``cli; hlt`` is a thread
that sleeps in KVM_RUN for ever. A sleeping vCPU is one whose exits and CPU time stand still; it is
then asked, once, whether it is halted with interrupts off. When all are (or still wait for their
first SIPI), nothing in the machine can wake any of them again.
"""

from __future__ import annotations

import time

from pykvm.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from pykvm.machine.vcpu_thread import VcpuThread

_FIRST_LOOK = 0.002
_LAST_LOOK = 0.020
_LAST_PROBE = 0.320


class HaltWatch:
    """Watches the vCPU threads from the thread that waits for the run's end."""

    def __init__(self, threads: list[VcpuThread]) -> None:
        self._threads = threads
        self._look = _FIRST_LOOK
        self._seen: list[tuple[int, float]] = []
        self._probe_after = 0.0
        self._probe_pause = _FIRST_LOOK
        self._exits = -1

    def pause(self, deadline: float | None) -> float:
        """Seconds until the next look is due."""
        self._look = min(self._look * 1.5, _LAST_LOOK)
        if deadline is None:
            return self._look
        return max(0.0, min(self._look, deadline - time.monotonic()))

    def all_halted(self) -> bool:
        """Whether every vCPU is asleep for good. Asks them only when all stand still."""
        seen = [(t.exits, t.cpu_seconds()) for t in self._threads]
        still, self._seen = seen == self._seen, seen
        if not still:
            return False
        now = time.monotonic()
        exits = sum(e for e, _ in seen)
        if exits != self._exits:  # it did something since it was asked: ask again soon
            self._exits = exits
            self._probe_pause = _FIRST_LOOK
        elif now < self._probe_after:
            return False
        # An idle guest that waits for its timer is asked ever more rarely.
        self._probe_pause = min(self._probe_pause * 2, _LAST_PROBE)
        halted = [t.ask_halted() for t in self._threads]
        self._probe_after = time.monotonic() + self._probe_pause
        return all(halted) and sum(t.exits for t in self._threads) == exits
