"""``pykvm bench contend``: both cards against every QEMU, with a machine of one's own and without.

Every row of ``tx`` and ``rx``, streaming and waiting, with all processors free, and with one for
pykvm or QEMU, the guest and 0, 1 or 2 neighbours that never wait. A guest lives for all rows of a
card, and the neighbours come when it is ready: firmware is no part of it. What dies is told, and
the rest goes on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from pykvm.bench import network, qemu, rowrun, rx
from pykvm.bench.cards import CARDS, MERGED, Card
from pykvm.bench.exits import tsc_khz
from pykvm.bench.frametimes import FrameTimes
from pykvm.bench.guest import find
from pykvm.bench.neighbours import describe, neighbours, processors
from pykvm.bench.rowrun import Row, RowError

WARM = Row("rx-warm", 600)
"""Before what is received: the memory is new, and QEMU's e1000 slow in its first second."""


@dataclass(frozen=True)
class Place:
    """``cpus`` for all, None for every one that there is, and so many ``busy`` neighbours."""

    cpus: int | None
    busy: int

    @property
    def title(self) -> str:
        return describe(self.cpus, self.busy)


PLACES = (Place(None, 0), Place(1, 0), Place(1, 1), Place(1, 2))


@dataclass(frozen=True)
class Life:
    """The rows of one start of a guest, and what else its command line says."""

    rows: tuple[Row, ...]
    more: str = ""


@dataclass
class Results:
    """What was measured in each place with each card; ``notes`` say what died."""

    found: dict[tuple[Place, str], FrameTimes] = field(default_factory=dict)
    peers: list[qemu.Peer] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    stopped: bool = False


# So many that a row takes about a tenth of a second where one processor has to do it all, and that
# there are a hundred requests or more to wait for; eight frames are a large request.
FRAMES = {
    **dict.fromkeys(("tx-60-64", "tx-1514-64", "tx-tcp"), 20_000),
    **dict.fromkeys(("tx-60-1", "tx-1514-1", "tx-60-1-kernel", "tx-1514-1-kernel"), 2000),
    "tx-tso": 8 * 1000,
    "wait-60-1": 300, "wait-1514-1": 300, "wait-60-64": 64 * 100, "wait-1514-64": 64 * 100,
    "wait-tso": 8 * 100, "wait-tso-32": 8 * 32 * 100,
    "rx-60": 9000, "rx-1514": 9000, "rx-gso": 900,
}  # fmt: skip


def lives(card: Card, only: str | None = None, frames: int | None = None) -> list[Life]:
    """What is measured with the card: rows that match ``only``, of ``frames`` each if given."""

    def row(kind: str) -> Row:
        return Row(kind, frames or FRAMES[kind])

    def wanted(kind: str) -> bool:
        return only is None or any(fnmatchcase(k, only) for k in (kind, f"{card.model} {kind}"))

    # Merging is an option of the card's; one flow leaves its frames behind.
    sent = sorted((k for k in card.kinds if k != MERGED), key=lambda kind: kind == "tx-tcp")
    taken = [kind for kind in rx.KINDS if not (card.can_cut and kind == "rx-gso")]
    tx_rows = tuple(row(kind) for kind in sent if wanted(kind))
    groups: dict[str, list[Row]] = {}
    for kind in filter(wanted, taken):
        asks = rx.ASKS[kind].replace("kind=rx-merge", "").strip()
        groups.setdefault(f"entries=256 {asks}".strip(), [WARM]).append(row(kind))
    found = [Life(tx_rows)] if tx_rows else []
    return found + [Life(tuple(rows), more) for more, rows in groups.items()]


def measure(
    rounds: int, peers: Sequence[qemu.Peer], *, only: str | None = None, frames: int | None = None,
    places: Sequence[Place] = PLACES, say: Callable[[str], None] = lambda line: None,
) -> Results:  # fmt: skip
    """Run everything ``rounds`` times, everybody in turn, in a network of our own; Ctrl-C ends it
    early. Raises HostError."""
    network.enter()
    results = Results(peers=list(peers))
    khz = tsc_khz()
    everything = [
        (number, place, card, life)
        for number in range(rounds)
        for place in places
        for card in CARDS.values()
        for life in lives(card, only, frames)
    ]
    try:
        for number, place, card, life in everything:
            times = results.found.setdefault((place, card.model), FrameTimes(card, khz=khz))
            others: list[qemu.Peer | None] = [None, *peers]
            for peer in others[:: -1 if number % 2 else 1]:  # each goes first in turn
                title = peer.title if peer else "pykvm"
                name = f"round {number + 1} of {rounds}, {place.title}, {card.model}, {title}"
                say(name)
                results.notes += [
                    f"{name}, {died}" for died in _live(times, place, card, life, peer)
                ]
    except KeyboardInterrupt:
        results.stopped = True
        results.notes.append("stopped before its end")
    return results


def _live(
    times: FrameTimes, place: Place, card: Card, life: Life, peer: qemu.Peer | None
) -> list[str]:
    """Measure these rows; when one dies, those behind it in another life. Returns what died."""
    died: list[str] = []
    rows = list(life.rows)
    while rows:
        try:
            with _Surroundings(place, {row.kind: row.frames for row in rows}) as around:
                reported = _rows(times, _command(card, life, rows, peer), around, peer)
            died += [f"{r.kind}: not reported" for r in rows if r.kind not in reported]
            return died
        except RowError as error:
            died.append(f"{error.kind or 'the start'}: {error}")
            rows = behind(rows, error.kind)
    return died


def behind(rows: Sequence[Row], kind: str) -> list[Row]:
    """What is left to do after ``kind`` has died; nothing where the guest did not even start, or
    was not warm yet."""
    kinds = [row.kind for row in rows]
    if kind not in kinds or kind == WARM.kind:
        return []
    left = list(rows[kinds.index(kind) + 1 :])
    return [WARM, *left] if left and WARM in rows else left


def _rows(
    times: FrameTimes, command: list[str], around: _Surroundings, peer: qemu.Peer | None
) -> set[str]:
    reported = set()

    def report(kind: str, line: str) -> None:
        reported.add(kind)
        if kind != WARM.kind:
            times.add_line(kind, peer.key if peer else "guest", line)

    rowrun.run(command, around.begin, report)
    return reported


class _Surroundings:
    """The processors of a place from the start on, its neighbours from the first row on, and the
    frames that a row takes."""

    def __init__(self, place: Place, frames: dict[str, int]) -> None:
        self._place = place
        self._frames = frames
        self._lonely = place.busy > 0
        self._stack = ExitStack()

    def __enter__(self) -> _Surroundings:
        self._stack.enter_context(processors(self._place.cpus))
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def begin(self, kind: str) -> None:
        if self._lonely:
            self._stack.enter_context(neighbours(self._place.busy))
            self._lonely = False
        if kind.startswith("rx"):
            frame, header = rx.frame_of("rx-60" if kind == WARM.kind else kind)
            network.fill(frame, self._frames[kind], header)


def _command(card: Card, life: Life, rows: Sequence[Row], peer: qemu.Peer | None) -> list[str]:
    image, append = find(card.image), rowrun.append(rows, f"{life.more} {card.append}".strip())
    if peer is not None:
        append += " flush=1"
        return [*qemu.command(image, append, program=peer.program), *card.qemu_options()]
    return [
        *(sys.executable, "-m", "pykvm", "run", image, "--append", append),
        *("--nic", f"{card.model},backend=tap:{network.NAME}"),
    ]
