"""A machine's life: built, run once, given back; whoever asks, and whenever.

What is given back is what vCPUs run on, so nobody may run it then: ``close`` waits for ``run``. A
thread that is itself part of the machine cannot wait for itself; another one is started to do it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from pykvm.errors import MachineError

_LOOK = 0.05


class Use:
    """One time that a thread builds, runs or closes the machine."""

    def __init__(self) -> None:
        self.thread = threading.current_thread()


class Life:
    """Keeps ``run`` and ``close`` apart. Whoever makes one builds the machine.

    A use ends by a plain ``life.user = None`` in a ``finally``: between entering that and an
    assignment without a call no KeyboardInterrupt comes, which would have ``close`` wait for ever.

    Every method may be called from any thread, and in a signal handler, whatever the thread does
    meanwhile: the lock below is one that it may take again.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.RLock())
        self.user: Use | None = Use()
        self._closer: Use | None = None
        self._helper: threading.Thread | None = None
        self._has_run = False
        self._closing = False
        self._closed = False

    def begin(self, use: Use) -> None:
        """The machine is run, as ``use``, from now on. Raises MachineError unless it is new."""
        with self._changed:
            if self._closing:
                raise MachineError("this machine is closed: make another one")
            if self._has_run:
                raise MachineError("a machine runs once: make another one")
            self._has_run = True
            self.user = use

    def tell(self) -> None:
        """A use has ended; who waits for that need not look again by itself."""
        with self._changed:
            self._changed.notify_all()

    def close(self, is_part: bool, give_back: Callable[[], None]) -> None:
        """Call ``give_back`` when nobody builds or runs the machine, and return when it is done: by
        this call, or another one. Should a KeyboardInterrupt cut it short, the next call goes on.

        For a thread that ``is_part`` of the machine, or builds, runs or closes it already (and is
        called back, or in a signal handler), that would be never: another thread does it then, and
        this returns at once.
        """
        mine = Use()
        self._closing = True
        try:
            if not self._must_wait(is_part, give_back):
                return
            with self._changed:
                while self.user is not None or self._closer is not None:
                    self._changed.wait(_LOOK)
                if self._closed:
                    return
                self._closer = mine
            give_back()
            self._closed = True
        finally:
            if self._closer is mine:
                self._closer = None
                self.tell()

    def _must_wait(self, is_part: bool, give_back: Callable[[], None]) -> bool:
        """Whether the calling thread closes, or waits for it; if not, another one does."""
        me = threading.current_thread()
        with self._changed:
            if not is_part and not any(
                use is not None and use.thread is me for use in (self.user, self._closer)
            ):
                return True
            if not self._closed and self._closer is None and self._helper is None:
                self._helper = threading.Thread(
                    target=self.close, args=(False, give_back), name="close"
                )
                self._helper.start()
            return False
