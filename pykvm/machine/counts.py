"""What C counted by itself, for the statistics of a run that is over."""

from __future__ import annotations

from pykvm.hints import TYPE_CHECKING, Any
from pykvm.kvm.abi import exit_names, ffi
from pykvm.machine.machine import Machine
from pykvm.trace.stats import OTHERS, Key, Statistics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pykvm.bus import Range


def collect(machine: Machine, statistics: Statistics) -> None:
    """Add what never came to Python; when the vCPUs have ended, once."""
    with machine.lock:
        statistics.cards = {name: card.counts() for name, card in machine.cards.items()}
    for thread in machine.threads:
        if thread.observer is not None:
            counts = thread.observer.answered.get(thread.vcpu.number)
            if counts is not None:
                include(statistics, counts, machine.board.ranges)


def include(statistics: Statistics, counts: Any, ranges: Sequence[Range]) -> None:
    """Add a ``struct pk_access_counts`` of accesses to ``ranges``."""
    statistics.guest_ns += counts.inside_ns
    for row in counts.rows:
        if not row.count:
            continue
        statistics.user_ns += row.total
        statistics.include(_key(row, ranges)).include(
            ffi.unpack(row.parts, len(row.parts)), total=row.total, low=row.low, high=row.high
        )


def _key(row: Any, ranges: Sequence[Range]) -> Key:
    reason = exit_names()[row.reason]
    if row.range < 0:
        return Key(reason, OTHERS, "", "")
    device, write = ranges[row.range].device, bool(row.write)
    register = device.registers.lookup(row.offset, write, device.bank)
    name = register.name if register else ""
    return Key(reason, device.name, name, "write" if write else "read")
