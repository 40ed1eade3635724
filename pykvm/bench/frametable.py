"""The table of ``pykvm bench tx`` and ``rx``: a line for each who has done a row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pykvm.bench import qemu
from pykvm.bench.figures import Figure, ratios, table
from pykvm.bench.frametimes import FrameTimes

HEADER = ("microseconds a frame", "by", "median", "fastest", "slowest", "99%", "x pykvm's")
NOTES = (
    "\n\nfastest, slowest: of the rounds; 99%: microseconds that 99 of a hundred\n"
    "requests of a guest that waits for each do not exceed, the median of the rounds;\n"
    "x pykvm's: the time by that of pykvm's guest, round by round, the median; above 1\n"
    "pykvm is ahead; "
)


def text(results: FrameTimes, names: Mapping[str, str], kinds: Iterable[str], ceiling: str) -> str:
    """``names`` are the kinds' titles, ``ceiling`` says what that is."""
    titles = {"ceiling": "ceiling", "software": "software", "harness": "no guest", "guest": "pykvm"}
    titles |= {peer.key: peer.title for peer in results.peers}
    rows = []
    for kind in kinds:
        first = names[kind]
        for who, title in titles.items():
            values = results.microseconds.get((who, kind))
            if not values:
                continue
            ours = results.microseconds.get(("guest", kind), [])
            times = f"{ratios(values, ours).median:.2f}" if len(ours) == len(values) else "-"
            rows.append([first, title, *figures(values), slow(results, who, kind), times])
            first = ""
    version = qemu.named(qemu.versions(results.peers))
    made = table(HEADER, rows, left=2) + f"{NOTES}{ceiling}; {version}.\n"
    return made + "".join(f"{note}\n" for note in results.notes)


def figures(values: list[float]) -> list[str]:
    """Median, fastest and slowest round."""
    figure = Figure.of(values)
    return [f"{value:.2f}" for value in (figure.median, figure.low, figure.high)]


def slow(results: FrameTimes, who: str, kind: str) -> str:
    """The 99th percentile of a request's time."""
    if requests := results.requests.get((who, kind)):
        return f"{Figure.of(request.p99 for request in requests).median:.1f}"
    return "-"
