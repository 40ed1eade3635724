"""``pykvm bench net --html FILE``: the tables and graphs as one page that needs no network."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

from pykvm.bench import net_table
from pykvm.bench.counts import EXITS, Snapshot
from pykvm.bench.net import OURS, THEIRS, Contestant, Results
from pykvm.bench.net_run import Run
from pykvm.errors import UsageError

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 1500px; padding: 0 1em;
       color: #222; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid #ddd; padding: .3em .7em; text-align: right; }
th, td { white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
th { border-bottom: 2px solid #888; }
"""
_HEIGHT = 420


def check(path: str) -> None:
    """Raises UsageError when there would be no page in the end."""
    if importlib.util.find_spec("plotly") is None:
        raise UsageError("--html needs plotly; install it: pip install 'pykvm-vmm[report]'")
    try:
        Path(path).touch()
    except OSError as error:
        raise UsageError(f"--html {path}: {error.strerror}") from error


def write(results: Results, path: str) -> None:
    """The page. Raises UsageError when the file cannot be written."""
    try:
        Path(path).write_text(page(results), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--html {path}: {error.strerror}") from error


def page(results: Results) -> str:
    """The page as text; plotly's own program is in it once."""
    from plotly.offline import get_plotlyjs

    parts = [f"<script>{get_plotlyjs()}</script>", "<h1>pykvm bench net</h1>"]
    for stream in results.runs:
        parts += [f"<h2>{escape(stream.name)}</h2>", _table(*net_table.grid(results, stream))]
        parts += [_figure(each) for each in graphs(results.runs[stream])]
    parts += [f"<p>{escape(note)}</p>" for note in net_table.notes(results)]
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>pykvm bench net</title>'
        f"<style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str], kind: str) -> str:
        return "<tr>" + "".join(f"<{kind}>{escape(cell)}</{kind}>" for cell in cells) + "</tr>"

    body = "".join(line(row, "td") for row in rows)
    return f'<div class="wide"><table>{line(header, "th")}{body}</table></div>'


def _figure(figure: Any) -> str:
    return str(figure.to_html(full_html=False, include_plotlyjs=False, default_height=_HEIGHT))


def graphs(runs: dict[str, list[Run]]) -> list[Any]:
    """Throughput and exits over time, of the last round, and exits by cause."""
    from plotly.graph_objects import Figure

    there = [who for who in (*OURS, *THEIRS) if runs.get(who.name)]
    over_time = []
    for title, unit, value in (
        ("Throughput, as the TAP counts it", "Mbit/s", _bits),
        ("Exits, as KVM counts them", "exits/s", _exits),
    ):
        figure = Figure()
        for who in there:
            times, rates = curve(runs[who.name][-1], value)
            figure.add_scatter(x=times, y=rates, name=who.title, mode="lines+markers")
        figure.update_layout(title=title, xaxis_title="seconds", yaxis_title=unit)
        figure.update_yaxes(type="log")
        over_time.append(figure)
    return [*over_time, _causes(runs, there)]


def _causes(runs: dict[str, list[Run]], there: list[Contestant]) -> Any:
    from plotly.graph_objects import Figure

    figure = Figure()
    rates = {}
    for who in there:
        last = runs[who.name][-1]
        rates[who.title] = {name: count / last.seconds for name, count in last.causes.items()}
    for cause in sorted({name for row in rates.values() for name in row}):
        figure.add_bar(x=list(rates), y=[row.get(cause, 0) for row in rates.values()], name=cause)
    figure.update_layout(title="Exits by cause", barmode="stack", yaxis_title="exits/s")
    return figure


def _bits(snapshot: Snapshot) -> float:
    return (snapshot.wire.sent_bytes + snapshot.wire.taken_bytes) * 8 / 1e6


def _exits(snapshot: Snapshot) -> float:
    return float(snapshot.kernel.get(EXITS, 0))


def curve(run: Run, value: Any) -> tuple[list[float], list[float]]:
    """Seconds since the start, and how fast ``value`` grew up to then, by sample."""
    snapshots = [run.begin, *run.samples, run.end]
    times, rates = [], []
    for before, after in pairwise(snapshots):
        if after.ns > before.ns:
            times.append((after.ns - run.begin.ns) / 1e9)
            rates.append((value(after) - value(before)) / (after.ns - before.ns) * 1e9)
    return times, rates
