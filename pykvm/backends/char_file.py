"""Output goes to a file; there is no input."""

from __future__ import annotations

import os

from pykvm.errors import HostError
from pykvm.interfaces import CharReceiver


class FileBackend:
    """``file:PATH``: the file is made or emptied. Raises HostError when it cannot be."""

    def __init__(self, path: str, option: str = "--serial") -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        try:
            self._fd = os.open(path, flags, 0o666)
        except OSError as e:
            raise HostError(f"{option} file:{path}: cannot write it: {e.strerror}") from e

    def connect(self, receiver: CharReceiver) -> None:
        """There is no input to deliver."""

    def write(self, data: bytes) -> None:
        while data and self._fd >= 0:
            data = data[os.write(self._fd, data) :]

    def resume(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
