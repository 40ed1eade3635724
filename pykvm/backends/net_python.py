"""A network that is a Python callable: it gets each frame and returns the frames that answer it.

``python:MODULE:OBJECT``, where MODULE is importable (the current directory counts) and OBJECT takes
``bytes`` and returns an iterable of ``bytes``, or None.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from pykvm.errors import UsageError
from pykvm.interfaces import Frame, NetReceiver
from pykvm.net.vnet import Offload, VnetHeader

Network = Callable[[bytes], Iterable[bytes] | None]
_WAITING_MAX = 1024


class PythonNet:
    """Raises UsageError when the callable cannot be found; what it raises later is its bug."""

    offloads = Offload.NONE
    native_fd: int | None = None
    native_fds: Sequence[int] = ()

    def __init__(self, spec: str) -> None:
        self._answer = _load(spec)
        self._receiver: NetReceiver | None = None
        self._waiting: deque[bytes] = deque(maxlen=_WAITING_MAX)

    def tune(self, header: int, receive: Offload, pairs: int) -> None:
        """No descriptor is C's."""

    def connect(self, receiver: NetReceiver) -> None:
        self._receiver = receiver

    def send(self, frame: Frame, header: VnetHeader | None = None) -> None:
        self._waiting.extend(self._answer(b"".join(frame)) or ())
        self.resume()

    def resume(self) -> None:
        while self._waiting and self._receiver is not None and self._receiver.can_receive():
            self._receiver.receive(self._waiting.popleft())

    def close(self) -> None:
        self._receiver = None


def _load(spec: str) -> Network:
    module_name, _, name = spec.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        found = importlib.import_module(module_name)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"--nic: python:{spec}: {error}") from error
    finally:
        sys.path.pop(0)
    if not callable(found):
        raise UsageError(f"--nic: python:{spec}: it is not callable")
    return found
