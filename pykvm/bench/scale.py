"""``pykvm bench scale``: what more of everything costs: vCPUs and queues, and guests on one bridge.

    vCPUs     one guest with so many vCPUs and as many pairs of queues of its virtio-net, of which
              it uses one each: what the others cost
    pairs     one guest whose one vCPU deals what it sends to so many pairs of queues in turn, each
              of which has a thread: large requests, and frames
    senders   one guest with so many vCPUs, each of which sends by a pair of its own
    guests    so many guests, each a process with a virtio-net on a TAP of its own, all of which
              send at once to the bridge that they are ports of

Memory is a process's proportional set size (proc(5), smaps_rollup) when its guest is ready: what it
shares with the others is divided among them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from pykvm.bench import bridge, network
from pykvm.bench.exits import tsc_khz
from pykvm.bench.figures import Figure, ratios, table
from pykvm.bench.guest import find
from pykvm.bench.net import IMAGE
from pykvm.bench.net_checks import check
from pykvm.bench.net_guests import PykvmGuest
from pykvm.bench.net_host import Sink
from pykvm.bench.net_run import Run, Stream, run
from pykvm.bench.net_table import as_times, cell
from pykvm.trace.kernel import EXITS

_GUEST_MAC = "52:54:00:12:35:{:02x}"
_PATIENCE = 120.0


@dataclass(frozen=True)
class Table:
    """What there is more of from row to row, and what the guests send."""

    title: str
    counts: tuple[int, ...]
    unit: str = "mtu"


TABLES = {
    "vcpus": Table("vCPUs and pairs of queues", (1, 2, 4)),
    "pairs_big": Table("pairs used, 64 KB requests", (1, 2, 4), "big"),
    "pairs_mtu": Table("pairs used", (1, 2, 4)),
    "senders": Table("vCPUs that send", (1, 2, 4)),
    "guests": Table("guests at once", (1, 2, 4, 8)),
}


@dataclass
class Together:
    """What guests that ran at once made of it; ``pss`` in bytes and ``ready`` in seconds from the
    start of its process, of each."""

    runs: list[Run] = field(default_factory=list)
    pss: list[int] = field(default_factory=list)
    ready: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Column:
    """``of`` everything that ran at once."""

    key: str
    title: str
    of: Callable[[Together], float]
    grows: bool = False  # to be compared with that of one


COLUMNS = (
    Column("total_mbps", "all together (Mbit/s)",
           lambda t: sum(r.bytes * 8 / r.seconds / 1e6 for r in t.runs), grows=True),
    Column("least_mbps", "the slowest (Mbit/s)",
           lambda t: min(r.bytes * 8 / r.seconds / 1e6 for r in t.runs)),
    Column("cpu_us_per_frame", "CPU time per frame (us)",
           lambda t: sum(r.cpu_seconds for r in t.runs) / sum(r.frames for r in t.runs) * 1e6,
           grows=True),
    Column("exits_per_1000_frames", "exits per 1000 frames",
           lambda t: 1000 * sum(r.kernel.get(EXITS, 0) for r in t.runs)
           / sum(r.frames for r in t.runs)),
    Column("pss_mib", "memory of each (MiB)", lambda t: sum(t.pss) / len(t.pss) / (1 << 20)),
    Column("ready_ms", "ready after (ms)", lambda t: max(t.ready) * 1000),
)  # fmt: skip

Results = dict[str, dict[int, list[Together]]]
"""By the names of ``TABLES``: how many -> a value for each round."""


def measure(
    rounds: int, seconds: float, *, say: Callable[[str], None] = lambda line: None
) -> Results:
    """Run everything ``rounds`` times, interleaved, in a network of our own. Raises HostError, and
    PykvmError when counts do not agree."""
    network.enter()
    plain = [f"pykvm-g{n}" for n in range(max(TABLES["guests"].counts))]
    several = "pykvm-mq"
    bridge.build()
    for tap in plain:
        bridge.add(tap)
    bridge.add(several, queues=max(TABLES["vcpus"].counts))
    khz = tsc_khz()

    def once(what: str, count: int) -> Together:
        stream = Stream("raw", "tx", TABLES[what].unit, seconds)
        if what == "guests":
            return together(stream, khz, plain[:count])
        tap = plain[0] if count == 1 else several
        if what == "vcpus":
            return together(stream, khz, [tap], vcpus=count)
        if what == "senders":
            stream = replace(stream, queues=count, smp=True)
            return together(stream, khz, [tap], vcpus=count)
        return together(replace(stream, queues=count), khz, [tap])

    results: Results = {what: {n: [] for n in its.counts} for what, its in TABLES.items()}
    for number in range(rounds):
        for what, its in TABLES.items():
            for count in its.counts:
                say(f"round {number + 1} of {rounds}: {its.title}: {count}")
                results[what][count].append(once(what, count))
    return results


def together(stream: Stream, khz: int, taps: list[str], vcpus: int = 1) -> Together:
    """A guest on each of ``taps``; all are told to start when all are ready. Raises PykvmError."""
    done = Together()
    lock, barrier = threading.Lock(), threading.Barrier(len(taps))
    failed: list[BaseException] = []

    def one(number: int, tap: str) -> None:
        try:
            result = _run(stream, khz, tap, vcpus, _GUEST_MAC.format(number), ready)
            check(result)
            with lock:
                done.runs.append(result)
        except BaseException as error:
            failed.append(error)
            barrier.abort()

    def ready(pid: int, since: float) -> None:
        with lock:
            done.ready.append(time.monotonic() - since)
            done.pss.append(pss(pid))
        barrier.wait(_PATIENCE)

    threads = [threading.Thread(target=one, args=pair) for pair in enumerate(taps)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]  # the reason why the others were not awaited
    return done


def _run(
    stream: Stream, khz: int, tap: str, vcpus: int, mac: str, ready: Callable[[int, float], None]
) -> Run:
    pairs = max(vcpus, stream.queues)
    nic = f"virtio-net,backend=tap:{tap},mac={mac},queues={pairs}"
    spec: dict[str, Any] = {
        "image": find(IMAGE), "append": stream.append("virtio-net", 0), "nics": [nic],
        "timeout": 300, "cpus": vcpus, "tap": tap,
    }  # fmt: skip
    with ExitStack() as stack:
        host = stack.enter_context(Sink(tap))
        since = time.monotonic()
        guest = stack.enter_context(PykvmGuest(spec))
        return run(guest, stream, host, khz, go=partial(ready, guest.pid, since))


def pss(pid: int) -> int:
    """Bytes of a process's memory, what it shares divided by who shares it."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        for line in file:
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    raise ValueError("no Pss")


def growth(by_count: dict[int, list[Together]], count: int, column: Column) -> Figure:
    """The column's value by that of one vCPU or guest, round by round."""
    return ratios(map(column.of, by_count[count]), map(column.of, by_count[1]))


def text(results: Results) -> str:
    """The tables for people."""
    parts = []
    for what, by_count in results.items():
        rows = []
        for count, found in by_count.items():
            row = [str(count)]
            for column in COLUMNS:
                row.append(cell(Figure.of(map(column.of, found))))
                if column.grows:
                    row.append(as_times(growth(by_count, count, column).median))
            rows.append(row)
        header = [TABLES[what].title]
        for column in COLUMNS:
            header += [column.title, "of one's"] if column.grows else [column.title]
        parts.append(table(header, rows))
    return "\n\n".join(parts) + (
        "\n\nmedian (lowest-highest) of the rounds; 1514-byte frames, or what the table says, by "
        "virtio-net to a bridge; a guest uses one vCPU and one pair of queues unless a table says "
        "how many are used or send, the others are idle; "
        "memory is the proportional set size of a guest's process.\n"
    )


def as_dict(results: Results) -> dict[str, Any]:
    """The ``--json`` form, version 1."""
    rows = [
        {
            "what": what, "count": count,
            **{c.key: Figure.of(map(c.of, found)).as_dict() for c in COLUMNS},
            "of_one": {c.key: growth(by_count, count, c).as_dict() for c in COLUMNS if c.grows},
        }
        for what, by_count in results.items()
        for count, found in by_count.items()
    ]  # fmt: skip
    return {"version": 1, "bench": "scale", "rows": rows}
