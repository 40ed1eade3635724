"""Who gets the events: any number of sinks, none of which can hurt the guest."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from pykvm.interfaces import TraceSink
from pykvm.trace.events import Event


class Tracer:
    """Hands every event to every sink; called with the machine's lock held.

    A sink that raises is detached, closed as far as it can be, and reported once through ``warn``.
    """

    def __init__(self, *, warn: Callable[[str], None]) -> None:
        self.warn = warn
        """Also settable: a machine has a way that waits for nobody."""
        self._sinks: tuple[TraceSink, ...] = ()
        self._wants_code = False

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

    def event(self, event: Event) -> None:
        """Give ``event`` to every sink, in the order in which they were added."""
        for sink in self._sinks:
            try:
                sink.event(event)
            except Exception as error:
                self._detach(sink, error)

    def close(self) -> None:
        """Flush and let go of every sink; idempotent."""
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
