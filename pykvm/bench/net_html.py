"""``pykvm bench net --html FILE``: the tables and graphs as one page that needs no network."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from html import escape
from itertools import cycle, pairwise
from math import ceil, floor, log10
from pathlib import Path
from typing import Any

from pykvm.bench import net_table
from pykvm.bench.counts import Snapshot
from pykvm.bench.net import (
    CLASSIC,
    OURS,
    THEIRS,
    Contestant,
    Results,
)
from pykvm.bench.net_run import Run, Stream
from pykvm.errors import UsageError
from pykvm.trace.kernel import EXITS

Value = Callable[[Snapshot], float]

_STYLE = """
:root { color-scheme: light dark; --ink: #222; --paper: #fff; --line: #ddd; }
@media (prefers-color-scheme: dark) { :root { --ink: #ddd; --paper: #181818; --line: #444; } }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 1500px; padding: 0 1em;
       color: var(--ink); background: var(--paper); }
h2 { margin: 2em 0 0; }
h2 + p { margin-top: 0; }
.wide { overflow-x: auto; margin-bottom: 1em; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: .3em .7em; text-align: right; }
th, td { white-space: nowrap; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0;
                                 background: var(--paper); }
th { border-bottom: 2px solid #888; }
.graphs { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(380px, 100%), 1fr)); }
.graphs > div { min-width: 0; }
.js-plotly-plot text { fill: var(--ink) !important; }
.js-plotly-plot .hoverlayer text { fill: #fff !important; }
"""
_HEIGHT = 380
_GRID = "rgba(128, 128, 128, 0.3)"
_MARKS = {"more": "\u25b2", "less": "\u25bc"}
# A colour for each kind of card, told apart also by the colour-blind; QEMU's lines are dashed.
_COLOURS = {"e1000": "#3182bd", "virtio-net": "#1b9e77"}
_CLASSIC = "#e08214"
_DASHES = ("dot", "dash", "dashdot")  # of the first QEMU, of others
# Of the causes of exits: not those of the cards.
_SHADES = ("#762a83", "#d6604d", "#bf812d", "#80cdc1", "#c2a5cf", "#4d4d9f", "#e7d4a8")
_OTHER = "#999"
_KINDS = {"raw": "raw data", "tcp": "TCP", "linux": "TCP of a Linux guest"}
_UNITS = {"mtu": "frames of up to 1,514 bytes", "big": "requests of up to 64 KB"}


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

    parts = [
        "<h1>pykvm bench net</h1>",
        "<p>The same stream through each network card: an e1000 as emulation began, pykvm's two, "
        f"and QEMU's where it is installed. {_MARKS['more']} more is better, {_MARKS['less']} less "
        "is better. Graphs show the last round.</p>",
    ]
    for stream, runs in results.runs.items():
        parts += [f"<h2>{escape(stream.name)}</h2><p>{_described(stream)}</p>"]
        parts += _tables(results, stream)
        shown = graphs(runs, results.contestants)
        parts += ['<div class="graphs">', *(_figure(each) for each in shown), "</div>"]
    parts += [f"<p>{escape(note)}</p>" for note in net_table.notes(results)]
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>pykvm bench net</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style><script>{get_plotlyjs()}</script></head>"
        f"<body>{''.join(parts)}</body></html>\n"
    )


def _described(stream: Stream) -> str:
    way = "from the guest to the host" if stream.direction == "tx" else "from the host to the guest"
    return f"{_KINDS[stream.kind]} {way}, in {_UNITS[stream.unit]}"


def _tables(results: Results, stream: Stream) -> list[str]:
    """What was measured, and what that is next to others: one table would be too wide."""
    header, rows = net_table.grid(results, stream)
    titles = [f"{_MARKS.get(row.better, '')} {row.title}".strip() for row in net_table.ROWS]
    there = 1 + len(_there(results.runs[stream], results.contestants))
    header[-2:] = [f"published {name}" for name in header[-2:]]
    return [
        _table(
            [first, *header[columns]],
            [[title, *row[columns]] for title, row in zip(titles, rows, strict=True)],
        )
        for first, columns in (("measured", slice(1, there)), ("compared", slice(there, None)))
    ]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str], kind: str) -> str:
        return "<tr>" + "".join(f"<{kind}>{escape(cell)}</{kind}>" for cell in cells) + "</tr>"

    body = "".join(line(row, "td") for row in rows)
    return f'<div class="wide"><table>{line(header, "th")}{body}</table></div>'


def _figure(figure: Any) -> str:
    """Without plotly's buttons; paper and letters are the page's."""
    figure.update_layout(
        template="none", height=_HEIGHT, paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)", margin={"l": 10, "r": 20, "t": 60, "b": 10},
        title={"x": 0.02, "font": {"size": 15}}, hoverlabel={"bgcolor": "#555"},
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom",
                "traceorder": "normal"},
    )  # fmt: skip
    for axis in (figure.update_xaxes, figure.update_yaxes):
        axis(
            gridcolor=_GRID,
            zeroline=False,
            automargin=True,
            ticks="outside",
            ticklen=6,
            tickcolor="rgba(0,0,0,0)",
        )
    config = {"displayModeBar": False, "responsive": True}
    return str(figure.to_html(full_html=False, include_plotlyjs=False, config=config))


def _there(runs: dict[str, list[Run]], contestants: Sequence[Contestant]) -> list[Contestant]:
    return [who for who in contestants if runs.get(who.name)]


def graphs(
    runs: dict[str, list[Run]], contestants: Sequence[Contestant] = (*OURS, *THEIRS)
) -> list[Any]:
    """Throughput and exits over time, of the last round, and exits by cause."""
    last = {who: runs[who.name][-1] for who in _there(runs, contestants)}
    return [
        _over_time(f"{_MARKS['more']} Throughput, as the TAP counts it", "Mbit/s", last, _bits),
        _over_time(f"{_MARKS['less']} Exits, as KVM counts them", "exits/s", last, _exits),
        _causes(last),
    ]


def _over_time(title: str, unit: str, last: dict[Contestant, Run], value: Value) -> Any:
    from plotly.graph_objects import Figure

    figure = Figure()
    means, most = [], 0.0
    qemus = list(dict.fromkeys(who.program for who in last if who.device))
    for who, run in last.items():
        times, rates = curve(run, value)
        colour = _CLASSIC if who == CLASSIC else _COLOURS[who.card]
        dash = _DASHES[qemus.index(who.program) % len(_DASHES)] if who.device else "solid"
        figure.add_scatter(
            # A logarithm has no place for 0.
            x=times, y=[rate if rate > 0 else None for rate in rates], name=who.title,
            mode="lines+markers", line={"color": colour, "dash": dash}, marker={"size": 5},
        )  # fmt: skip
        means.append((value(run.end) - value(run.begin)) / run.window)
        most = max([most, *rates])
    figure.update_layout(title=title, xaxis_title="seconds", yaxis_title=unit)
    figure.update_xaxes(rangemode="tozero")
    figure.update_yaxes(type="log", dtick=1, tickformat="~s", range=_decades(means, most))
    return figure


def _decades(means: Sequence[float], most: float) -> list[float] | None:
    """The range of a logarithmic axis: whole powers of ten around the slowest one's mean and the
    most that there was. What is far below it waits for its stream to begin."""
    there = [mean for mean in means if mean > 0]
    if not there:
        return None
    return [floor(log10(min(there) * 0.8)), ceil(log10(max(most, *there) * 1.1))]


def _causes(last: dict[Contestant, Run]) -> Any:
    from plotly.graph_objects import Figure

    rates = {
        who: {name: count / run.seconds for name, count in run.causes.items()}
        for who, run in last.items()
    }
    labels = [f"{who.title}<br>{net_table.short(sum(row.values()))}" for who, row in rates.items()]
    figure = Figure()
    causes = sorted({name for row in rates.values() for name in row})
    for cause, colour in zip(causes, cycle(_SHADES), strict=False):
        figure.add_bar(
            y=labels, x=[row.get(cause, 0) for row in rates.values()], name=cause,
            orientation="h", marker={"color": _OTHER if cause == "other" else colour},
        )  # fmt: skip
    title = f"{_MARKS['less']} Exits by cause, as KVM names them"
    figure.update_layout(title=title, barmode="stack", xaxis_title="exits/s", bargap=0.4)
    figure.update_xaxes(tickformat="~s")
    figure.update_yaxes(autorange="reversed", showgrid=False)
    return figure


def _bits(snapshot: Snapshot) -> float:
    return (snapshot.wire.sent_bytes + snapshot.wire.taken_bytes) * 8 / 1e6


def _exits(snapshot: Snapshot) -> float:
    return float(snapshot.kernel.get(EXITS, 0))


def curve(run: Run, value: Value) -> tuple[list[float], list[float]]:
    """Seconds since the start, and how fast ``value`` grew up to then, by sample."""
    snapshots = [run.begin, *run.samples, run.end]
    times, rates = [], []
    for before, after in pairwise(snapshots):
        if after.ns > before.ns:
            times.append((after.ns - run.begin.ns) / 1e9)
            rates.append((value(after) - value(before)) / (after.ns - before.ns) * 1e9)
    return times, rates
