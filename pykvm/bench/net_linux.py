"""The stream of a Linux guest's own programs: its kernel's TCP, its kernel's drivers.

The guest is a kernel of the user's with ``guest/linux/init`` as its only program, which sends so
many bytes and says how long that took. It waits for nobody: what is counted before is read when its
connection has come. Its cards' requests are not counted apart: a segment is what left the card.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pykvm.bench import net_host
from pykvm.bench.boot import LINUX_OPTIONS
from pykvm.bench.counts import Snapshot, growth
from pykvm.bench.guest import find
from pykvm.bench.initramfs import PROGRAM, archive
from pykvm.bench.net_guests import Guest, cpu_seconds
from pykvm.bench.net_host import Server
from pykvm.bench.net_run import SAMPLE, Run, Stream
from pykvm.errors import PykvmError
from pykvm.kvm.system import Kvm
from pykvm.machine import probe_syscall
from pykvm.trace.kernel import INJECTIONS

INIT = "linux-init"
_MSS = 1460
_BOOT = 180.0  # seconds
_SAID = re.compile(r"INIT (ok|FAIL) stream: (?:(\d+) bytes in (\d+) us)?")


def missing(kernel: str | None) -> str | None:
    """Why there is no such stream here, or None."""
    with Kvm() as kvm:
        if probe_syscall.ring(kvm) != 0:
            return "linux: left out: this KVM alone runs no Linux programs (see: pykvm doctor)"
    if kernel is None:
        return "linux: left out: it takes a kernel: --kernel FILE (make linux-guest builds one)"
    return None


def append(data: int) -> str:
    """The guest's command line, to send ``data`` bytes."""
    address = f"ip={net_host.GUEST}::{net_host.ADDRESS}:255.255.255.0::eth0:off"
    stream = f"pykvm.stream=tcp,{net_host.ADDRESS},{net_host.PORT},{data}"
    # It lingers while its line's counters are read.
    return f"{LINUX_OPTIONS} quiet {address} {stream} pykvm.linger=1000 pykvm.end=debug"


@contextmanager
def initrd() -> Iterator[str]:
    """A file with an initramfs that has the init and nothing else."""
    with tempfile.NamedTemporaryFile(prefix="pykvm-init-") as file:
        file.write(archive({"init": (PROGRAM, Path(find(INIT)).read_bytes())}))
        file.flush()
        yield file.name


def run(
    guest: Guest, stream: Stream, host: Server, khz: int, data: int, *, sample: bool = False
) -> Run:
    """Run ``stream``; the guest is starting. Raises PykvmError."""
    host.begin(patience=_BOOT)
    _next(guest, lambda line: host.started.is_set(), _BOOT)
    begin, cpu = guest.look(), cpu_seconds(guest)
    samples: list[Snapshot] = []
    line, end = _next(
        guest, lambda line: line is not None and "stream:" in line[0], stream.seconds + _BOOT,
        samples if sample else None,
    )  # fmt: skip
    cpu = cpu_seconds(guest) - cpu
    host.end()
    guest.finish()
    seconds = parse(line, data)
    sent = end.wire.sent - begin.wire.sent
    report = {
        "frames": sent, "segments": max(sent, -(-data // _MSS)), "bytes": data,
        "cycles": int(seconds * khz * 1000),
        "interrupts": growth(begin.kernel, end.kernel).get(INJECTIONS, 0),
    }  # fmt: skip
    return Run(stream, report, seconds, begin, end, cpu, host.seen, samples, data)


def _next(
    guest: Guest, there: Any, patience: float, samples: list[Snapshot] | None = None
) -> tuple[str, Snapshot]:
    """The guest's line, if it is one, at which ``there`` is so. Raises PykvmError."""
    deadline, sampled = time.monotonic() + patience, time.monotonic()
    last = "nothing"
    while time.monotonic() < deadline:
        got = guest.line(SAMPLE / 10)
        if got is not None and got[0]:
            last = got[0]
        if there(got):
            return got if got is not None else ("", guest.look())
        if "INIT FAIL" in last or "Kernel panic" in last:
            break
        if samples is not None and time.monotonic() - sampled > SAMPLE:
            sampled = time.monotonic()
            samples.append(guest.look())
    raise PykvmError(f"the Linux guest sent no stream; it said {last!r}")


def parse(line: str, data: int) -> float:
    """The seconds of the init's line. Raises PykvmError unless it has sent everything."""
    found = _SAID.search(line)
    if found is None or found[1] != "ok" or int(found[2] or 0) != data or not int(found[3] or 0):
        raise PykvmError(f"the Linux guest said {line!r}")
    return int(found[3]) / 1e6
