"""``pykvm bench rx``: frames from a TAP to a guest's driver, the data plane alone.

    ceiling   a bare readv loop on the same TAP
    guest     a bare-metal driver in ring 3 takes them from its ring and gives the buffers back
    qemu      QEMU's card with the same guest image and the same TAP, of each QEMU that there is

The frames wait in the TAP before the clock starts, but for the ring of 256 that the card fills at
once; of 64 KB segments too, which come whole to a driver that takes them so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from pykvm.bench import frametable, network, qemu
from pykvm.bench.cards import Card, run
from pykvm.bench.exits import Lines
from pykvm.bench.frametimes import FrameTimes
from pykvm.bench.guest import find
from pykvm.errors import PykvmError
from pykvm.interfaces import CharReceiver
from pykvm.machine.machine import Machine
from pykvm.net.frames import SEGMENTS, SOURCE, plain_frame, tcp_request
from pykvm.net.vnet import VnetHeader

KINDS = ("rx-60", "rx-1514", "rx-gso")
NAMES = {
    "rx-60": "60 bytes",
    "rx-1514": "1514 bytes",
    "rx-gso": f"{SEGMENTS} segments of 1460 bytes in one",
}
GSO_SHARE = 10  # a tenth as many of the big ones


class _Typist(Lines):
    """Types a byte whenever the guest is READY, after ``ready`` has been called."""

    def __init__(self, on_line: Callable[[str], None], ready: Callable[[], None]) -> None:
        super().__init__(on_line)
        self._ready = ready
        self._receiver: CharReceiver | None = None
        self.machine: Machine | None = None

    def connect(self, receiver: CharReceiver) -> None:
        self._receiver = receiver

    def write(self, data: bytes) -> None:
        waiting = self._rest + data
        super().write(data)
        if b"READY" in waiting and b"\n" in data and self.machine is not None:
            self._ready()
            loop = self.machine.loop
            loop.call_at(loop.now_ns(), self._type)

    def _type(self) -> None:
        if self._receiver is not None:
            self._receiver.receive(b"!")


def measure(rounds: int, frames: int, *, card: Card, peers: Sequence[qemu.Peer] = ()) -> FrameTimes:
    """Run everything ``rounds`` times, interleaved, in a network of our own. Raises HostError."""
    network.enter()
    results = FrameTimes(card, peers=list(peers))
    image = find(card.image)
    for _ in range(rounds):
        for kind in KINDS:
            if kind == "rx-gso" and card.can_cut:
                continue  # a card that cuts for itself takes no segments whole
            count = max(frames // GSO_SHARE, 1) if kind == "rx-gso" else frames
            frame, header = frame_of(kind)
            fill = partial(network.fill, frame, count, header)
            results.microseconds["ceiling", kind].append(
                network.read_ceiling(frame, count, header) / 1000
            )
            append = f"mode=rx frames={count} passes=2 entries=256 {ASKS[kind]}"
            add = partial(results.add_line, kind)
            said: list[str] = []
            serial = _Typist(said.append, fill)
            with card.machine(image, append, lambda line: None, serial=serial) as machine:
                serial.machine = machine
                run(machine)
            add("guest", last(said))
            for peer in peers:
                add(peer.key, last(_of_peer(card, image, append, peer, fill)))
    return results


def _of_peer(
    card: Card, image: str, append: str, peer: qemu.Peer, fill: Callable[[], None]
) -> list[str]:
    """What the guest says under QEMU."""
    said = []
    flushed = f"{append} flush=1"
    with qemu.Qemu(image, flushed, card.qemu_options(), program=peer.program) as running:
        for line in running:
            said.append(line)
            if line == "READY":
                fill()
                running.type(b"!")
        running.finish()
    return said


def last(lines: list[str]) -> str:
    """The last measurement: a pass goes before the one that counts, since the memory is new then,
    and QEMU's e1000 takes next to nothing in its first second. Raises PykvmError for none."""
    benches = [line for line in lines if line.startswith("BENCH")]
    if not benches:
        raise PykvmError("the bench guest reported nothing")
    return benches[-1]


# Buffers of a page for the large ones, as Linux's driver has them.
ASKS = {
    "rx-60": "kind=rx-merge",
    "rx-1514": "kind=rx-merge",
    "rx-gso": "kind=rx-merge tso=1 buffer=4096",
}


def frame_of(kind: str) -> tuple[bytes, VnetHeader]:
    """To the card's own address."""
    if kind == "rx-gso":
        frame, header = tcp_request()
        return SOURCE + frame[6:], header
    return SOURCE + plain_frame(int(kind.split("-")[1]))[6:], VnetHeader()


def as_dict(results: FrameTimes) -> dict[str, Any]:
    """The ``--json`` form."""
    return results.as_dict("rx")


def text(results: FrameTimes) -> str:
    """The table for people."""
    ceiling = "ceiling: a bare readv on the same TAP"
    return frametable.text(results, NAMES, KINDS, ceiling)
