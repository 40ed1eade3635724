"""What is counted around a stream: by KVM, by pykvm itself, by the kernel's TAP, at one moment."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pykvm.bench.network import Traffic
from pykvm.errors import PykvmError
from pykvm.trace.kernel import RETURNS


@dataclass(frozen=True)
class Snapshot:
    """``kernel`` is KVM's own, of all vCPUs together, by name. ``returns`` is how often KVM_RUN may
    have returned by what pykvm has counted, at least and at most: it was asked before and after KVM
    was, and a vCPU may be on its way. ``reasons`` are its exits by KVM_EXIT_... name.
    QEMU tells neither, and ``kernel`` only where it has query-stats."""

    ns: int  # CLOCK_MONOTONIC
    wire: Traffic
    kernel: Mapping[str, int] = field(default_factory=dict)
    returns: tuple[int, int] | None = None
    reasons: Mapping[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {
            "ns": self.ns, "wire": list(self.wire), "kernel": dict(self.kernel),
            "returns": self.returns, "reasons": dict(self.reasons),
        }  # fmt: skip

    @classmethod
    def of_dict(cls, data: Mapping[str, Any]) -> Snapshot:
        """The inverse."""
        returns = data["returns"]
        return cls(
            data["ns"], Traffic(*data["wire"]), data["kernel"],
            None if returns is None else (returns[0], returns[1]), data["reasons"],
        )  # fmt: skip


def check_returns(snapshot: Snapshot) -> None:
    """KVM's count of returns lies between pykvm's two, and each exit is one: a kick returns, too.
    Raises PykvmError."""
    if snapshot.returns is None:
        return
    least, most = snapshot.returns
    theirs = snapshot.kernel.get(RETURNS, 0)
    if not least <= theirs <= most:
        raise PykvmError(
            f"pykvm counted {least} to {most} returns of KVM_RUN, KVM {theirs}: not the same"
        )
    if (exits := sum(snapshot.reasons.values())) > most:
        raise PykvmError(f"pykvm counted {exits} exits in {most} returns of KVM_RUN: too many")


def check_mmio(snapshot: Snapshot) -> None:
    """KVM counts an MMIO access to user space once, pykvm each of its fragments. Raises
    PykvmError."""
    ours, theirs = snapshot.reasons.get("MMIO", 0), snapshot.kernel.get("mmio_exits", 0)
    if snapshot.returns is not None and theirs > ours + 1:
        raise PykvmError(f"pykvm counted {ours} MMIO exits, KVM {theirs}: not the same")


def sum_up(vcpus: list[Mapping[str, int]]) -> dict[str, int]:
    """Counters of all vCPUs together."""
    total: dict[str, int] = {}
    for counters in vcpus:
        for name, value in counters.items():
            total[name] = total.get(name, 0) + value
    return total


def growth(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """What has been counted in between, where anything was."""
    grown = {name: value - before.get(name, 0) for name, value in after.items()}
    return {name: value for name, value in grown.items() if value}


def now() -> int:
    """CLOCK_MONOTONIC, the same in every process."""
    return time.monotonic_ns()
