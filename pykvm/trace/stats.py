"""Statistics of a run: which exits, how many, how long they took to answer."""

from __future__ import annotations

from typing import Any, NamedTuple

from pykvm.trace.events import Event, ExitEvent
from pykvm.trace.histogram import Histogram

_HEADER = ("exit", "device", "register", "count", "share", "min us", "median us", "p99 us")


class Key(NamedTuple):
    """What exits are counted by."""

    reason: str  # KVM's, with the direction: "IO out", "MMIO ld", "SHUTDOWN"
    device: str
    register: str


class Statistics:
    """A trace sink that only counts. Times are those in user space, from exit to re-entry."""

    wants_code = False

    def __init__(self) -> None:
        self.rows: dict[Key, Histogram] = {}
        self.guest_ns = 0
        self.user_ns = 0

    def event(self, event: Event) -> None:
        if not isinstance(event, ExitEvent):
            return
        self.guest_ns += event.guest_ns
        self.user_ns += event.user_ns
        key = _key(event)
        row = self.rows.get(key)
        if row is None:
            row = self.rows[key] = Histogram()
        row.add(event.user_ns)

    def close(self) -> None:
        """Nothing is held open."""

    @property
    def exits(self) -> int:
        """All of them; a string instruction's exit counts once."""
        return sum(row.count for row in self.rows.values())

    def _sorted(self) -> list[tuple[Key, Histogram]]:
        return sorted(self.rows.items(), key=lambda item: (-item[1].count, item[0]))

    def as_dict(self) -> dict[str, Any]:
        """The ``--stats-json`` form, version 1; times in nanoseconds."""
        return {
            "version": 1,
            "exits": self.exits,
            "guest_ns": self.guest_ns,
            "user_ns": self.user_ns,
            "rows": [
                {
                    "reason": key.reason,
                    "device": key.device or None,
                    "register": key.register or None,
                    "count": row.count,
                    "user_ns": {
                        "min": row.low,
                        "median": row.quantile(0.5),
                        "p99": row.quantile(0.99),
                        "total": row.total,
                    },
                }
                for key, row in self._sorted()
            ],
        }

    def table(self) -> str:
        """The table for people."""
        exits = self.exits
        rows = [
            (
                key.reason,
                key.device or "-",
                key.register or "-",
                f"{row.count}",
                f"{row.count / exits:.1%}",
                *(f"{ns / 1000:.1f}" for ns in (row.low, row.quantile(0.5), row.quantile(0.99))),
            )
            for key, row in self._sorted()
        ]
        widths = [max(len(line[n]) for line in [_HEADER, *rows]) for n in range(len(_HEADER))]
        lines = [
            "  ".join(
                cell.ljust(width) if n < 3 else cell.rjust(width)
                for n, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in [_HEADER, *rows]
        ]
        lines.append(
            f"{exits} exits; {self.guest_ns / 1e9:.3f} s in the guest, "
            f"{self.user_ns / 1e9:.3f} s answering"
        )
        return "\n".join(lines)


def _key(event: ExitEvent) -> Key:
    if event.address is None:
        return Key(event.reason, "", "")
    directions = ("in", "out") if event.reason == "IO" else ("ld", "st")
    if event.device is None:
        # Not by address: a guest that scans its address space must not grow this table.
        return Key(f"{event.reason} {directions[event.write]}", "unclaimed", "")
    name = event.register.name if event.register else ""
    return Key(f"{event.reason} {directions[event.write]}", event.device, name)
