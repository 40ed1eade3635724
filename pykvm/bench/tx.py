"""``pykvm bench tx``: frames from a guest's card to a TAP, the data plane alone.

    ceiling   a bare writev loop on the same TAP, and one GSO write for what becomes 44 segments
    software  the same for TSO, with the card cutting the segments itself
    merged    frames of one TCP flow, with and without the card's coalesce=on
    harness   the card without a guest: a host thread rings the doorbell of rings filled beforehand
    guest     a bare-metal driver in ring 3 fills the rings, with one or 64 frames to a doorbell;
              "by a kernel" has the doorbell rung in ring 0, where a kernel's driver rings it
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
}


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
            results.microseconds["harness", kind].append(_harness(card, kind, frames))
            if kind == "tx-tso" and card.can_cut:
                cut = _harness(card, kind, frames // 10, offloads=False)
                results.microseconds["software", kind].append(cut)
            append = f"mode=tx kind={_of_guest(kind)} frames={frames} passes=1"
            line = partial(add, "guest")
            with card.machine(
                image, append, line, engine=engine, coalesce=kind == MERGED
            ) as machine:
                run(machine)
            if with_qemu and qemu.path():
                results.qemu_version = qemu.version()
                few = f"mode=tx kind={_of_guest(kind)} frames={max(frames // 10, 64)} passes=1"
                with qemu.Qemu(image, few, card.qemu_options()) as peer:
                    for text in peer:
                        add("qemu", text)
                    peer.finish()
    return results


def _of_guest(kind: str) -> str:
    """What the guest calls it."""
    return "tx-tcp" if kind == MERGED else kind


def frame_of(kind: str) -> tuple[bytes, VnetHeader]:
    """What is sent, and the header that it is sent with."""
    if kind == "tx-tso":
        return tcp_request()
    if _of_guest(kind) == "tx-tcp":
        return tcp_flow(1)[0], VnetHeader()
    return plain_frame(int(kind.split("-")[1])), VnetHeader()


def _ceiling(card: Card, kind: str, frames: int) -> float:
    frame, header = frame_of(kind)
    count = frames // (8 if kind == "tx-tso" else 1)
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
        assert harness
        assert guest
        row = [_NAMES[kind], Figure.of(ceiling).text(), Figure.of(harness).text()]
        row += [f"{ratios(ceiling, harness).median:.2f}", Figure.of(guest).text()]
        row += [f"{ratios(ceiling, guest).median:.2f}"]
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
    return table(header, rows) + notes
