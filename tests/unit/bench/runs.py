"""Runs of ``pykvm bench net`` to test with: consistent ones, for a test to spoil."""

from dataclasses import replace

from pykvm.bench.counts import Snapshot
from pykvm.bench.net_host import Seen
from pykvm.bench.net_run import Run, Stream
from pykvm.bench.network import Traffic

SECOND = 1_000_000_000
REQUESTS, SEGMENTS = 100, 44
SIZES = {"mtu": 1514, "big": 54 + 44 * 1460}


def snapshot(second, sent=0, sent_bytes=0, taken=0, dropped=0, kernel=None, **more):
    wire = Traffic(sent, sent_bytes, taken, taken * 1514, dropped)
    return Snapshot(second * SECOND, wire, kernel or {}, **more)


def counters(second):
    """KVM's, after so many seconds."""
    return {
        "exits": 1000 * second, "fpu_reload": 400 * second, "irq_injections": 70 * second,
        "mmio_exits": 300 * second, "halt_exits": 100 * second, "irq_exits": 50 * second,
    }  # fmt: skip


def ours(second):
    """What pykvm counts of the same."""
    returns = 400 * second
    reasons = {"MMIO": 300 * second, "IO": 100 * second} if second else {}
    return {"returns": (returns, returns + 1), "reasons": reasons}


def a_run(kind="raw", direction="tx", unit="mtu", *, cut=False, empties=False, seconds=2):
    """A run whose counts agree; ``cut``: the card cuts large segments itself."""
    size = SIZES[unit]
    segments = REQUESTS * (SEGMENTS if unit == "big" else 1)
    on_wire = segments + (REQUESTS if empties else 0) if cut else REQUESTS
    data = REQUESTS * size
    report = {
        "frames": REQUESTS, "segments": segments, "bytes": data, "cycles": 2_000_000 * seconds,
        "interrupts": 100,
    }  # fmt: skip
    wire = {"sent": on_wire, "sent_bytes": data + (on_wire - REQUESTS) * 54}
    if direction == "rx":
        wire = {"taken": REQUESTS + 1}
    end = snapshot(seconds, kernel=counters(seconds), **wire, **ours(seconds))
    begin = snapshot(0, kernel=counters(0), **ours(0))
    seen = Seen(REQUESTS if direction == "rx" else on_wire)
    if kind == "tcp":
        seen = Seen(data=5000, right=5000)
    return Run(
        Stream(kind, direction, unit), report, float(seconds), begin, end, 0.5 * seconds, seen,
        [], 5000 if kind == "tcp" else 0, empties,
    )  # fmt: skip


def with_end(run, **changes):
    """The run with another end; ``wire`` counters by name among the changes."""
    wire = {k: v for k, v in changes.items() if k in Traffic._fields}
    rest = {k: v for k, v in changes.items() if k not in wire}
    return replace(run, end=replace(run.end, wire=run.end.wire._replace(**wire), **rest))
