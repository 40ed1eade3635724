"""What ``pykvm bench tx`` and ``rx`` collect: microseconds per frame, by who and of what kind."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pykvm.bench.cards import Card
from pykvm.bench.exits import tsc_khz
from pykvm.bench.figures import Figure, ratios
from pykvm.bench.qemu import Peer, versions

Key = tuple[str, str]  # who, kind


class Request(NamedTuple):
    """Microseconds from the guest's first descriptor to its seeing that all was sent, of the
    requests of one round: the median, the 99th percentile, the slowest."""

    median: float
    p99: float
    slowest: float


@dataclass
class FrameTimes:
    """``microseconds`` of a frame has a value for each round; "ceiling" and each peer are compared
    with "guest", pykvm's. ``requests`` has, for a guest that waits for each, how long one took."""

    card: Card
    microseconds: dict[Key, list[float]] = field(default_factory=lambda: defaultdict(list))
    requests: dict[Key, list[Request]] = field(default_factory=lambda: defaultdict(list))
    peers: list[Peer] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    khz: int = field(default_factory=tsc_khz)

    def add_line(self, kind: str, who: str, line: str) -> None:
        """A line ``BENCH name frames cycles`` of the guest's, or ``TIMES name median p99 slowest``
        in cycles; others are ignored."""
        words = line.split()
        if len(words) == 4 and words[0] == "BENCH":
            microseconds = int(words[3]) / int(words[2]) * 1000 / self.khz
            self.microseconds[who, kind].append(microseconds)
        elif len(words) == 5 and words[0] == "TIMES":
            times = Request._make(int(word) * 1000 / self.khz for word in words[2:])
            self.requests[who, kind].append(times)

    def as_dict(self, bench: str) -> dict[str, Any]:
        """The ``--json`` form, version 1: microseconds per frame, and ratios round by round."""
        rows = [self._row(who, kind) for who, kind in self.microseconds]
        peers = {"nic": self.card.model, "qemu": versions(self.peers)}
        return {"version": 1, "bench": bench, **peers, "notes": self.notes, "rows": rows}

    def _row(self, who: str, kind: str) -> dict[str, Any]:
        values = self.microseconds[who, kind]
        figure = Figure.of(values)
        row: dict[str, Any] = {
            "who": who, "kind": kind, "microseconds": figure.as_dict(),
            "slowest_round": figure.high,
        }  # fmt: skip
        for name, key in (("of_ceiling", "ceiling"), *((f"x_{p.key}", p.key) for p in self.peers)):
            others = self.microseconds.get((key, kind), [])
            if len(others) == len(values):
                row[name] = ratios(others, values).as_dict()
        if requests := self.request_figures(who, kind):
            row["request_microseconds"] = requests
        return row

    def request_figures(self, who: str, kind: str) -> dict[str, Any]:
        """Those of ``Request``, over the rounds; empty where nobody waits."""
        requests = self.requests.get((who, kind), [])
        parts = zip(*requests, strict=True)
        return {
            name: Figure.of(part).as_dict()
            for name, part in zip(Request._fields, parts, strict=bool(requests))
        }
