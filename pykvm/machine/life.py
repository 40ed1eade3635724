"""A machine's life: built, run once, given back; whoever asks, and whenever.

What is given back is what vCPUs run on, so nobody may run it then: ``close`` waits for ``run``. A
thread that is itself part of the machine cannot wait for itself; another one is started to do it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from pykvm.errors import MachineError


class Life:
    """Keeps ``run`` and ``close`` apart. Whoever makes one builds the machine, until ``end``.

    Every method may be called from any thread, and in a signal handler, whatever the thread does
    meanwhile: the lock below is one that it may take again.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.RLock())
        self._user: threading.Thread | None = threading.current_thread()
        self._closer: threading.Thread | None = None
        self._helper: threading.Thread | None = None
        self._has_run = False
        self._closed = False

    def begin(self) -> None:
        """The calling thread runs the machine from now on. Raises MachineError unless it is new."""
        with self._changed:
            if self._closed or self._closer is not None or self._helper is not None:
                raise MachineError("this machine is closed: make another one")
            if self._has_run:
                raise MachineError("a machine runs once: make another one")
            self._has_run = True
            self._user = threading.current_thread()

    def end(self) -> None:
        """Nobody builds or runs it any more."""
        with self._changed:
            self._user = None
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """Whether everything is given back, or about to be."""
        return self._closed

    def close(self, is_part: bool, give_back: Callable[[], None]) -> None:
        """Call ``give_back`` once, when nobody builds or runs the machine; return when it is done.

        For a thread that ``is_part`` of the machine, or builds, runs or closes it already (and is
        called back, or in a signal handler), that would be never: another thread does it then, and
        this returns at once.
        """
        me = threading.current_thread()
        with self._changed:
            if is_part or me is self._user or me is self._closer:
                if not self._closed and self._closer is None and self._helper is None:
                    self._helper = threading.Thread(
                        target=self.close, args=(False, give_back), name="close"
                    )
                    self._helper.start()
                return
            self._changed.wait_for(lambda: self._user is None and self._closer is None)
            if self._closed:
                return
            self._closer, self._closed = me, True
        try:
            give_back()
        finally:
            with self._changed:
                self._closer = None
                self._changed.notify_all()
