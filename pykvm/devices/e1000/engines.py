"""The engines by name: what ``--nic e1000,engine=E`` takes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from pykvm.devices.e1000.engine import Engine, Surroundings


def named(name: str, *, coalesce: bool = False) -> Callable[[Surroundings], Engine]:
    """``native`` sends from a thread of the card's own, ``vcpu`` from the vCPU that rings the
    doorbell; ``python`` is the reference, which never coalesces."""
    if name == "python":
        from pykvm.devices.e1000.reference import ReferenceEngine

        return ReferenceEngine
    from pykvm.devices.e1000.native import NativeEngine

    return partial(NativeEngine, inline_tx=name == "vcpu", coalesce=coalesce)


def choose(around: Surroundings) -> Engine:
    """The fastest that the backend and the trace allow."""
    traced = around.trace is not None
    return named("python" if traced or around.backend.native_fd is None else "native")(around)
