"""stderr, whose reader may have stopped reading: a pipe that is full, a terminal that is held.

While a guest runs, who writes here waits, so that a trace in a pager is whole. Once the run is over
nobody waits for longer than a moment: it has to end. Bytes go past ``sys.stderr``'s buffer, whose
lock a thread that waits would keep until the interpreter cannot end.
"""

from __future__ import annotations

import os
import select
import sys
import threading
import time

_ATMOST = 4096  # what poll() promises room for on a pipe (POSIX PIPE_BUF)
_MOMENT = 1.0  # seconds without progress


class Stderr:
    """A text stream, and a terminal of the machine's: ``close`` says that the run is over."""

    def __init__(self) -> None:
        self._busy = threading.Lock()
        self._enough = threading.Event()
        self._gone = False

    def write(self, text: str) -> int:
        """Write all of it, or drop the rest once the reader is gone. Raises OSError."""
        fd = _descriptor()
        if fd is None:
            if sys.stderr is not None:
                sys.stderr.write(text)
            return len(text)
        data = text.encode("utf-8", "backslashreplace")
        with self._busy:
            self._write(fd, data)
        return len(text)

    def _write(self, fd: int, data: bytes) -> None:
        poll = select.poll()
        poll.register(fd, select.POLLOUT)
        moved = time.monotonic()
        while data and not self._gone:
            if not poll.poll(100):
                self._gone = self._enough.is_set() and time.monotonic() - moved > _MOMENT
                continue
            try:
                data = data[os.write(fd, data[:_ATMOST]) :]
            except BlockingIOError:
                continue
            moved = time.monotonic()

    def flush(self) -> None:
        """Nothing is kept here."""
        if _descriptor() is None and sys.stderr is not None:
            sys.stderr.flush()

    def isatty(self) -> bool:
        return sys.stderr is not None and sys.stderr.isatty()

    def close(self) -> None:
        """The run is over: nobody waits for long from now on. The descriptor stays open."""
        self._enough.set()


def _descriptor() -> int | None:
    """stderr's own; None while somebody has put something else in its place."""
    own = sys.__stderr__
    return own.fileno() if own is not None and own is sys.stderr else None


STDERR = Stderr()
