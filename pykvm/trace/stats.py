"""Statistics of a run: which exits, how many, how long they took to answer."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import IO, Any, NamedTuple, cast

from pykvm.trace import cards, kernel
from pykvm.trace.cards import Cards
from pykvm.trace.columns import aligned
from pykvm.trace.events import FINISHED, Event, ExitEvent
from pykvm.trace.histogram import Histogram
from pykvm.trace.text import Stream

Kernel = Mapping[int, Mapping[str, int]]
"""KVM's own counters: vCPU number -> name in ``KVM_GET_STATS_FD`` -> value."""

UNCLAIMED = "unclaimed"
OTHERS = "others"
"""The device of accesses that C had no row for any more."""
_HEADER = ("exit", "device", "register", "count", "share", "min us", "median us", "p99 us")
_TEXT_COLUMNS = 3  # the first ones; the others are numbers
_VERBS = {"IO": {"read": "in", "write": "out"}, "MMIO": {"read": "ld", "write": "st"}}


class Key(NamedTuple):
    """What exits are counted by; empty strings where it does not apply."""

    reason: str  # KVM's: "IO", "MMIO", "SHUTDOWN"; or "FINISHED"
    device: str  # "unclaimed" for an address that nobody answers; how it was finished
    register: str  # without an array's index; the instruction that was finished
    direction: str  # "read" or "write"


class Statistics:
    """A trace sink that only counts. Times are those in user space, from exit to re-entry.

    ``kernel`` is set by whoever can read KVM's own counters, ``cards`` by who can read those of
    network cards, before the result is asked for.
    """

    wants_code = False

    def __init__(self) -> None:
        self.rows: dict[Key, Histogram] = {}
        self.guest_ns = 0
        self.user_ns = 0
        self.kernel: Kernel = {}
        self.cards: Cards = {}

    def event(self, event: Event) -> None:
        """Count an exit; other events are ignored."""
        if not isinstance(event, ExitEvent):
            return
        self.guest_ns += event.guest_ns
        self.user_ns += event.user_ns
        key = _key(event)
        row = self.rows.get(key)
        if row is None:
            row = self.rows[key] = Histogram()
        row.add(event.user_ns)

    def include(self, key: Key) -> Histogram:
        """The row of ``key``, to add exits to that no event told of; ``guest_ns`` and ``user_ns``
        are the caller's to keep true."""
        return self.rows.setdefault(key, Histogram())

    def close(self) -> None:
        """Nothing is held open."""

    @property
    def exits(self) -> int:
        """All of them; a string instruction's exit counts once."""
        return sum(row.count for row in self.rows.values())

    def as_dict(self) -> dict[str, Any]:
        """The ``--stats-json`` form, version 1; times in nanoseconds, shares from 0 to 1."""
        exits = self.exits
        return {
            "version": 1,
            "exits": exits,
            "guest_ns": self.guest_ns,
            "user_ns": self.user_ns,
            "rows": [
                {
                    "reason": _exit_name(key),
                    "direction": key.direction or None,
                    "device": key.device or None,
                    "register": key.register or None,
                    "count": row.count,
                    "share": row.count / exits,
                    "user_ns": {
                        "min": row.low,
                        "median": row.quantile(0.5),
                        "p99": row.quantile(0.99),
                        "total": row.total,
                    },
                }
                for key, row in self._sorted()
            ],
            "cards": cards.as_rows(self.cards),
            "kernel": {str(vcpu): dict(counters) for vcpu, counters in self.kernel.items()},
        }

    def table(self) -> str:
        """The table for people, as plain aligned text."""
        rows = [_HEADER, *self._cells()]
        return "\n".join([*aligned(rows, _TEXT_COLUMNS), *self._footer()])

    def print_table(self, stream: Stream | None = None) -> None:
        """Print the table to ``stream`` (stderr): with lines and colours on a terminal."""
        stream = sys.stderr if stream is None else stream
        if not stream.isatty():
            print(self.table(), file=stream)
            return
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table

        table = Table(box=SIMPLE_HEAD)
        for n, name in enumerate(_HEADER):
            table.add_column(name, justify="left" if n < _TEXT_COLUMNS else "right", no_wrap=True)
        for row in self._cells():
            table.add_row(*row, style="red" if row[1] == UNCLAIMED else None)
        console = Console(file=cast(IO[str], stream))
        console.print(table)
        for line in self._footer():
            console.print(line, markup=False, highlight=False)

    def _sorted(self) -> list[tuple[Key, Histogram]]:
        return sorted(self.rows.items(), key=lambda item: (-item[1].count, item[0]))

    def _cells(self) -> list[tuple[str, ...]]:
        exits = self.exits
        return [
            (
                _exit_name(key),
                key.device or "-",
                key.register or "-",
                f"{row.count}",
                f"{row.count / exits:.1%}",
                *(f"{ns / 1000:.1f}" for ns in (row.low, row.quantile(0.5), row.quantile(0.99))),
            )
            for key, row in self._sorted()
        ]

    def _footer(self) -> list[str]:
        lines = [
            f"{self.exits} exits; {self.guest_ns / 1e9:.3f} s in the guest, "
            f"{self.user_ns / 1e9:.3f} s answering"
        ]
        for vcpu, counters in self.kernel.items():
            lines.append(f"vcpu {vcpu} inside KVM: {kernel.text(counters)}")
        if table := cards.table(self.cards):
            lines += ["", *table]
        return lines


def _exit_name(key: Key) -> str:
    verb = _VERBS.get(key.reason, {}).get(key.direction, key.direction)
    return f"{key.reason} {verb}".rstrip()


def _key(event: ExitEvent) -> Key:
    if event.address is None:
        if event.reason == FINISHED:
            return Key(event.reason, event.device or "", event.detail, "")
        return Key(event.reason, "", "", "")
    direction = "write" if event.write else "read"
    if event.device is None:
        # Not by address: a guest that scans its address space must not grow this table.
        return Key(event.reason, UNCLAIMED, "", direction)
    name = event.register.name if event.register else ""
    return Key(event.reason, event.device, name, direction)
