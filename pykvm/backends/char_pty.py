"""A pseudo-terminal: the guest's port or console for another program (``screen /dev/pts/7``).

While nobody has it open, output is dropped, as on a serial cable with nothing at the other end.
"""

from __future__ import annotations

import errno
import os
import pty
import select
import tty
from collections.abc import Callable

from pykvm.backends.patient import PatientWriter
from pykvm.errors import HostError
from pykvm.interfaces import CharReceiver, EventLoop, Timer

_LOOK_AGAIN_NS = 100_000_000


class PtyBackend:
    """Opens a pty and says its name. Raises HostError when the host has none left."""

    def __init__(
        self, loop: EventLoop, say: Callable[[str], None], option: str = "--serial"
    ) -> None:
        self._loop = loop
        self._again: Timer | None = None
        try:
            self._fd, far = pty.openpty()
        except OSError as e:
            raise HostError(f"{option} pty: {e.strerror}") from e
        tty.setraw(far)
        self.path = os.ttyname(far)
        os.close(far)
        os.set_blocking(self._fd, False)
        self._writer = PatientWriter(self._fd)
        self._receiver: CharReceiver | None = None
        self._closed = False
        say(f"{'serial port' if option == '--serial' else option[2:]} at {self.path}")

    def _connected(self) -> bool:
        """Whether the far side is open; without it the near side is hung up."""
        poll = select.poll()
        poll.register(self._fd, 0)
        return not any(events & select.POLLHUP for _, events in poll.poll(0))

    def connect(self, receiver: CharReceiver) -> None:
        self._receiver = receiver
        self.resume()

    def write(self, data: bytes) -> None:
        if not self._closed and self._connected():
            self._writer.write(data)
            self._writer.gone = self._closed  # who hung up may come back

    def resume(self) -> None:
        if self._receiver is None or self._closed:
            return
        if self._connected():
            self._loop.add_reader(self._fd, self._readable)
        else:  # a hung-up pty is "readable" for ever: look again later instead
            self._loop.remove_reader(self._fd)
            if self._again is not None:
                self._again.cancel()  # a guest may make us come here as often as it likes
            self._again = self._loop.call_at(self._loop.now_ns() + _LOOK_AGAIN_NS, self.resume)

    def _readable(self) -> None:
        room = self._receiver.room() if self._receiver else 0
        if self._closed or room == 0:
            self._loop.remove_reader(self._fd)
            return
        try:
            data = os.read(self._fd, room)
        except BlockingIOError:
            return
        except OSError as e:
            if e.errno != errno.EIO:
                raise
            self.resume()
            return
        if self._receiver:
            self._receiver.receive(data)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._writer.close()
        self._loop.remove_reader(self._fd)
        os.close(self._fd)
