"""Output goes nowhere, input never comes."""

from __future__ import annotations

from pykvm.interfaces import CharReceiver


class NullBackend:
    """The ``null`` character backend."""

    def connect(self, receiver: CharReceiver) -> None:
        """There is no input to deliver."""

    def write(self, data: bytes) -> None:
        """Forget it."""

    def resume(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing is open."""
