"""Who gets the events: any number of sinks, none of which can hurt the guest."""

from __future__ import annotations

from collections.abc import Callable

from pykvm.interfaces import TraceSink
from pykvm.trace.events import Event


class Tracer:
    """Hands every event to every sink; called with the machine's lock held.

    A sink that raises is detached and reported once through ``warn``.
    """

    def __init__(self, *, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._sinks: list[TraceSink] = []

    def add(self, sink: TraceSink) -> None:
        """Attach a sink; before the machine is built, which looks once whether anybody listens."""
        self._sinks.append(sink)

    @property
    def enabled(self) -> bool:
        """Whether anybody listens."""
        return bool(self._sinks)

    @property
    def wants_code(self) -> bool:
        """Whether any sink needs RIP and the instruction bytes."""
        return any(sink.wants_code for sink in self._sinks)

    def event(self, event: Event) -> None:
        for sink in tuple(self._sinks):
            try:
                sink.event(event)
            except Exception as error:
                self._detach(sink, error)

    def close(self) -> None:
        """Flush and let go of every sink; idempotent."""
        while self._sinks:
            sink = self._sinks.pop()
            try:
                sink.close()
            except Exception as error:
                self._warn(f"trace: {type(sink).__name__} could not finish: {error}")

    def _detach(self, sink: TraceSink, error: Exception) -> None:
        self._sinks.remove(sink)
        self._warn(f"trace: {type(sink).__name__} failed and is detached: {error!r}")
