"""What C counted of a network card (``native/netcounts.h``), as plain values."""

from __future__ import annotations

from collections.abc import Callable

from pykvm._native import ffi
from pykvm.hints import Any

NetCounts = dict[str, int]
"""By the names of ``struct pk_net_counts``."""


def read(fill: Callable[[Any], None]) -> NetCounts:
    """What ``fill`` puts into a ``struct pk_net_counts *``."""
    counts = ffi.new("struct pk_net_counts *")
    fill(counts)
    return {name: int(getattr(counts, name)) for name, _ in ffi.typeof(counts[0]).fields}
