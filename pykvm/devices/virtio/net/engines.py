"""The engines by name: what ``--nic virtio-net,engine=E`` takes."""

from __future__ import annotations

from functools import partial

from pykvm.devices.virtio.net.engine import Make
from pykvm.interfaces import NetBackend


def choose(name: str | None, backend: NetBackend, *, traced: bool, poll: bool) -> Make:
    """``native`` has a thread in C for each pair of queues, ``python`` is the reference; None takes
    the faster that the backend and the trace allow."""
    if name == "python" or traced or not backend.native_fds:
        from pykvm.devices.virtio.net.reference import ReferenceEngine

        return ReferenceEngine
    from pykvm.devices.virtio.net.native import NativeEngine

    return partial(NativeEngine, poll=poll)
