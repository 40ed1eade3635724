"""A plug that returns every frame to its sender."""

from __future__ import annotations

from collections.abc import Sequence

from pykvm.interfaces import Frame, NetReceiver
from pykvm.net.vnet import Offload, VnetHeader


class LoopbackNet:
    """The ``loopback`` network backend. What the receiver has no room for is its to count."""

    offloads = Offload.NONE
    native_fd: int | None = None
    native_fds: Sequence[int] = ()

    def __init__(self) -> None:
        self._receiver: NetReceiver | None = None

    def tune(self, header: int, receive: Offload, pairs: int) -> None:
        """No descriptor is C's."""

    def connect(self, receiver: NetReceiver) -> None:
        self._receiver = receiver

    def send(self, frame: Frame, header: VnetHeader | None = None) -> None:
        if self._receiver is not None:
            self._receiver.receive(b"".join(frame))

    def resume(self) -> None:
        """Nothing waits: a frame comes back at once or not at all."""

    def close(self) -> None:
        self._receiver = None
