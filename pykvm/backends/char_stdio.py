"""The terminal: the guest's serial port on standard input and output.

On a terminal, input is raw, so that the guest sees every key; Ctrl-A is the escape key then:
Ctrl-A x quits, Ctrl-A h helps, Ctrl-A c sends Ctrl-C, which typed alone ends pykvm, and Ctrl-A
Ctrl-A sends one Ctrl-A. Anything else on standard input (a pipe, a file) goes to the guest as it
is, and its end is just the end of the input.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping

from pykvm.backends.patient import PatientWriter
from pykvm.hints import TYPE_CHECKING
from pykvm.interfaces import CharReceiver, EventLoop

if TYPE_CHECKING:
    from pykvm.backends.raw_terminal import RawTerminal

_ESCAPE = 0x01
_CTRL_C = 0x03
_HELP = (
    "Ctrl-A x quits, Ctrl-A p presses the power button, Ctrl-A n pulls or plugs the network "
    "cables, Ctrl-A c sends Ctrl-C, Ctrl-A Ctrl-A sends Ctrl-A, Ctrl-A h shows this"
)


class StdioBackend:
    """``fds`` are (input, output); standard ones unless a test says otherwise."""

    def __init__(
        self,
        loop: EventLoop,
        actions: Mapping[str, Callable[[], None]],
        say: Callable[[str], None],
        fds: tuple[int, int] = (0, 1),
    ) -> None:
        self._loop = loop
        self._actions = actions
        self._say = say
        self._in, out = fds
        self._receiver: CharReceiver | None = None
        self._ended = False
        self._escaped = False
        self._waiting = b""  # read, but there was no room
        self._closing = threading.Lock()
        self._closed = False
        self._writer = PatientWriter(out)
        self._terminal = _terminal(self._in)

    def connect(self, receiver: CharReceiver) -> None:
        self._receiver = receiver
        self.resume()

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    # -- input --------------------------------------------------------------------------------

    def resume(self) -> None:
        if self._receiver is None or self._closed:
            return
        self._deliver()
        if not self._waiting and not self._ended:
            self._watch()

    def _watch(self) -> None:
        try:
            self._loop.add_reader(self._in, self._readable)
        except PermissionError:  # a regular file: always readable, and epoll will not have it
            self._readable_file()
        except (OSError, ValueError):  # standard input is closed
            self._ended = True

    def _readable(self) -> None:
        if self._receiver is None:
            return
        # A terminal is always read, for the escape keys; a pipe only as fast as the guest reads.
        if self._terminal is None and self._receiver.room() == 0:
            self._loop.remove_reader(self._in)
            return
        try:
            data = os.read(self._in, 4096 if self._terminal else self._receiver.room())
        except OSError:
            data = b""
        if not data:
            self._ended = True
            self._loop.remove_reader(self._in)
            return
        self._waiting = (self._waiting + (self._keys(data) if self._terminal else data))[-65536:]
        self._deliver()

    def _readable_file(self) -> None:
        while self._receiver is not None and not self._ended and self._receiver.room():
            data = os.read(self._in, self._receiver.room())
            self._ended = not data
            self._receiver.receive(data)

    def _deliver(self) -> None:
        # Until there is no room: only a receiver that said so calls resume() later.
        while self._receiver and self._waiting and (room := self._receiver.room()):
            now, self._waiting = self._waiting[:room], self._waiting[room:]
            self._receiver.receive(now)

    def _keys(self, data: bytes) -> bytes:
        """What of the typed keys is for the guest."""
        out = bytearray()
        for key in data:
            if not self._escaped:
                self._escaped = key == _ESCAPE
                if not self._escaped:
                    out.append(key)
                continue
            self._escaped = False
            if action := self._actions.get(chr(key).lower()):
                action()
            elif key in b"hH?":
                self._say(_HELP)
            elif key in b"cC":
                out.append(_CTRL_C)
            elif key == _ESCAPE:
                out.append(key)
        return bytes(out)

    # -- the end ------------------------------------------------------------------------------

    def close(self) -> None:
        with self._closing:
            if self._closed:
                return
            self._closed = True
        self._writer.close()
        self._loop.remove_reader(self._in)
        if self._terminal is not None:
            self._terminal.restore()


def _terminal(fd: int) -> RawTerminal | None:
    """``fd`` in raw mode, if it is a terminal."""
    try:
        if not os.isatty(fd):
            return None
    except OSError:
        return None
    from pykvm.backends.raw_terminal import RawTerminal

    return RawTerminal(fd)
