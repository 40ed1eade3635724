"""Threads that wait for the host, so that neither the guest nor the machine's lock has to.

Jobs run in any order, several at once. Those that are done are handed over in batches, in the event
loop, with the machine's lock held like everything that touches a device.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from pykvm.interfaces import EventLoop

Job = TypeVar("Job")


class Workers(Generic[Job]):
    """``work`` does a job, in a thread, without the lock; ``finished`` gets done ones, with it.
    The other methods are called with it. Threads start with the first job."""

    def __init__(
        self, loop: EventLoop, work: Callable[[Job], None],
        finished: Callable[[list[Job]], None], threads: int = 4,
    ) -> None:  # fmt: skip
        self._loop = loop
        self._work = work
        self._finished = finished
        self._limit = threads
        self._threads: list[threading.Thread] = []
        guard = threading.Lock()  # of everything below; never held while a job runs
        self._more, self._idle = threading.Condition(guard), threading.Condition(guard)
        self._waiting: deque[Job] = deque()
        self._busy = 0
        self._done: list[Job] = []
        self._bug: BaseException | None = None
        self._closing = False
        self._ready = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def submit(self, job: Job) -> None:
        """Have it done."""
        if not self._threads:
            self._loop.add_reader(self._ready, self._deliver)
        with self._more:
            self._waiting.append(job)
            if self._busy + len(self._waiting) > len(self._threads) < self._limit:
                thread = threading.Thread(target=self._main, name="disk", daemon=True)
                self._threads.append(thread)
                thread.start()
            self._more.notify()

    def settle(self) -> None:
        """Wait for every job, and hand them over."""
        with self._idle:
            self._idle.wait_for(lambda: not self._waiting and not self._busy)
        self._deliver()

    def abandon(self) -> None:
        """Forget the jobs that have not begun and wait for those that have; nothing is handed
        over, and after this no job touches anything."""
        with self._idle:
            self._waiting.clear()
            self._idle.wait_for(lambda: not self._busy)
            self._done.clear()

    def close(self) -> None:
        """Abandon, and end the threads. Idempotent."""
        if self._closing:
            return
        self.abandon()
        with self._more:
            self._closing = True
            self._more.notify_all()
        for thread in self._threads:
            thread.join()
        self._loop.remove_reader(self._ready)
        os.close(self._ready)

    def _deliver(self) -> None:
        with contextlib.suppress(BlockingIOError):  # settle() may have been faster than the loop
            os.eventfd_read(self._ready)  # first: what is done from here on signals again
        with self._idle:
            done, self._done = self._done, []
        if self._bug is not None:
            raise self._bug
        if done:
            self._finished(done)

    # -- a thread -----------------------------------------------------------------------------

    def _main(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while True:
            with self._more:
                self._more.wait_for(lambda: self._waiting or self._closing)
                if not self._waiting:
                    return
                job = self._waiting.popleft()
                self._busy += 1
            try:
                self._work(job)
            except Exception as bug:
                self._bug = bug
            with self._idle:
                self._busy -= 1
                self._done.append(job)
                if len(self._done) == 1:
                    os.eventfd_write(self._ready, 1)
                self._idle.notify_all()
            del job  # it may hold guest memory
