"""QEMU's monitor (QMP) over a socket of ours: KVM's counters of its guest.

docs/interop/qmp-spec.rst and qapi/stats.json of QEMU; query-stats since QEMU 7.1.
"""

from __future__ import annotations

import json
import socket
from typing import Any

from pykvm.bench.counts import sum_up
from pykvm.errors import PykvmError

_PATIENCE = 30.0


class RefusedError(PykvmError):
    """QEMU answered a command with an error."""


class Monitor:
    """A monitor; a context manager. ``options`` and ``theirs`` go to the QEMU that is to answer,
    ``connect`` is called when it has been started."""

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair()
        self._ours.settimeout(_PATIENCE)
        self._lines = self._ours.makefile("r", encoding="utf-8")
        self.theirs = self._theirs.fileno()
        self.options = (
            "-chardev", f"socket,id=qmp,fd={self.theirs}", "-mon", "chardev=qmp,mode=control",
        )  # fmt: skip

    def connect(self) -> None:
        """Greet it."""
        self._theirs.close()
        self._message()
        self.execute("qmp_capabilities")

    def execute(self, command: str, **arguments: Any) -> Any:
        """What ``command`` returns. Raises PykvmError."""
        request = {"execute": command, **({"arguments": arguments} if arguments else {})}
        try:
            self._ours.sendall(json.dumps(request).encode() + b"\n")
        except OSError as error:
            raise PykvmError(f"QEMU's monitor: {error.strerror}") from error
        while True:
            message = self._message()
            if "return" in message:
                return message["return"]
            if "error" in message:
                raise RefusedError(f"QEMU, {command}: {message['error']['desc']}")

    def _message(self) -> dict[str, Any]:
        try:
            line = self._lines.readline()
        except OSError as error:
            raise PykvmError("QEMU's monitor does not answer") from error
        if not line:
            raise PykvmError("QEMU's monitor is closed")
        message: dict[str, Any] = json.loads(line)
        return message

    def counters(self) -> dict[str, int]:
        """KVM's scalar counters of all vCPUs together; empty for a QEMU that cannot tell."""
        try:
            rows = self.execute("query-stats", target="vcpu")
        except RefusedError:
            return {}
        return sum_up([scalars(row["stats"]) for row in rows if row["provider"] == "kvm"])

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, *exc: object) -> None:
        self._lines.close()
        self._ours.close()
        self._theirs.close()


def scalars(stats: list[dict[str, Any]]) -> dict[str, int]:
    """Without histograms and booleans."""
    return {row["name"]: row["value"] for row in stats if type(row["value"]) is int}
