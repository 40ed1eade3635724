"""A cable that ends nowhere: frames go out, none comes in."""

from __future__ import annotations

from collections.abc import Sequence

from pykvm.interfaces import Frame, NetReceiver
from pykvm.net.vnet import Offload, VnetHeader


class NullNet:
    """The ``null`` network backend; it takes every offload, since nobody looks."""

    offloads = Offload.CSUM | Offload.TSO4 | Offload.TSO6
    native_fd: int | None = -1
    native_fds: Sequence[int] = (-1,) * 8

    def tune(self, header: int, receive: Offload, pairs: int) -> None:
        """No descriptor is C's."""

    def connect(self, receiver: NetReceiver) -> None:
        """Nothing will be delivered."""

    def send(self, frame: Frame, header: VnetHeader | None = None) -> None:
        """Forget it."""

    def resume(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing is open."""
