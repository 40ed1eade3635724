"""What ``pykvm bench net`` prints: a table a stream, beside the figures that were published.

Those are of netperf's TCP stream between a Linux 3.13 guest and its host under QEMU 2.2, on a Xeon
E5620 at 2.4 GHz (docs/performance.md says how each row is counted).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pykvm.bench import qemu
from pykvm.bench.figures import Figure, ratios, table
from pykvm.bench.net import CLASSIC, E1000, OURS, VIRTIO, Contestant, Results
from pykvm.bench.net_run import Run, Stream
from pykvm.trace.kernel import EXITS, RETURNS

Value = float | None


@dataclass(frozen=True)
class Row:
    """``of`` a run; None where nobody counts it, or nothing happened to divide by. The published
    values are for e1000 and virtio-net, as they were printed. ``better`` is what one would like
    to see: more, less, or nothing in particular."""

    key: str
    title: str
    of: Callable[[Run], Value]
    e1000: str = ""
    virtio: str = ""
    ratio: str = ""
    better: str = ""


def _by(over: float, under: float | None) -> Value:
    return over / under if under else None


def _rate(count: Value, run: Run) -> Value:
    return None if count is None else count / run.seconds


def _kernel(run: Run, name: str) -> Value:
    """None for a QEMU that does not tell KVM's counters."""
    return float(run.kernel.get(name, 0)) if run.kernel else None


ROWS = (
    Row("throughput_mbps", "throughput (Mbit/s)",
        lambda r: r.bytes * 8 / r.seconds / 1e6, "239", "5,230", "22x", better="more"),
    Row("exits_per_second", "exits/s", lambda r: _rate(_kernel(r, EXITS), r),
        "33,783", "1,126", "1/30", better="less"),
    Row("user_exits_per_second", "of them to user space/s",
        lambda r: _rate(_kernel(r, RETURNS), r), better="less"),
    Row("interrupts_per_second", "interrupts/s", lambda r: _rate(r.report.get("interrupts", 0), r),
        "3,667", "257", "1/14", better="less"),
    Row("segments_per_exit", "TCP segments per exit",
        lambda r: _by(r.requests, _kernel(r, EXITS)), "1/9", "25", "225x", better="more"),
    Row("segments_per_interrupt", "TCP segments per interrupt",
        lambda r: _by(r.requests, r.report.get("interrupts", 0)), "1", "118", "118x",
        better="more"),
    Row("segments_per_second", "TCP segments/s", lambda r: r.requests / r.seconds,
        "3,669", "30,252", "8x", better="more"),
    Row("segment_bytes", "average segment (bytes)",
        lambda r: r.bytes / r.requests, "8,168", "21,611", "3x"),
    Row("cycles_per_segment", "cycles per segment",
        lambda r: r.report["cycles"] / r.requests, "652,443", "79,132", "1/8", better="less"),
    Row("frames_per_second", "frames/s", lambda r: r.frames / r.seconds, "23,804", better="more"),
    Row("cpu_us_per_frame", "CPU time per frame (us)",
        lambda r: r.cpu_seconds / r.frames * 1e6, better="less"),
)  # fmt: skip

Ratio = tuple[str, Contestant, Contestant]
"""Round by round, the first contestant's value by the second's."""
_OF_OURS: tuple[Ratio, ...] = (
    ("virtio/classic", VIRTIO, CLASSIC), ("virtio/e1000", VIRTIO, E1000),
)  # fmt: skip


def _compared(results: Results, stream: Stream) -> list[Ratio]:
    """Those whose both sides ran."""
    against = [
        (f"{ours.name}/{who.title.rsplit(' ', 1)[0]}'s", ours, who)
        for who in results.contestants
        for ours in (E1000, VIRTIO)
        if who.device is not None and who.card == ours.card
    ]
    runs = results.runs[stream]
    return [r for r in (*_OF_OURS, *against) if runs.get(r[1].name) and runs.get(r[2].name)]


def _there(results: Results, stream: Stream) -> list[Contestant]:
    return [who for who in results.contestants if results.runs[stream].get(who.name)]


def values(runs: list[Run], row: Row) -> list[float]:
    """The row's value in each round; empty where it is missing in one."""
    found = [row.of(run) for run in runs]
    return [value for value in found if value is not None] if None not in found else []


def short(value: float) -> str:
    """Three digits or so: ``0.0123``, ``4.56``, ``1,234``, ``15.6M``."""
    if value == 0:
        return "0"
    if abs(value) >= 999_500:
        return f"{value / 1e6:.3g}M"
    if abs(value) >= 99_950:
        return f"{value / 1e3:.0f}k"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def cell(figure: Figure) -> str:
    """``1,234 (1,200-1,250)``, or ``1,234`` where all are the same."""
    median, low, high = (short(value) for value in (figure.median, figure.low, figure.high))
    return median if low == high else f"{median} ({low}-{high})"


def as_times(ratio: float) -> str:
    """``22x`` or ``1/30``."""
    if ratio <= 0:
        return "0"
    return f"{short(ratio)}x" if ratio >= 1 else f"1/{short(1 / ratio)}"


def grid(results: Results, stream: Stream) -> tuple[list[str], list[list[str]]]:
    """Header and rows of one stream's table, as text."""
    runs = results.runs[stream]
    there, compared = _there(results, stream), _compared(results, stream)
    header = [stream.name, *(who.title for who in there), *(name for name, _, _ in compared)]
    header += ["published e1000", "virtio-net", "ratio"]
    rows = []
    for row in ROWS:
        cells = [row.title]
        for who in there:
            found = values(runs[who.name], row)
            cells.append(cell(Figure.of(found)) if found else "-")
        for _, over, under in compared:
            a, b = values(runs[over.name], row), values(runs[under.name], row)
            cells.append(as_times(ratios(a, b).median) if a and b and all(b) else "-")
        rows.append([*cells, row.e1000 or "-", row.virtio or "-", row.ratio or "-"])
    return header, rows


def notes(results: Results) -> list[str]:
    """What is to be said below the tables."""
    how = [
        "median (lowest-highest) of the rounds, ratios round by round; exits and interrupts as KVM "
        "and the guest count them, for both; pykvm's virtio-net has rings of 4,096 entries, QEMU's "
        f"of 256; {qemu.named(results.qemu_version)}."
    ]
    if any(stream.queues > 1 for stream in results.runs):
        how.append(
            "pairs: of virtio-net's queues; each of pykvm's has a thread, QEMU's are all in one "
            "loop; an e1000 has one."
        )
    return (how if results.runs else []) + results.notes


def text(results: Results) -> str:
    """The tables for people."""
    parts = []
    for stream in results.runs:
        header, rows = grid(results, stream)
        for columns in _cut(results, stream):
            cells = [[row[n] for n in (0, *columns)] for row in (header, *rows)]
            parts.append(table(cells[0], cells[1:]))
    return "\n\n".join([*parts, "\n".join(notes(results))]) + "\n"


def _cut(results: Results, stream: Stream) -> list[list[int]]:
    """Which columns of the grid go together, since all are wider than a terminal: what was measured
    of ours, of each QEMU's; how ours compare and what was published; how they compare with QEMU's.
    """
    there, compared = _there(results, stream), _compared(results, stream)
    end = 1 + len(there) + len(compared)
    ours = 1 + sum(1 for who in there if who in OURS)
    theirs = 1 + len(there) + sum(1 for ratio in compared if ratio in _OF_OURS)
    parts = [list(range(1, ours))]
    parts += [list(range(n, min(n + 2, 1 + len(there)))) for n in range(ours, 1 + len(there), 2)]
    parts += [[*range(1 + len(there), theirs), *range(end, end + 3)], list(range(theirs, end))]
    return [columns for columns in parts if columns]


def as_dict(results: Results) -> dict[str, Any]:
    """The ``--json`` form, version 1."""
    streams = []
    for stream, runs in results.runs.items():
        figures = {
            name: {
                row.key: Figure.of(found).as_dict() for row in ROWS if (found := values(rows, row))
            }
            for name, rows in runs.items()
        }
        streams.append(
            {
                "stream": stream.kind, "dir": stream.direction, "unit": stream.unit,
                "queues": stream.queues, "smp": stream.smp,
                "figures": figures, "ratios": _ratios(results, stream),
                "runs": {name: [_run(run) for run in rows] for name, rows in runs.items()},
            }
        )  # fmt: skip
    published = {row.key: [row.e1000, row.virtio, row.ratio] for row in ROWS if row.e1000}
    return {
        "version": 1, "bench": "net", "qemu": results.qemu_version, "notes": results.notes,
        "streams": streams, "published": published,
    }  # fmt: skip


def _ratios(results: Results, stream: Stream) -> dict[str, Any]:
    found: dict[str, Any] = {}
    runs = results.runs[stream]
    for name, over, under in _compared(results, stream):
        for row in ROWS:
            a, b = values(runs[over.name], row), values(runs[under.name], row)
            if a and b and all(b):
                found.setdefault(name, {})[row.key] = ratios(a, b).as_dict()
    return found


def _run(run: Run) -> dict[str, Any]:
    return {
        "seconds": run.seconds, "cpu_seconds": run.cpu_seconds, "guest": run.report,
        "kernel": run.kernel, "causes": run.causes, "user_exits": run.reasons,
    }  # fmt: skip
