"""What pykvm says on behalf of a guest: little, short, and never waited for.

A guest decides how often a device has something to complain of, so nothing here grows with that.
Each of at most 64 devices is told of once, a line has at most 240 characters, and after the first
ten lines one a second passes. What was left out is counted, and the count is told at the end. A
thread of its own writes: whoever complains may hold the machine's lock, and
the reader of stderr may have stopped reading.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

_NAMES = 64
_LONGEST = 240
_AT_ONCE, _SECONDS_A_LINE = 10, 1.0
_WAITING = 32  # lines for the user that wait to be written
_PATIENCE = 2.0  # seconds for which the end waits for who reads


class Complaints:
    """Hands lines to ``say``, which may block, one at a time. ``clock`` counts seconds.

    All methods may be called from any thread, with the machine's lock or without it.
    """

    def __init__(
        self, say: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._say = say
        self._clock = clock
        self._told: set[str] = set()
        self._allowance, self._looked = float(_AT_ONCE), clock()
        self._left_out = 0
        self._lines: deque[str] = deque()
        self._change = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def add(self, who: str, what: object) -> None:
        """The guest asked ``who`` for the impossible, namely ``what``. Returns at once."""
        with self._change:
            known = who in self._told or len(self._told) >= _NAMES
            if self._closed or known or not self._allowed():
                self._left_out += 1
                return
            self._told.add(who)
            self._put(_short(f"{who}: {what}"))

    def tell(self, line: str) -> None:
        """Tell the user what is no complaint. Returns at once, before ``close``."""
        with self._change:
            if not self._closed:
                if len(self._lines) < _WAITING:
                    self._put(line)
                return
        self._say(line)

    def close(self) -> None:
        """Wait a moment for what is still to be written. Idempotent; not with the lock held."""
        with self._change:
            if self._left_out and not self._closed:
                self._put(f"{self._left_out} more complaints of devices about the guest")
            self._closed = True
            self._change.notify()
        if self._thread is not None:
            self._thread.join(_PATIENCE)

    def _allowed(self) -> bool:
        """Whether it is time for one more line, which is then taken from the allowance."""
        now = self._clock()
        more = (now - self._looked) / _SECONDS_A_LINE
        self._allowance = min(self._allowance + more, _AT_ONCE)
        self._looked = now
        if self._allowance < 1 or len(self._lines) >= _WAITING:
            return False
        self._allowance -= 1
        return True

    def _put(self, line: str) -> None:
        self._lines.append(line)
        if self._thread is None:
            self._thread = threading.Thread(target=self._write, name="complaints", daemon=True)
            self._thread.start()
        self._change.notify()

    def _write(self) -> None:
        while True:
            with self._change:
                while not self._lines and not self._closed:
                    self._change.wait()
                if not self._lines:
                    return
                line = self._lines.popleft()
            try:
                self._say(line)
            except (OSError, ValueError):  # nobody is there to read it
                return


def _short(line: str) -> str:
    """On one line, and not too long."""
    line = line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."
    return line if line.isprintable() else ascii(line)[1:-1][:_LONGEST]
