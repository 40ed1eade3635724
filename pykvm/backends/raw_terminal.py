"""A terminal in raw mode, and itself again on every way out."""

from __future__ import annotations

import atexit
import contextlib
import termios
import tty

from pykvm.hints import Any

_DISABLED = b"\0"  # _POSIX_VDISABLE


class RawTerminal:
    """Puts a terminal into raw mode; ``restore`` puts it back, at exit at the latest."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._before: list[Any] | None = termios.tcgetattr(fd)
        tty.setraw(fd, termios.TCSANOW)
        # Output stays cooked, so that pykvm's own lines and a guest's bare \n look right.
        mode = termios.tcgetattr(fd)
        mode[1] = self._before[1] if self._before else mode[1]
        # Ctrl-C still ends pykvm, as it ends anything else; Ctrl-Z and Ctrl-\\ are the guest's.
        mode[3] |= termios.ISIG
        for key in (termios.VQUIT, termios.VSUSP):
            mode[6][key] = _DISABLED
        termios.tcsetattr(fd, termios.TCSANOW, mode)
        atexit.register(self.restore)

    def restore(self) -> None:
        """Idempotent."""
        if self._before is not None:
            with contextlib.suppress(termios.error):  # the terminal itself may be gone
                termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)
            self._before = None
            atexit.unregister(self.restore)
