"""Figures with their spread, and the table that shows them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Figure:
    """The median of ``samples`` measurements, with the smallest and the largest of them."""

    median: float
    low: float
    high: float
    samples: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Figure:
        """Raises ValueError when there is nothing to sum up."""
        rows = sorted(values)
        if not rows:
            raise ValueError("no measurements")
        return cls(median(rows), rows[0], rows[-1], len(rows))

    def text(self, digits: int = 2) -> str:
        """``8.51 (8.30-9.02)``."""
        return f"{self.median:.{digits}f} ({self.low:.{digits}f}-{self.high:.{digits}f})"

    def as_dict(self) -> dict[str, Any]:
        return {
            "median": self.median,
            "low": self.low,
            "high": self.high,
            "samples": self.samples,
        }


def ratios(over: Iterable[float], under: Iterable[float]) -> Figure:
    """``over`` by ``under``, round by round."""
    return Figure.of(a / b for a, b in zip(over, under, strict=True))


def user_seconds(stat: str) -> float:
    """User CPU of the process or thread whose ``/proc/.../stat`` file is given, without the time
    inside a guest, which the kernel counts as user time (proc(5): utime, guest_time)."""
    with open(stat) as file:
        fields = file.read().rsplit(")", 1)[1].split()  # from field 3 on
    ticks = int(fields[14 - 3]) - int(fields[43 - 3])
    return ticks / os.sysconf("SC_CLK_TCK")


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Plain columns, the first ``left`` of them to the left and the others to the right."""
    widths = [max(len(row[n]) for row in [header, *rows]) for n in range(len(header))]
    lines = []
    for row in [header, ["-" * w for w in widths], *rows]:
        pairs = list(zip(row, widths, strict=True))
        cells = [cell.ljust(width) for cell, width in pairs[:left]]
        cells += [cell.rjust(width) for cell, width in pairs[left:]]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
