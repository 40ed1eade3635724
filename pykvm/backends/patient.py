"""Writing that waits for a slow reader, but never past ``close``."""

from __future__ import annotations

import os
import select
import threading

# poll() promises room for that much on a pipe (POSIX PIPE_BUF), so such a write cannot block.
_ATMOST = 4096


class PatientWriter:
    """Writes all of it to ``fd``, in order, until ``close``.

    ``fd`` keeps its mode: O_NONBLOCK belongs to the open file, which others may share.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._enough = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self._poll.register(self._enough, select.POLLIN)
        self._busy = threading.Lock()
        self.gone = False  # the reader has hung up, or we have

    def write(self, data: bytes) -> None:
        """Returns when all is written; drops the rest once the reader is gone."""
        with self._busy:
            while data and not self.gone:
                ready = dict(self._poll.poll())
                if self._enough in ready and not ready.get(self._fd, 0) & select.POLLOUT:
                    self.gone = True
                    return
                try:
                    data = data[os.write(self._fd, data[:_ATMOST]) :]
                except BlockingIOError:
                    continue
                except OSError:  # EPIPE, EIO: nobody will ever read this
                    self.gone = True

    def close(self) -> None:
        """A write that waits returns now, and later ones do nothing; from any thread, once.

        ``fd`` itself stays open: it is its owner's.
        """
        os.eventfd_write(self._enough, 1)
        with self._busy:
            self.gone = True
            os.close(self._enough)
