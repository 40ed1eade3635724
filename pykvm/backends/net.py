"""Network backends by name: what ``--nic MODEL,backend=B`` takes."""

from __future__ import annotations

from collections.abc import Callable

from pykvm.errors import UsageError
from pykvm.interfaces import EventLoop, NetBackend

ACCEPTED = "null, loopback, tap, tap:NAME, passt, socket:PATH or python:MODULE:OBJECT"


def open_net_backend(
    spec: str, loop: EventLoop, say: Callable[[str], None], *, queues: int = 1
) -> NetBackend:
    """Open the backend ``spec`` names, for ``queues`` pairs of queues. Raises UsageError for a name
    that does not exist, HostError when the host cannot do it."""
    kind, _, argument = spec.partition(":")
    if spec == "null":
        from pykvm.backends.net_null import NullNet

        return NullNet()
    if spec == "loopback":
        from pykvm.backends.net_loopback import LoopbackNet

        return LoopbackNet()
    if kind == "tap" and (argument or spec == "tap"):
        from pykvm.backends.net_tap import TapNet

        return TapNet(argument, loop, say, queues=queues)
    if spec == "passt":
        from pykvm.backends.net_passt import PasstNet

        return PasstNet(loop, say)
    if kind == "socket" and argument:
        from pykvm.backends.net_socket import SocketNet

        return SocketNet(argument, loop)
    if kind == "python" and argument:
        from pykvm.backends.net_python import PythonNet

        return PythonNet(argument)
    raise UsageError(f"--nic: no backend {spec!r}; it takes {ACCEPTED}")
