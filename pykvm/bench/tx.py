"""``pykvm bench tx``: frames from a guest's card to a TAP, the data plane alone.

    ceiling   a bare writev loop on the same TAP, and one GSO write for what becomes 44 segments
    software  the same for TSO, with the card cutting the segments itself
    merged    frames of one TCP flow, with and without the card's coalesce=on
    harness   the card without a guest: a host thread rings the doorbell of rings filled beforehand
    guest     a bare-metal driver in ring 3 fills the rings, with one or 64 frames to a doorbell;
              "by a kernel" has the doorbell rung in ring 0, where a kernel's driver rings it;
              "waiting" has the next doorbell when all of the last one is sent
    qemu      QEMU's card with the same guest image and the same TAP, where it is installed

Every round measures all of them in turn, so that ratios are between neighbours in time.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from pykvm.bench import network, qemu
from pykvm.bench.cards import MERGED, Card, run
from pykvm.bench.figures import Figure, ratios, table
from pykvm.bench.frametimes import FrameTimes
from pykvm.bench.guest import find
from pykvm.bench.harness import apart
from pykvm.net.frames import SEGMENTS, plain_frame, tcp_flow, tcp_request
from pykvm.net.vnet import VnetHeader

_NAMES = {
    "tx-60-1": "60 bytes, a doorbell each",
    "tx-60-64": "60 bytes, 64 to a doorbell",
    "tx-1514-1": "1514 bytes, a doorbell each",
    "tx-1514-64": "1514 bytes, 64 to a doorbell",
    "tx-60-1-kernel": "60 bytes, each by a kernel",
    "tx-1514-1-kernel": "1514 bytes, each by a kernel",
    "tx-tcp": "1514 bytes of one TCP flow, 64",
    MERGED: "the same with coalesce=on",
    "tx-tso": f"TSO, {SEGMENTS} segments of 1460 bytes",
    "wait-60-1": "60 bytes, waiting for each",
    "wait-1514-1": "1514 bytes, waiting for each",
    "wait-60-64": "60 bytes, waiting for 64",
    "wait-1514-64": "1514 bytes, waiting for 64",
    "wait-tso": "TSO, waiting for each",
    "wait-tso-32": "TSO, waiting for 32",
}
_WAITING = 4  # so many times fewer frames where the guest waits


def measure(
    rounds: int, frames: int, *, card: Card, with_qemu: bool = True, engine: str | None = None
) -> FrameTimes:
    """Run everything ``rounds`` times, interleaved, in a network of our own. Raises HostError."""
    network.enter()
    results = FrameTimes(card)
    image = find(card.image)
    for _ in range(rounds):
        for kind in card.kinds:
            add = partial(results.add_line, kind)
            results.microseconds["ceiling", kind].append(_ceiling(card, kind, frames))
            if not waits(kind):  # without a guest nobody does
                results.microseconds["harness", kind].append(_harness(card, kind, frames))
            if kind == "tx-tso" and card.can_cut:
                cut = _harness(card, kind, frames // 10, offloads=False)
                results.microseconds["software", kind].append(cut)
            count = max(frames // _WAITING, 64) if waits(kind) else frames
            append = f"mode=tx kind={_of_guest(kind)} frames={count} passes=1"
            line = partial(add, "guest")
            with card.machine(
                image, append, line, engine=engine, coalesce=kind == MERGED
            ) as machine:
                run(machine)
            if with_qemu and qemu.path():
                results.qemu_version = qemu.version()
                few = count if waits(kind) else max(frames // 10, 64)
                append = f"mode=tx kind={_of_guest(kind)} frames={few} passes=1"
                with qemu.Qemu(image, append, card.qemu_options()) as peer:
                    for text in peer:
                        add("qemu", text)
                    peer.finish()
    return results


def _of_guest(kind: str) -> str:
    """What the guest calls it."""
    return "tx-tcp" if kind == MERGED else kind


def waits(kind: str) -> bool:
    """Whether the guest waits for each request."""
    return kind.startswith("wait-")


def is_large(kind: str) -> bool:
    """Whether it sends requests of many segments."""
    return "-tso" in kind


def frame_of(kind: str) -> tuple[bytes, VnetHeader]:
    """What is sent, and the header that it is sent with."""
    if is_large(kind):
        return tcp_request()
    if _of_guest(kind) == "tx-tcp":
        return tcp_flow(1)[0], VnetHeader()
    return plain_frame(int(kind.split("-")[1])), VnetHeader()


def _ceiling(card: Card, kind: str, frames: int) -> float:
    frame, header = frame_of(kind)
    count = max(frames // 8, 1) if is_large(kind) else frames
    return network.write_ceiling(frame, header, count, card.ring) / 1000


def _harness(card: Card, kind: str, frames: int, *, offloads: bool = True) -> float:
    batch = 1 if "-1-" in f"{kind}-" else 64
    if kind == "tx-tso":
        frames //= 8
        batch = 8
    with apart() as part, card.harness(kind, offloads) as harness:
        part()
        started = time.perf_counter()
        harness.send(frames, batch)
        return (time.perf_counter() - started) / frames * 1e6


def as_dict(results: FrameTimes) -> dict[str, Any]:
    """The ``--json`` form."""
    return results.as_dict("tx")


def text(results: FrameTimes) -> str:
    """The table for people."""
    header = ["microseconds a frame", "ceiling", "harness", "of ceiling", "guest", "of ceiling"]
    header += ["qemu", "guest x qemu"]
    rows = []
    for kind in results.card.kinds:
        ceiling, harness, guest, theirs = (
            results.microseconds.get((who, kind)) for who in ("ceiling", "harness", "guest", "qemu")
        )
        assert ceiling
        assert guest
        row = [_NAMES[kind], Figure.of(ceiling).text()]
        row += (
            [Figure.of(harness).text(), f"{ratios(ceiling, harness).median:.2f}"]
            if harness
            else ["-"] * 2
        )
        row += [Figure.of(guest).text(), f"{ratios(ceiling, guest).median:.2f}"]
        row += (
            [Figure.of(theirs).text(), f"{ratios(theirs, guest).median:.1f}"]
            if theirs
            else ["-"] * 2
        )
        rows.append(row)
    notes = (
        "\n\nmedian (lowest-highest) of the rounds, ratios round by round; ceiling is a bare "
        f"writev on the same TAP; {qemu.named(results.qemu_version)}.\n"
    )
    if cut := results.microseconds.get(("software", "tx-tso")):
        times = ratios(cut, results.microseconds["harness", "tx-tso"]).median
        notes += (
            "A TSO request that the card has to cut itself takes "
            f"{Figure.of(cut).text()}: {times:.1f} times as long.\n"
        )
    return table(header, rows) + notes + "\n" + _request_table(results)


def _request_table(results: FrameTimes) -> str:
    """How long one request takes a guest that waits for it."""
    header = ["microseconds a request", "guest", "99%", "slowest", "qemu", "99%", "slowest"]
    rows = []
    for kind in filter(waits, results.card.kinds):
        row = [_NAMES[kind]]
        for who in ("guest", "qemu"):
            requests = results.requests.get((who, kind))
            row += (
                [Figure.of(part).text(1) for part in zip(*requests, strict=True)]
                if requests
                else ["-"] * 3
            )
        rows.append(row)
    return table(header, rows) + (
        "\n\nof the requests of a round: their median, the 99th percentile, the slowest; of each "
        "the median (lowest-highest) of the rounds.\n"
    )
