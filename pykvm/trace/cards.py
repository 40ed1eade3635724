"""What network cards have done by themselves, as the statistics show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pykvm.trace.columns import aligned

Cards = Mapping[str, Sequence[Mapping[str, int]]]
"""By a card's name: for each pair of its queues, counters by their names in ``native/netcounts.h``;
empty for a card whose frames C does not move."""


def as_rows(cards: Cards) -> list[dict[str, Any]]:
    """One row for each pair that was used, and for the first of each card."""
    return [
        {"card": name, "pair": pair, **counts}
        for name, pairs in cards.items()
        for pair, counts in enumerate(pairs)
        if not pair or any(counts.values())
    ]


def table(cards: Cards) -> list[str]:
    """The same for people; empty without any."""
    rows = as_rows(cards)
    if not rows:
        return []
    header = [name.replace("_", " ") for name in rows[0]]
    return aligned([header, *([str(cell) for cell in row.values()] for row in rows)], 1)
