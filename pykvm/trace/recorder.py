"""Who gets the events: any number of sinks, none of which can hurt the guest; and in which order.

An exit's event is complete only when the exit is answered, and what answering it made happen (an
interrupt, a frame) has come by then. So while an exit is being answered, all that happens after it
is held back until its event is there: causes come before effects, and times never run back.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from contextlib import suppress

from pykvm.interfaces import TraceSink
from pykvm.trace.events import Event


class Tracer:
    """Hands every event to every sink, in the order of their times; called with the machine's lock
    held, and each event's time is taken in the same holding of it.

    A sink that raises is detached, closed as far as it can be, and reported once through ``warn``.

    With ``inside`` a sink may want each exit and what happens inside devices: C does nothing by
    itself then, so that Python sees it all. Without, events are the exits that come to Python
    anyhow, and the machine works as it does when nobody watches. It is said here and not by sinks,
    as devices are built before they have the names that sinks select by.
    """

    def __init__(self, *, warn: Callable[[str], None], inside: bool = True) -> None:
        self.warn = warn
        """Also settable: a machine has a way that waits for nobody."""
        self.inside = inside
        self._sinks: tuple[TraceSink, ...] = ()
        self._wants_code = False
        self._order = itertools.count()  # of what happens at the same time
        self._unanswered: dict[int, tuple[int, int]] = {}  # by vCPU: since when
        self._held: list[tuple[tuple[int, int], Event]] = []  # a heap

    def add(self, sink: TraceSink) -> None:
        """Attach a sink; before the machine runs: a vCPU asks once whether code is wanted."""
        self._attach((*self._sinks, sink))

    @property
    def enabled(self) -> bool:
        """Whether anybody listens."""
        return bool(self._sinks)

    @property
    def wants_code(self) -> bool:
        """Whether any sink needs RIP and the instruction bytes."""
        return self._wants_code

    def begin(self, vcpu: int, now: int) -> None:
        """``vcpu`` has left the guest: what happens from ``now`` on comes after that exit."""
        self._unanswered[vcpu] = now, next(self._order)

    def end(self, vcpu: int, event: Event | None = None) -> None:
        """The exit is answered; ``event`` is what there is to tell of it, as of its beginning."""
        at = self._unanswered.pop(vcpu, None)
        if event is not None:
            heapq.heappush(self._held, (at or (event.time_ns, next(self._order)), event))
        self._release()

    def event(self, event: Event) -> None:
        """Give ``event`` to every sink, in the order in which they were added, when its time is."""
        if not self._unanswered:
            self._give(event)
            return
        heapq.heappush(self._held, ((event.time_ns, next(self._order)), event))
        self._release()

    def _release(self) -> None:
        """Give what no unanswered exit is older than."""
        oldest = min(self._unanswered.values(), default=None)
        while self._held and (oldest is None or self._held[0][0] < oldest):
            self._give(heapq.heappop(self._held)[1])

    def _give(self, event: Event) -> None:
        for sink in self._sinks:
            try:
                sink.event(event)
            except Exception as error:
                self._detach(sink, error)

    def close(self) -> None:
        """Give what is held back, flush and let go of every sink; idempotent."""
        self._unanswered.clear()
        self._release()
        sinks = self._sinks
        self._attach(())
        for sink in sinks:
            try:
                sink.close()
            except Exception as error:
                self._say(f"trace: {type(sink).__name__} could not finish: {error}")

    def _attach(self, sinks: tuple[TraceSink, ...]) -> None:
        self._sinks = sinks
        self._wants_code = any(sink.wants_code for sink in sinks)

    def _detach(self, sink: TraceSink, error: Exception) -> None:
        if all(other is not sink for other in self._sinks):
            return  # it failed while it was told about its own failure
        self._attach(tuple(other for other in self._sinks if other is not sink))
        with suppress(Exception):  # what it wrote before is worth keeping; its failure is known
            sink.close()
        self._say(f"trace: {type(sink).__name__} failed and is detached: {error!r}")

    def _say(self, line: str) -> None:
        with suppress(OSError, ValueError):  # stderr can be what failed: a closed pipe
            self.warn(line)
