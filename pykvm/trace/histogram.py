"""Durations in bounded memory: a log-linear histogram.

Each power of two is cut into 32 equal parts, so a value that comes back out is at most 1/32 (about
3 %) larger than the one that went in. 64-bit values need at most 1,920 counters; most use a dozen.
"""

from __future__ import annotations

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
    return (shift << _PARTS_BITS + 1) | (value >> shift)


def _upper(bucket: int) -> int:
    shift = bucket >> _PARTS_BITS + 1
    part = bucket & (_PARTS << 1) - 1
    return ((part + 1) << shift) - 1
