"""Whether a run's counts agree: the guest's, the card's, the kernel's, the receiver's.

A backend that drops frames, a guest that reports before they have arrived, counters of two
kinds that differ: each makes a run worthless, and is told instead of averaged.
"""

from __future__ import annotations

from pathlib import Path

from pykvm.bench.counts import check_mmio, check_returns
from pykvm.bench.net_run import Run
from pykvm.errors import PykvmError
from pykvm.trace.kernel import INJECTIONS

_HEADERS = 54  # Ethernet, IPv4, TCP: what each further frame of a cut segment has, too
_TICKS, _FEW = 20, 40  # the guest's timer, in Hz; what cannot be told apart


_POSTED = ("kvm_intel/parameters/enable_apicv", "kvm_amd/parameters/avic")


class CountsDifferError(PykvmError):
    """Two counts of the same thing are not the same."""


def posts_interrupts(modules: Path = Path("/sys/module")) -> bool:
    """Whether this host's processor delivers interrupts by itself (APICv, AVIC), so that KVM does
    not count them."""
    found = (modules / name for name in _POSTED)
    return any(path.read_text(encoding="ascii").strip() in "Y1" for path in found if path.exists())


def check(run: Run, *, posted: bool | None = None) -> None:
    """Raises CountsDifferError, or PykvmError, unless everything agrees. ``posted`` None finds out
    whether KVM counts all interrupts here."""
    for snapshot in (run.begin, *run.samples, run.end):
        check_returns(snapshot)
        check_mmio(snapshot)
    if not (posts_interrupts() if posted is None else posted):
        _interrupts(run)
    if run.stream.kind != "raw":
        _data(run)
    elif run.stream.direction == "tx":
        _sent(run)
        _dealt(run)
    else:
        _received(run)


def _interrupts(run: Run) -> None:
    """KVM injected each interrupt that the guest took of the card, and the guest's own timer's. One
    that an exit cuts short is injected again, and one whose cause is gone is not counted by its
    driver: with QEMU's e1000 a tenth, so up to as many again are believed."""
    taken, injected = run.report.get("interrupts", 0), run.kernel.get(INJECTIONS)
    if injected is None:
        return
    most = taken * 2 + (run.window + 1) * _TICKS + _FEW
    if not taken <= injected <= most:
        raise CountsDifferError(f"the guest took {taken} interrupts, KVM injected {injected}")


def _sent(run: Run) -> None:
    """Every frame was on the wire when the guest said so: whole, or as the card cut it."""
    there = run.end.wire.sent - run.begin.wire.sent
    cut = run.frames + (run.requests if run.empties and run.frames > run.requests else 0)
    if there not in (run.requests, cut):
        raise CountsDifferError(
            f"the guest reported {run.requests} frames, {cut} when cut, and {there} had left the "
            "card"
        )
    if run.seen.frames != there:
        raise CountsDifferError(
            f"{there} frames had left the card when the guest reported, {run.seen.frames} came"
        )
    data = run.end.wire.sent_bytes - run.begin.wire.sent_bytes
    said = run.report["bytes"] + (there - run.requests) * _HEADERS
    if data != said:
        raise CountsDifferError(f"the guest reported {said} bytes, {data} had left the card")


def _dealt(run: Run) -> None:
    """Where there are several pairs of queues, each has sent some, and all of them everything."""
    pairs = [count for key, count in run.report.items() if key.startswith("pair")]
    if pairs and sum(pairs) != run.requests:
        raise CountsDifferError(
            f"the guest reported {run.requests} frames, {sum(pairs)} by all pairs of queues"
        )
    if 0 in pairs:
        raise CountsDifferError(f"a pair of queues sent nothing: {pairs}")


def _received(run: Run) -> None:
    """Every frame that was sent came to the guest."""
    sent, dropped = run.seen.frames, run.end.wire.dropped - run.begin.wire.dropped
    if dropped:
        raise CountsDifferError(f"the TAP lost {dropped} frames: it was sent more than it takes")
    if run.report.get("lost"):
        raise CountsDifferError(f"the guest missed {run.report['lost']} frames")
    if run.requests != sent:
        raise CountsDifferError(f"{sent} frames were sent, the guest had {run.requests}")
    taken = run.end.wire.taken - run.begin.wire.taken
    if taken < run.requests:
        raise CountsDifferError(f"the guest had {run.requests} frames, the card took {taken}")


def _data(run: Run) -> None:
    """Every byte came to the other end, and was the right one, before the guest said so."""
    seen = run.seen
    if seen.data != run.data:
        raise CountsDifferError(f"the guest sent {run.data} bytes, {seen.data} came")
    if seen.right != run.data:
        raise CountsDifferError(f"byte {seen.right} of the stream is not what was sent")
    there = run.end.wire.sent - run.begin.wire.sent
    if there < run.requests:
        raise CountsDifferError(
            f"the guest reported {run.requests} frames, and {there} had left the card"
        )
    left = run.end.wire.sent_bytes - run.begin.wire.sent_bytes
    if left < run.report["bytes"]:
        raise CountsDifferError(
            f"the guest reported {run.report['bytes']} bytes, {left} had left the card"
        )
