"""``pykvm bench exits``: what one VM exit costs, by who answers it.

The same guest image runs under each answerer in turn, round after round, and times its own accesses
with RDTSC, from ring 0 and from ring 3:

    floor     the bare C loop: KVM_RUN and nothing else
    native    pykvm, the access answered by a device's native range
    python    pykvm, the access answered by a device model in Python
    qemu      QEMU's pc-testdev, where it is installed
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pykvm.bench import qemu
from pykvm.bench.figures import Figure, table, user_seconds
from pykvm.bench.guest import find
from pykvm.devices.testdev import TestRegisters
from pykvm.errors import PykvmError
from pykvm.interfaces import CharReceiver
from pykvm.kvm.abi import ffi, lib
from pykvm.machine.config import Config
from pykvm.machine.machine import Machine

PORT, PAGE, KICK_PORT = 0xE0, 0xFF00_0000, 0x5E8
ANSWERERS = ("floor", "native", "python")
OPERATIONS = ("pio_write", "pio_read", "mmio_write", "mmio_read", "kick")

Key = tuple[str, int, str]  # answerer, ring, operation


@dataclass
class Results:
    """Microseconds per access, and user-space microseconds per exit: as the kernel's ticks have it
    (``user``), and by the clock between one KVM_RUN and the next (``outside``)."""

    wall: dict[Key, list[float]] = field(default_factory=lambda: defaultdict(list))
    user: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    outside: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    qemu_version: str | None = None


class Lines:
    """A character backend that cuts the guest's output into lines for a callable."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._rest = b""

    def connect(self, receiver: CharReceiver) -> None:
        """The guest gets no input."""

    def write(self, data: bytes) -> None:
        self._rest += data
        while b"\n" in self._rest:
            line, self._rest = self._rest.split(b"\n", 1)
            self._on_line(line.decode(errors="replace").rstrip("\r"))

    def resume(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing is open."""


class Meter:
    """Reads the guest's lines, and the CPU time around what they report.

    The guest prints ``BENCH ring operation iterations cycles`` after each pass.
    """

    def __init__(self, answerer: str, khz: int, user: Callable[[], float]) -> None:
        self.answerer = answerer
        self._khz = khz
        self._user = user
        self._first: float | None = None
        self._exits = 0
        self.per_exit: float | None = None
        self.rows: list[tuple[Key, float]] = []

    def line(self, text: str) -> None:
        words = text.split()
        if len(words) != 5 or words[0] != "BENCH":
            return
        ring, operation, iterations, cycles = int(words[1]), words[2], int(words[3]), int(words[4])
        self.rows.append(((self.answerer, ring, operation), cycles / iterations * 1000 / self._khz))
        now = self._user()
        if self._first is None:
            self._first = now
            return
        if operation != "kick":
            self._exits += iterations
        if self._exits:
            self.per_exit = (now - self._first) / self._exits * 1e6

    def add_to(self, results: Results) -> None:
        """Raises PykvmError when the guest reported nothing: a measurement must not be empty."""
        if not self.rows or self.per_exit is None:
            raise PykvmError(f"the bench guest reported nothing under {self.answerer}")
        for key, microseconds in self.rows:
            results.wall[key].append(microseconds)
        results.user[self.answerer].append(self.per_exit)


def measure(rounds: int, iterations: int, *, with_qemu: bool = True) -> Results:
    """Run every answerer ``rounds`` times, interleaved."""
    results = Results()
    image = find("exits.elf")
    append = f"iters={iterations} passes=3 kick=1"
    for _ in range(rounds):
        for answerer in ANSWERERS:
            _run_pykvm(image, append, answerer).add_to(results)
            # Reading the clock costs, so this is a run of its own.
            results.outside[answerer].append(_outside(image, append, answerer))
        if with_qemu and qemu.path():
            results.qemu_version = qemu.version()
            _run_qemu(image, append.replace("kick=1", "kick=0")).add_to(results)
    return results


def tsc_khz() -> int:
    """The TSC's frequency, as KVM tells it; the guest sees the same TSC under every answerer."""
    from pykvm.kvm.system import Kvm
    from pykvm.kvm.vm import Vm
    from pykvm.memory import GuestMemory

    with Kvm() as kvm, GuestMemory(4096) as memory, Vm(kvm, memory) as vm:
        return vm.create_vcpu().tsc_khz()


def _thread_user_seconds() -> float:
    return user_seconds(f"/proc/self/task/{threading.get_native_id()}/stat")


def _run_pykvm(image: str, append: str, answerer: str) -> Meter:
    # The backend is called by the vCPU's own thread, so this reads that thread's time.
    meter = Meter(answerer, tsc_khz(), _thread_user_seconds)
    _run_machine(image, append, answerer, meter.line)
    return meter


def _outside(image: str, append: str, answerer: str) -> float:
    """Microseconds outside KVM_RUN per exit."""
    native = _run_machine(image, append, answerer, lambda line: None, timed=True)
    return float(native.outside_ns / native.exits / 1000)


def _run_machine(
    image: str, append: str, answerer: str, on_line: Callable[[str], None], *, timed: bool = False
) -> Any:
    """Run the guest to its end; the native vCPU with its counters."""
    config = Config(image=image, append=append, timeout=120)
    latch = ffi.new("struct pk_latch *", {"size": 4096})
    native = (ffi.addressof(lib, "pk_latch_answer"), latch) if answerer == "native" else None
    eventfds: list[int] = []

    def plug(machine: Machine) -> None:
        board = machine.board
        board.plug(board.pio, PORT, 4, TestRegisters("test-pio")).native = native
        board.plug(board.mmio, PAGE, 4096, TestRegisters("test-mmio")).native = native
        eventfds.append(_kick(machine))

    with Machine(config, serial=Lines(on_line), add=plug) as machine:
        if answerer == "floor":
            machine.threads[0].enter = _floor
        native_vcpu = machine.threads[0].vcpu.native
        native_vcpu.timed = timed
        outcome = machine.run()
    for fd in eventfds:
        os.close(fd)
    if outcome.status != 1:
        raise PykvmError(f"the bench guest ended with {outcome.status}: {outcome.reason}")
    return native_vcpu


def _floor(native: Any, reply: int) -> int:
    return int(lib.pk_vcpu_floor(native, reply, PORT, PAGE))


def _kick(machine: Machine) -> int:
    """An ioeventfd that nobody waits for: the doorbell alone."""
    fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    machine.vm.ioeventfd(fd, KICK_PORT, 4, pio=True)
    return fd


def _run_qemu(image: str, append: str) -> Meter:
    with qemu.Qemu(image, append, ("-device", "pc-testdev")) as peer:
        meter = Meter("qemu", tsc_khz(), peer.user_seconds)
        for line in peer:
            meter.line(line)
        peer.finish()
    return meter


def as_dict(results: Results) -> dict[str, Any]:
    """The ``--json`` form: microseconds per access, version 1."""
    rows = []
    for (answerer, ring, operation), values in results.wall.items():
        floor = results.wall.get(("floor", ring, operation))
        figure = Figure.of(values)
        rows.append(
            {
                "answerer": answerer,
                "ring": ring,
                "operation": operation,
                "microseconds": figure.as_dict(),
                "ratio_to_floor": _ratio(values, floor).as_dict() if floor else None,
            }
        )
    return {
        "version": 1,
        "bench": "exits",
        "qemu": results.qemu_version,
        "rows": rows,
        "outside_kvm_run_microseconds_per_exit": _figures(results.outside),
        "user_cpu_microseconds_per_exit": _figures(results.user),
    }


def _figures(by_answerer: dict[str, list[float]]) -> dict[str, Any]:
    return {answerer: Figure.of(values).as_dict() for answerer, values in by_answerer.items()}


def _ratio(values: list[float], floor: list[float]) -> Figure:
    """Pass by pass: both sides of each pair were measured within a second or two."""
    return Figure.of(a / b for a, b in zip(values, floor, strict=True))


def text(results: Results) -> str:
    """The table for people."""
    answerers = [a for a in (*ANSWERERS, "qemu") if any(k[0] == a for k in results.wall)]
    header = ["access"]
    for answerer in answerers:
        header += [f"{answerer} (us)"] if answerer == "floor" else [f"{answerer} (us)", "x floor"]
    rows = []
    for ring in (0, 3):
        for operation in OPERATIONS:
            floor = results.wall.get(("floor", ring, operation))
            if not floor:
                continue
            row = [f"ring {ring} {operation}"]
            for answerer in answerers:
                values = results.wall.get((answerer, ring, operation))
                row.append(Figure.of(values).text() if values else "-")
                if answerer != "floor":
                    row.append(f"{_ratio(values, floor).median:.2f}" if values else "-")
            rows.append(row)
    for name, by_answerer in (
        ("outside KVM_RUN per exit", results.outside),
        ("user CPU per exit, by ticks", results.user),
    ):
        row = [name]
        for answerer in answerers:
            values = by_answerer.get(answerer)
            row.append(Figure.of(values).text() if values else "-")
            if answerer != "floor":
                row.append("")
        rows.append(row)
    return (
        table(header, rows)
        + "\n\nmedian (lowest-highest) of all passes, answerers interleaved, ratios pass by pass; "
        f"{qemu.named(results.qemu_version)}.\n"
        "kick: a port write caught by an ioeventfd inside KVM, the same for everyone.\n"
    )
