"""What ``pykvm bench contend`` prints: for each place and card who took how long, and where pykvm
misses its goals: its median no slower than each QEMU's, its slowest round at most a ninth slower.
"""

from __future__ import annotations

from statistics import median
from typing import Any, NamedTuple

from pykvm.bench import qemu, rx, tx
from pykvm.bench.contend import Place, Results
from pykvm.bench.figures import Figure, table
from pykvm.bench.frametable import figures, slow
from pykvm.bench.frametimes import FrameTimes

LEAST_MEDIAN, LEAST_SLOWEST = 1.0, 0.9
_KINDS = (*tx.NAMES, *rx.NAMES)
_HEADER = ("row", "by", "median", "fastest", "slowest", "99%", "median x", "slowest x")


class Compared(NamedTuple):
    """A QEMU's median time by that of pykvm's median and of its slowest round; above 1 pykvm is
    ahead."""

    median: float
    slowest: float

    @property
    def missed(self) -> bool:
        return self.median < LEAST_MEDIAN or self.slowest < LEAST_SLOWEST


def compared(times: FrameTimes, kind: str, peer: qemu.Peer) -> Compared | None:
    """None where one of them has no figure."""
    ours = times.microseconds.get(("guest", kind))
    theirs = times.microseconds.get((peer.key, kind))
    if not ours or not theirs:
        return None
    return Compared(median(theirs) / median(ours), median(theirs) / max(ours))


def kinds(times: FrameTimes) -> list[str]:
    """What was measured, in the order of the benches."""
    there = {kind for _, kind in times.microseconds}
    return [kind for kind in _KINDS if kind in there]


def _rows(times: FrameTimes, peers: list[qemu.Peer]) -> list[list[str]]:
    rows = []
    for kind in kinds(times):
        name = kind
        for who, title in (("guest", "pykvm"), *((peer.key, peer.title) for peer in peers)):
            values = times.microseconds.get((who, kind))
            cells = figures(values) if values else ["-"] * 3
            against = [compared(times, kind, peer) for peer in peers if peer.key == who]
            row = [name, title, *cells, slow(times, who, kind), *_marked(*against or [None])]
            rows.append(row)
            name = ""
    return rows


def _marked(found: Compared | None) -> list[str]:
    if found is None:
        return ["- ", "- "]
    return [
        f"{value:.2f}{'!' if value < least else ' '}"
        for value, least in ((found.median, LEAST_MEDIAN), (found.slowest, LEAST_SLOWEST))
    ]


def text(results: Results) -> str:
    """The tables for people."""
    parts = []
    for (place, nic), times in results.found.items():
        rows = _rows(times, results.peers)
        if rows:
            parts.append(f"{nic}, {place.title}\n\n{table(_HEADER, rows, left=2)}")
    goals = _goals(results)
    missed = sum(1 for goal in goals if goal["missed"])
    parts.append(
        "microseconds a frame; fastest, slowest: of the rounds; 99%: microseconds that 99 of a\n"
        "hundred requests of a guest that waits for each do not exceed; median x, slowest x:\n"
        "QEMU's median by pykvm's median and by its slowest round, above 1 pykvm is ahead;\n"
        f"!: a goal is missed, which are {LEAST_MEDIAN:g} and {LEAST_SLOWEST:g}. "
        f"{missed} of {len(goals)} comparisons miss one.\n"
        f"{qemu.named(qemu.versions(results.peers))}."
    )
    return "\n\n".join(parts) + "\n" + "".join(f"{note}\n" for note in results.notes)


def _goals(results: Results) -> list[dict[str, Any]]:
    return [
        {
            **_where(place, nic), "kind": kind, "qemu": peer.version,
            **found._asdict(), "missed": found.missed,
        }
        for (place, nic), times in results.found.items()
        for kind in kinds(times)
        for peer in results.peers
        if (found := compared(times, kind, peer))
    ]  # fmt: skip


def _where(place: Place, nic: str) -> dict[str, Any]:
    return {"cpus": place.cpus, "neighbours": place.busy, "nic": nic}


def as_dict(results: Results) -> dict[str, Any]:
    """The ``--json`` form, version 1: microseconds per frame and per request."""
    rows = []
    for (place, nic), times in results.found.items():
        for (who, kind), values in times.microseconds.items():
            figure = Figure.of(values)
            row = {
                **_where(place, nic), "kind": kind, "who": who,
                "microseconds": figure.as_dict(), "slowest_round": figure.high,
            }  # fmt: skip
            if requests := times.request_figures(who, kind):
                row["request_microseconds"] = requests
            rows.append(row)
    return {
        "version": 1, "bench": "contend", "qemu": qemu.versions(results.peers),
        "stopped": results.stopped, "notes": results.notes, "rows": rows,
        "goals": _goals(results),
    }  # fmt: skip
