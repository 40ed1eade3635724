"""A wire between two processes: a Unix socket, or nothing but a path that the second one finds.

The first listens, the second connects; QEMU's ``-netdev stream`` can be either end.
"""

from __future__ import annotations

import contextlib
import os
import socket

from pykvm.backends.net_stream import StreamNet
from pykvm.errors import HostError
from pykvm.interfaces import EventLoop


class SocketNet(StreamNet):
    """``socket:PATH``. Raises HostError when it can neither connect nor listen there."""

    def __init__(self, path: str, loop: EventLoop) -> None:
        super().__init__(loop)
        self._path = path
        self._listener: socket.socket | None = None
        wire = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            wire.connect(path)
            self.attach(wire)
        except (FileNotFoundError, ConnectionRefusedError):
            self._listen(wire)
        except OSError as error:
            wire.close()
            raise HostError(f"--nic: cannot connect to {path}: {error.strerror}") from error

    def _listen(self, listener: socket.socket) -> None:
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)  # nobody answers there any more
            listener.bind(self._path)
            listener.listen(1)
        except OSError as error:
            listener.close()
            raise HostError(f"--nic: cannot listen at {self._path}: {error.strerror}") from error
        listener.setblocking(False)
        self._listener = listener
        self._loop.add_reader(listener.fileno(), self._accept)

    def _accept(self) -> None:
        if self._listener is None:
            return
        with contextlib.suppress(OSError):
            peer, _ = self._listener.accept()
            self._lost()  # the newest peer is the one that talks
            self.attach(peer)

    def close(self) -> None:
        super().close()
        if self._listener is not None:
            self._loop.remove_reader(self._listener.fileno())
            self._listener.close()
            self._listener = None
            with contextlib.suppress(OSError):
                os.unlink(self._path)
