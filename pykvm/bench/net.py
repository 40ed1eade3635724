"""``pykvm bench net``: the same stream over an e1000 and over virtio-net, and over QEMU's.

    classic   the e1000 as emulation began: the vCPU that rings the doorbell sends, and the card
              cuts large segments by itself
    e1000     pykvm's, left to itself
    virtio    pykvm's virtio-net; with rings of 4,096 entries, so that who queues ahead seldom waits
    qemu-...  QEMU's two cards without vhost, of each QEMU that there is

Each runs the same guest image in a process of its own on the same TAP, and may use every processor.
Every round measures all of them in turn, so that ratios are between neighbours in time. Both
virtio-nets can have several pairs of queues: pykvm's with a thread for each, QEMU's in one loop.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

from pykvm.bench import net_host, net_linux, network, qemu
from pykvm.bench.exits import tsc_khz
from pykvm.bench.guest import find
from pykvm.bench.net_checks import CountsDifferError, check
from pykvm.bench.net_guests import CHILD, Guest, PykvmGuest, QemuGuest
from pykvm.bench.net_host import Server
from pykvm.bench.net_run import Run, Stream, UnsupportedError, run
from pykvm.errors import PykvmError, UsageError

IMAGE = "netstream.elf"
DEFAULT = (
    Stream("raw", "tx", "big"), Stream("raw", "tx", "big", queues=2), Stream("raw", "tx", "mtu"),
    Stream("raw", "rx", "mtu"), Stream("tcp", "tx", "big"),
)  # fmt: skip
# Bytes of the TCP stream that finds out how long the others have to be, and seconds that tell it.
_FIRST_DATA = {"tcp": 4 << 20, "linux": 64 << 20}
_LONG_ENOUGH = 0.1


def chosen(
    kind: str | None, direction: str | None, unit: str | None, *, queues: int | None = None,
    smp: bool = False, **more: Any,
) -> list[Stream]:  # fmt: skip
    """The streams of the command's options: one as soon as any of the first three is given. Only
    raw ones use several ``queues``, a connection is in order; only those from the guest use a vCPU
    for each (``smp``). Raises UsageError."""
    if kind is direction is unit is None:
        streams = list(DEFAULT)
    else:
        streams = [Stream(kind or "raw", direction or "tx", unit or "big")]
        if (queues or 1) > 1 and streams[0].kind != "raw":
            raise UsageError("--queues is for raw streams: a connection stays on one pair")
        if smp and streams[0].direction == "rx":
            raise UsageError("--smp is for streams from the guest: one vCPU takes what comes")
    if smp and (queues or 1) == 1:
        raise UsageError("--smp is a vCPU for each pair of queues: give --queues, too")
    if queues is not None:
        streams = [
            replace(s, queues=queues, smp=smp and s.direction == "tx") if s.kind == "raw" else s
            for s in streams
        ]
    return [replace(stream, **more) for stream in dict.fromkeys(streams)]


@dataclass(frozen=True)
class Contestant:
    """``nic`` is pykvm's option, ``device`` QEMU's; one of them, without the TAP. ``card`` is what
    the guest calls it."""

    name: str
    title: str
    card: str
    nic: str | None = None
    device: str | None = None
    empties: bool = False
    """QEMU's e1000 ends a request of so many whole segments with one without data."""
    program: str = qemu.PROGRAM

    def start(
        self, image: str, append: str, initrd: str | None = None, *, pairs: int = 1, cpus: int = 1
    ) -> Guest:
        """Its guest, in a process of its own; its card has so many pairs of queues."""
        tap = network.tap(pairs)
        if self.device is not None:
            netdev, device = qemu.tap_card(self.device, tap, pairs)
            options = ("-netdev", netdev, "-device", device, "-smp", str(cpus))
            more = ("-initrd", initrd) if initrd else ()
            return QemuGuest(image, append, (*options, *more), tap, program=self.program)
        nic = f"{self.nic},backend=tap:{tap}" + (f",queues={pairs}" if pairs > 1 else "")
        spec = {
            "image": image, "append": append, "initrd": initrd, "nics": [nic], "timeout": 300,
            "cpus": cpus, "tap": tap,
        }  # fmt: skip
        return PykvmGuest(spec, CHILD)


CLASSIC = Contestant("classic", "e1000 classic", "e1000", "e1000,engine=vcpu,tso=card")
E1000 = Contestant("e1000", "e1000", "e1000", "e1000")
VIRTIO = Contestant("virtio", "virtio-net", "virtio-net", "virtio-net,ring=4096")
QEMU_E1000 = Contestant("qemu-e1000", "QEMU e1000", "e1000", device="e1000", empties=True)
QEMU_VIRTIO = Contestant("qemu-virtio", "QEMU virtio-net", "virtio-net", device="virtio-net-pci")
OURS = (CLASSIC, E1000, VIRTIO)
THEIRS = (QEMU_E1000, QEMU_VIRTIO)


def theirs(peers: Sequence[qemu.Peer]) -> list[Contestant]:
    """Both cards of each QEMU."""
    return [
        replace(
            who, name=who.name.replace("qemu", peer.key), program=peer.program,
            title=who.title.replace("QEMU", "QEMU" if peer is peers[0] else peer.title),
        )
        for peer in peers
        for who in THEIRS
    ]  # fmt: skip


@dataclass
class Results:
    """``runs`` of each stream, by contestant, a run a round; ``notes`` say what is missing."""

    runs: dict[Stream, dict[str, list[Run]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    qemu_version: str | None = None
    contestants: list[Contestant] = field(default_factory=lambda: [*OURS, *THEIRS])

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def measure(
    streams: Sequence[Stream], rounds: int, *, peers: Sequence[qemu.Peer], sample: bool = False,
    kernel: str | None = None, say: Callable[[str], None] = lambda line: None,
) -> Results:  # fmt: skip
    """Run everything ``rounds`` times, interleaved, in a network of our own; ``kernel`` is a Linux
    for the stream of that name. Raises HostError, and PykvmError when counts do not agree."""
    results = Results()
    network.enter(max(stream.queues for stream in streams))
    network.set_address(net_host.ADDRESS)
    khz = tsc_khz()
    results.qemu_version = qemu.versions(peers)
    results.contestants = contestants = [*OURS, *theirs(peers)]
    for stream in streams:
        if stream.kind == "linux" and (why := net_linux.missing(kernel)):
            results.note(why)
            continue
        image = str(kernel) if stream.kind == "linux" else find(IMAGE)
        rows: dict[str, list[Run]] = defaultdict(list)
        lengths: dict[str, int] = {}
        able = list(contestants)
        for number in range(rounds):
            for who in list(able):
                say(f"{stream.name}: round {number + 1} of {rounds}, {who.title}")
                try:
                    if stream.kind in _FIRST_DATA and who.name not in lengths:
                        lengths[who.name] = _length(who, image, stream, khz)
                    rows[who.name].append(
                        once(who, image, stream, khz, lengths.get(who.name, 0), sample=sample)
                    )
                except UnsupportedError as error:
                    able.remove(who)
                    results.note(f"{stream.name}, {who.title}: {error}")
        if rows:
            results.runs[stream] = dict(rows)
    return results


def once(
    who: Contestant, image: str, stream: Stream, khz: int, data: int = 0, *, sample: bool = False
) -> Run:
    """One run, checked. Raises PykvmError."""
    try:
        with ExitStack() as stack:
            pairs, cpus = stream.pairs(who.card), stream.cpus(who.card)
            host = stack.enter_context(stream.host(pairs))
            if isinstance(host, Server) and stream.kind == "linux":
                initrd = stack.enter_context(net_linux.initrd())
                guest = stack.enter_context(who.start(image, net_linux.append(data), initrd))
                done = net_linux.run(guest, stream, host, khz, data, sample=sample)
            else:
                append = stream.append(who.card, data)
                guest = stack.enter_context(who.start(image, append, pairs=pairs, cpus=cpus))
                done = run(guest, stream, host, khz, data=data, empties=who.empties, sample=sample)
        check(done)
    except UnsupportedError:
        raise
    except CountsDifferError as error:
        raise CountsDifferError(f"{stream.name}, {who.title}: {error}") from error
    except PykvmError as error:
        raise type(error)(f"{stream.name}, {who.title}: {error}") from error
    return done


def _length(who: Contestant, image: str, stream: Stream, khz: int) -> int:
    """Bytes of TCP that take about as long as the stream shall."""
    data = _FIRST_DATA[stream.kind]
    while True:
        seconds = once(who, image, replace(stream, seconds=1), khz, data).seconds
        if seconds > _LONG_ENOUGH:
            return max(int(data / seconds * stream.seconds) & ~7, 1 << 20)
        data *= 8
