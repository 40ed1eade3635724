"""``pykvm bench rx``: frames from a TAP to a guest's driver, the data plane alone.

    ceiling   a bare readv loop on the same TAP
    guest     a bare-metal driver in ring 3 takes them from its ring and gives the buffers back
    qemu      QEMU's card with the same guest image and the same TAP, where it is installed

The frames wait in the TAP before the clock starts, but for the ring of 256 that the card fills at
once; of 64 KB segments too, which come whole to a driver that takes them so.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from pykvm.bench import network, qemu
from pykvm.bench.cards import Card, run
from pykvm.bench.exits import Lines
from pykvm.bench.figures import Figure, ratios, table
from pykvm.bench.frametimes import FrameTimes
from pykvm.bench.guest import find
from pykvm.interfaces import CharReceiver
from pykvm.machine.machine import Machine
from pykvm.net.frames import SEGMENTS, SOURCE, plain_frame, tcp_request
from pykvm.net.vnet import VnetHeader

KINDS = ("rx-60", "rx-1514", "rx-gso")
_NAMES = {
    "rx-60": "60 bytes",
    "rx-1514": "1514 bytes",
    "rx-gso": f"{SEGMENTS} segments of 1460 bytes in one",
}
_GSO_SHARE = 10  # a tenth as many of the big ones


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


def measure(rounds: int, frames: int, *, card: Card, with_qemu: bool = True) -> FrameTimes:
    """Run everything ``rounds`` times, interleaved, in a network of our own. Raises HostError."""
    network.enter()
    results = FrameTimes(card)
    image = find(card.image)
    for _ in range(rounds):
        for kind in KINDS:
            if kind == "rx-gso" and card.can_cut:
                continue  # a card that cuts for itself takes no segments whole
            count = frames // _GSO_SHARE if kind == "rx-gso" else frames
            frame, header = _frame(kind)
            fill = partial(network.fill, frame, count, header)
            results.microseconds["ceiling", kind].append(
                network.read_ceiling(frame, count, header) / 1000
            )
            append = f"mode=rx frames={count} passes=1 entries=256 {_ASKS[kind]}"
            add = partial(results.add_line, kind)
            serial = _Typist(partial(add, "guest"), fill)
            with card.machine(image, append, lambda line: None, serial=serial) as machine:
                serial.machine = machine
                run(machine)
            # QEMU's e1000 takes no frame in the first second after each write to RCTL.
            if with_qemu and qemu.path() and not card.can_cut:
                results.qemu_version = qemu.version()
                with qemu.Qemu(image, append, card.qemu_options()) as peer:
                    for line in peer:
                        add("qemu", line)
                        if line == "READY":
                            fill()
                            peer.type(b"!")
                    peer.finish()
    return results


# Buffers of a page for the large ones, as Linux's driver has them.
_ASKS = {
    "rx-60": "kind=rx-merge",
    "rx-1514": "kind=rx-merge",
    "rx-gso": "kind=rx-merge tso=1 buffer=4096",
}


def _frame(kind: str) -> tuple[bytes, VnetHeader]:
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
    header = ["microseconds a frame", "ceiling", "guest", "of ceiling", "qemu", "guest x qemu"]
    rows = []
    for kind in KINDS:
        ceiling, guest, theirs = (
            results.microseconds.get((who, kind)) for who in ("ceiling", "guest", "qemu")
        )
        if not ceiling or not guest:
            continue
        row: list[str] = [_NAMES[kind], Figure.of(ceiling).text(), Figure.of(guest).text()]
        row += [f"{ratios(ceiling, guest).median:.2f}"]
        row += [Figure.of(theirs).text(), f"{ratios(theirs, guest).median:.2f}"] if theirs else []
        rows.append(row + ["-"] * (len(header) - len(row)))
    return table(header, rows) + (
        "\n\nmedian (lowest-highest) of the rounds, ratios round by round; ceiling is a bare readv "
        f"on the same TAP; {qemu.named(results.qemu_version)}.\n"
    )
