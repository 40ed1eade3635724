"""Less than a machine of one's own: few processors for everything, and others that want them, too.

A container with one processor, or a host that is busy, is what many users have. What a card does
there, with a thread that has to be given time before it can do anything, idle cores do not show.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pykvm.errors import HostError, UsageError

# Ends by itself when whoever has started it is gone, however that happened.
_BUSY = """
import os, sys
parent = int(sys.argv[1])
while os.getppid() == parent:
    for _ in range(100_000):
        pass
"""


_STARTED, _PATIENCE = 0.1, 60.0  # seconds of a processor's time, and of everybody's


@contextmanager
def processors(count: int | None) -> Iterator[set[int]]:
    """So many processors for this process, whatever it starts, and its guests; None is all that it
    may use. They are the last ones, since the first has more of the host's interrupts to serve.
    Threads that run already come along. Yields which they are. Raises UsageError when there are
    fewer."""
    before = os.sched_getaffinity(0)
    if count is not None and count > len(before):
        raise UsageError(f"{count} processors are more than the {len(before)} that there are")
    chosen = set(sorted(before)[-count:]) if count else before
    _move(chosen)
    try:
        yield chosen
    finally:
        _move(before)


def _move(chosen: set[int]) -> None:
    for thread in os.listdir("/proc/self/task"):
        with suppress(ProcessLookupError):  # it has just ended
            os.sched_setaffinity(int(thread), chosen)


@contextmanager
def neighbours(count: int) -> Iterator[list[int]]:
    """So many processes that never wait, on the processors that the caller may use. Yields their
    IDs when all are busy; they have ended when this ends, whatever happened."""
    started: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(count):
            started.append(
                subprocess.Popen(
                    [sys.executable, "-S", "-c", _BUSY, str(os.getpid())],
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                    process_group=0,  # Ctrl-C is ours to answer
                )
            )  # fmt: skip
        pids = [process.pid for process in started]
        deadline = time.monotonic() + _PATIENCE
        while not all(map(_is_busy, pids)):
            if time.monotonic() > deadline:
                raise HostError("the neighbours get no processor")
            time.sleep(0.01)
        yield pids
    finally:
        for process in started:
            process.kill()
        for process in started:
            process.wait()


def _is_busy(pid: int) -> bool:
    """Whether its interpreter must have started by now."""
    # Another process's clock is named by its ID (Linux: posix-timers_types.h, CPUCLOCK_SCHED).
    return time.clock_gettime(~pid << 3 | 2) > _STARTED


def describe(count: int | None, busy: int) -> str:
    """``one processor, 2 neighbours``."""
    where = "all processors" if count is None else f"{count} processors"
    where = "one processor" if count == 1 else where
    beside = {0: "", 1: ", 1 neighbour"}.get(busy, f", {busy} neighbours")
    return where + beside
