"""Host events: readable descriptors and timers, delivered in one thread with the lock held.

The thread starts with the first thing to wait for, so a guest that needs neither input nor timers
pays nothing. It never sees signals: those belong to the thread that waits for the run's end.
"""

from __future__ import annotations

import heapq
import itertools
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Callback = Callable[[], None]

_LONG_NS, _BREATH = 1_000_000, 0.0002


class _Timer:
    """A pending call; ``cancel`` only marks it, the heap forgets it when its time comes."""

    def __init__(self, callback: Callback) -> None:
        self.callback: Callback | None = callback

    def cancel(self) -> None:
        self.callback = None


class EpollLoop:
    """An ``EventLoop`` over epoll. ``on_error`` receives what a callback raised (a bug of ours).
    Once it is stopped, new timers and readers are forgotten."""

    def __init__(self, lock: threading.Lock, *, on_error: Callable[[BaseException], None]) -> None:
        self._lock = lock
        self._on_error = on_error
        self._guard = threading.Lock()  # of everything below; never held around a callback
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callback] = {}
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll.register(self._wake, select.EPOLLIN)
        self._timers: list[tuple[int, int, _Timer]] = []
        self._order = itertools.count()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._resting = False

    def now_ns(self) -> int:
        return time.monotonic_ns()

    def call_at(self, when_ns: int, callback: Callback) -> _Timer:
        timer = _Timer(callback)
        with self._guard:
            if self._stopping:
                return timer
            heapq.heappush(self._timers, (when_ns, next(self._order), timer))
            self._start()
            if self._timers[0][2] is timer:
                self._kick()
        return timer

    def add_reader(self, fd: int, callback: Callback) -> None:
        with self._guard:
            if self._stopping:
                return
            if fd not in self._callbacks:
                self._epoll.register(fd, select.EPOLLIN)
            self._callbacks[fd] = callback
            self._start()

    def remove_reader(self, fd: int) -> None:
        with self._guard:
            if not self._stopping and self._callbacks.pop(fd, None) is not None:
                with suppress(OSError):  # closed before: epoll has forgotten it by itself
                    self._epoll.unregister(fd)

    def rest(self) -> None:
        """No timer fires any more: what devices have left to do stays undone. From any thread,
        with or without the lock; it waits for nothing."""
        self._resting = True

    def runs_in(self, thread: threading.Thread) -> bool:
        """Whether ``thread`` is the one that makes the calls."""
        return thread is self._thread

    def stop(self) -> None:
        """Stop the thread and close everything; idempotent; not from the loop's own thread."""
        with self._guard:
            self._stopping = True
            if not self._epoll.closed:
                self._kick()
        if self._thread is not None:
            self._thread.join()
        with self._guard:
            if not self._epoll.closed:
                self._epoll.close()
                os.close(self._wake)
                self._timers.clear()

    # -- the thread ---------------------------------------------------------------------------

    def _start(self) -> None:
        if self._thread is not None or self._stopping:
            return
        self._thread = threading.Thread(target=self._main, name="events", daemon=True)
        self._thread.start()

    def _kick(self) -> None:
        os.eventfd_write(self._wake, 1)

    def _main(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while not self._stopping:
            for fd, _ in self._epoll.poll(self._timeout()):
                if fd == self._wake:
                    os.eventfd_read(self._wake)
                else:
                    self._call(fd)
            self._run_due()

    def _timeout(self) -> float | None:
        with self._guard:
            if not self._timers or self._resting:
                return None
            return max(0.0, (self._timers[0][0] - time.monotonic_ns()) / 1e9)

    def _run_due(self) -> None:
        now = time.monotonic_ns()
        while not self._stopping and not self._resting:
            with self._guard:
                if not self._timers or self._timers[0][0] > now:
                    return
                timer = heapq.heappop(self._timers)[2]
            with self._locked():
                callback, timer.callback = timer.callback, None
                if callback is not None:
                    self._guarded(callback)

    def _call(self, fd: int) -> None:
        with self._locked():
            callback = self._callbacks.get(fd)
            if callback is not None:  # another one of this round may have stopped watching it
                self._guarded(callback)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """The lock is not fair: who has held it for long leaves it alone until those that waited
        have had the time to wake up."""
        with self._lock:
            start = time.monotonic_ns()
            yield
            held = time.monotonic_ns() - start
        if held >= _LONG_NS:
            time.sleep(_BREATH)

    def _guarded(self, callback: Callback) -> None:
        try:
            callback()
        except Exception as error:
            self._on_error(error)
