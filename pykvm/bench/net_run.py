"""One run of a stream: a guest, the host's side of it, and what was counted, checked."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pykvm.bench import net_host, network
from pykvm.bench.counts import Snapshot, growth
from pykvm.bench.net_guests import Guest, cpu_seconds
from pykvm.bench.net_host import Host, Seen
from pykvm.errors import PykvmError
from pykvm.trace.kernel import causes

_PATIENCE = 60.0
SAMPLE = 0.1


class UnsupportedError(PykvmError):
    """The guest's driver, or its card, cannot do what was asked."""


@dataclass(frozen=True)
class Stream:
    """``kind`` is raw, tcp or linux; ``direction`` tx (from the guest) or rx; ``unit`` mtu or big;
    ``batch`` None is a doorbell for each; the guest's ``driver`` linux sleeps and is interrupted,
    poll looks. ``queues`` are the pairs of a virtio-net's that it uses, with a vCPU for each if
    ``smp``."""

    kind: str
    direction: str
    unit: str
    seconds: float = 3.0
    batch: int | None = None
    driver: str = "linux"
    queues: int = 1
    smp: bool = False

    @property
    def name(self) -> str:
        several = f", {self.queues} pairs" if self.queues > 1 else ""
        several += f", {self.queues} vCPUs" if self.smp else ""
        return f"{self.kind} {self.direction} {self.unit}{several}"

    def pairs(self, card: str) -> int:
        """How many pairs of queues a guest with this card uses: an e1000 has one."""
        return self.queues if card == "virtio-net" else 1

    def cpus(self, card: str) -> int:
        """How many vCPUs it has."""
        return self.pairs(card) if self.smp else 1

    def append(self, card: str, data: int) -> str:
        """The guest's command line (guest/bench/netstream.c); ``data`` is how many bytes of TCP."""
        words = [f"card={card}", f"stream={self.kind}", f"dir={self.direction}"]
        words += [f"unit={self.unit}", f"driver={self.driver}"]
        words += [f"batch={self.batch}"] if self.batch else []
        words += [f"queues={pairs}"] if (pairs := self.pairs(card)) > 1 else []
        words += [f"vcpus={cpus}"] if (cpus := self.cpus(card)) > 1 else []
        if self.kind == "tcp":
            words += [f"ip={net_host.GUEST}", f"peer={net_host.ADDRESS}"]
            words += [f"port={net_host.PORT}", f"bytes={data}"]
        elif self.direction == "tx":
            words += [f"seconds={round(self.seconds)}"]
        return " ".join(words)

    def host(self, pairs: int = 1) -> Host:
        """The host's side of it, for a card with so many pairs of queues."""
        if self.kind != "raw":
            return net_host.Server()
        if self.direction == "tx":
            return net_host.Sink(network.tap(pairs))
        return net_host.Source(self.unit, self.seconds, pairs)


@dataclass(frozen=True)
class Run:
    """``report`` is the guest's STREAM line; ``begin`` and ``end`` are what was counted before it
    started and when it reported, ``samples`` what was in between."""

    stream: Stream
    report: dict[str, int]
    seconds: float  # by the guest's TSC
    begin: Snapshot
    end: Snapshot
    cpu_seconds: float
    seen: Seen
    samples: list[Snapshot] = field(default_factory=list)
    data: int = 0  # bytes that the guest was told to send by TCP
    empties: bool = False  # each request that the card cuts ends with a frame without data, too

    @property
    def requests(self) -> int:
        """What the driver handed to the card, or got from it: TCP segments of up to 64 KiB, or
        frames."""
        return self.report["frames"]

    @property
    def frames(self) -> int:
        """Ethernet frames that these are or become, of at most 1,514 bytes."""
        return self.report["segments"]

    @property
    def bytes(self) -> int:
        """TCP's data; of raw frames every byte."""
        return self.data or self.report["bytes"]

    @property
    def window(self) -> float:
        """Seconds between the two snapshots, by the host's clock."""
        return (self.end.ns - self.begin.ns) / 1e9

    @property
    def kernel(self) -> dict[str, int]:
        """KVM's counters of the run; empty where nobody tells them."""
        return growth(self.begin.kernel, self.end.kernel)

    @property
    def causes(self) -> dict[str, int]:
        """Exits by cause, as KVM counts them."""
        return causes(self.kernel)

    @property
    def reasons(self) -> dict[str, int]:
        """Exits to user space by reason, as pykvm counts them."""
        return growth(self.begin.reasons, self.end.reasons)


def parse(line: str) -> dict[str, int]:
    """The numbers of ``STREAM key=value ...``. Raises PykvmError for a line without them."""
    words = (word.partition("=") for word in line.split()[1:])
    report = {key: int(value) for key, _, value in words if value.isdecimal()}
    missing = [key for key in ("frames", "segments", "bytes", "cycles") if not report.get(key)]
    if missing:
        raise PykvmError(f"the guest reported no {', '.join(missing)}: {line}")
    return report


def run(
    guest: Guest, stream: Stream, host: Host, khz: int, *, data: int = 0, empties: bool = False,
    sample: bool = False, go: Callable[[], None] = lambda: None,
) -> Run:  # fmt: skip
    """Run ``stream``; the guest has been started and is not READY yet. ``go`` is called when it is.
    Raises PykvmError."""
    _line(guest, "READY", [])
    go()
    cpu = cpu_seconds(guest)
    begin = guest.type()
    host.begin()
    samples: list[Snapshot] = []
    line, end = _line(guest, "STREAM", samples if sample else None, stream.seconds)
    cpu = cpu_seconds(guest) - cpu
    host.end()
    guest.type()
    guest.finish()
    report = parse(line)
    seconds = report["cycles"] / khz / 1000
    return Run(
        stream, report, seconds, begin, end, cpu, host.seen, samples, data, empties
    )  # fmt: skip


def _line(
    guest: Guest, wanted: str, samples: list[Snapshot] | None, seconds: float = 0
) -> tuple[str, Snapshot]:
    """The guest's next line that begins with ``wanted``; meanwhile what is counted is sampled."""
    said = ""
    deadline = time.monotonic() + seconds + _PATIENCE
    while time.monotonic() < deadline:
        got = guest.line(SAMPLE if samples is not None else 1.0)
        if got is None:
            if samples is not None and wanted == "STREAM":
                samples.append(guest.look())
            continue
        said = got[0]
        if said.startswith(wanted):
            return got
        if said.startswith("UNSUPPORTED"):
            raise UnsupportedError(said)
        if said.startswith("FAIL"):
            break
    raise PykvmError(f"the guest said no {wanted}, but {said!r}")
