"""The engines by name: what ``--nic virtio-net,engine=E`` takes."""

from __future__ import annotations

from functools import partial

from pykvm.devices.virtio.net.engine import Make
from pykvm.interfaces import NetBackend


def choose(
    name: str | None, backend: NetBackend, *, traced: bool, poll: bool, vhost: bool = False
) -> Make:
    """``native`` has a thread in C for each pair of queues, with ``vcpu`` the vCPU that kicks does
    what they would, ``python`` is the reference; None takes the faster that the backend and the
    trace allow. With ``vhost`` the kernel takes the place of ``native``."""
    if name == "python" or traced or not backend.native_fds:
        from pykvm.devices.virtio.net.reference import ReferenceEngine

        return ReferenceEngine
    if vhost:
        from pykvm.devices.virtio.net.vhost import VhostEngine

        return partial(VhostEngine, poll=poll)
    from pykvm.devices.virtio.net.native import NativeEngine

    return partial(NativeEngine, poll=poll, by_vcpu=name == "vcpu")
