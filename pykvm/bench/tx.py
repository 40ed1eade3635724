"""``pykvm bench tx``: frames from a guest's card to a TAP, the data plane alone.

    ceiling   a bare writev loop on the same TAP, and one GSO write for what becomes 44 segments
    software  the same for TSO, with the card cutting the segments itself
    merged    frames of one TCP flow, with and without the card's coalesce=on
    harness   the card without a guest: a host thread rings the doorbell of rings filled beforehand
    guest     a bare-metal driver in ring 3 fills the rings, with one or 64 frames to a doorbell;
              "by a kernel" has the doorbell rung in ring 0, where a kernel's driver rings it;
              "waiting" has the next doorbell when all of the last one is sent
    qemu      QEMU's card with the same guest image and the same TAP, of each QEMU that there is

Every round measures all of them in turn, so that ratios are between neighbours in time.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from pykvm.bench import frametable, network, qemu
from pykvm.bench.cards import MERGED, Card, run
from pykvm.bench.frametimes import FrameTimes
from pykvm.bench.guest import find
from pykvm.bench.harness import apart
from pykvm.net.frames import SEGMENTS, plain_frame, tcp_flow, tcp_request
from pykvm.net.vnet import VnetHeader

NAMES = {
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
    rounds: int, frames: int, *, card: Card, peers: Sequence[qemu.Peer] = (),
    engine: str | None = None,
) -> FrameTimes:  # fmt: skip
    """Run everything ``rounds`` times, interleaved, in a network of our own. Raises HostError."""
    network.enter()
    results = FrameTimes(card, peers=list(peers))
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
            few = count if waits(kind) else max(frames // 10, 64)
            append = f"mode=tx kind={_of_guest(kind)} frames={few} passes=1"
            for peer in peers:
                options = card.qemu_options()
                with qemu.Qemu(image, append, options, program=peer.program) as running:
                    for said in running:
                        add(peer.key, said)
                    running.finish()
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
        batch = 8
        frames = max(frames // 8, batch)
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
    ceiling = "ceiling: a bare writev on the same TAP; software: the card cuts by itself"
    return frametable.text(results, NAMES, results.card.kinds, ceiling)
