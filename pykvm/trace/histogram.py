"""Durations in bounded memory: a log-linear histogram.

Each power of two is cut into 32 equal parts, so a value that comes back out is at most 1/32 (about
3 %) larger than the one that went in. 64-bit values need at most 1,920 counters; most use a dozen.
``native/accesscount.c`` counts by the same parts.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil

_PARTS_BITS = 5
_PARTS = 1 << _PARTS_BITS


class Histogram:
    """Counts of whole numbers from 0."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.count = 0
        self.total = 0
        self.low = 0
        self.high = 0

    def add(self, value: int) -> None:
        """Count ``value``; a negative one counts as 0."""
        value = max(value, 0)
        self.low = value if not self.count else min(self.low, value)
        self.high = max(self.high, value)
        self.count += 1
        self.total += value
        bucket = _bucket(value)
        self._counts[bucket] = self._counts.get(bucket, 0) + 1

    def include(self, counts: Iterable[int], *, total: int, low: int, high: int) -> None:
        """Take over what was counted elsewhere, by the same parts: ``counts`` has them in order."""
        new = {part: count for part, count in enumerate(counts) if count}
        if not new:
            return
        self.low = low if not self.count else min(self.low, low)
        self.high = max(self.high, high)
        self.count += sum(new.values())
        self.total += total
        for part, count in new.items():
            self._counts[part] = self._counts.get(part, 0) + count

    def quantile(self, share: float) -> int:
        """The smallest value that ``share`` of all do not exceed; 0 when there are none."""
        wanted = max(1, ceil(share * self.count))
        seen = 0
        for bucket in sorted(self._counts):
            seen += self._counts[bucket]
            if seen >= wanted:
                return min(max(_upper(bucket), self.low), self.high)
        return 0


def _bucket(value: int) -> int:
    shift = max(value.bit_length() - _PARTS_BITS - 1, 0)
    return (shift << _PARTS_BITS) + (value >> shift)


def _upper(bucket: int) -> int:
    shift = max((bucket >> _PARTS_BITS) - 1, 0)
    part = bucket - (shift << _PARTS_BITS)
    return ((part + 1) << shift) - 1
