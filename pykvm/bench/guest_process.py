"""A guest in a process of its own, for measurements: its CPU time is the process's, as QEMU's is.

    python -m pykvm.bench.guest_process '{"image": "...", "append": "...", "nics": ["e1000,..."]}'

It speaks JSON, a line each. From stdin it takes ``"type"`` (a byte for the guest's serial port) and
``"look"``; both are answered by the counters as they are then, for ``"type"`` just before the byte.
The guest's lines come with the counters as they were at their first byte, and ``"end"`` says how it
ended. When stdin ends, so does the guest.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from pykvm.bench.counts import Snapshot, now, sum_up
from pykvm.bench.network import NAME, traffic
from pykvm.errors import PykvmError
from pykvm.interfaces import CharReceiver
from pykvm.kvm.abi import exit_names, lib
from pykvm.kvm.stats import Counters
from pykvm.machine.config import Config, NicConfig
from pykvm.machine.machine import Machine
from pykvm.machine.outcome import Outcome

Build = Callable[..., Machine]


class Counting:
    """Reads all that is counted of one machine, and of the TAP that its card is on."""

    def __init__(self, machine: Machine, tap: str) -> None:
        self._tap = tap
        self._vcpus = [thread.vcpu.native for thread in machine.threads]
        self._kernel = [Counters(thread.vcpu.fd) for thread in machine.threads]

    def look(self) -> Snapshot:
        """From any thread."""
        before = self._returns()
        kernel = sum_up([counters.read() for counters in self._kernel])
        reasons = sum_up([self._reasons(vcpu) for vcpu in self._vcpus])
        after = self._returns() + len(self._vcpus)
        return Snapshot(now(), traffic(self._tap), kernel, (before, after), reasons)

    @staticmethod
    def _reasons(vcpu: Any) -> dict[str, int]:
        counts = ((number, int(vcpu.reasons[number])) for number in range(lib.PK_REASONS))
        return {exit_names().get(number, str(number)): count for number, count in counts if count}

    def _returns(self) -> int:
        return sum(int(vcpu.runs) for vcpu in self._vcpus)


class Serial:
    """A CharBackend that tells of each line, with what ``look`` returned at its first byte."""

    def __init__(self, tell: Callable[[str, Any], None]) -> None:
        self.look: Callable[[], Any] = dict
        self._tell = tell
        self._line = bytearray()
        self._at: Any = None
        self._receiver: CharReceiver | None = None

    def connect(self, receiver: CharReceiver) -> None:
        self._receiver = receiver

    def write(self, data: bytes) -> None:
        for byte in data:
            if not self._line:
                self._at = self.look()
            self._line.append(byte)
            if byte == 0x0A:
                self._tell(self._line.decode(errors="replace").strip(), self._at)
                self._line.clear()

    def type(self, data: bytes) -> None:
        """Input for the guest; with the machine's lock held."""
        if self._receiver is not None:
            self._receiver.receive(data)

    def resume(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing is open."""


_mouth = threading.Lock()


def say(message: dict[str, Any]) -> None:
    """One line for the parent; from any thread. Without a parent there is nothing left to do."""
    with _mouth:
        try:
            sys.stdout.write(json.dumps(message) + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            os._exit(1)


def serve(spec: dict[str, Any], build: Build = Machine) -> int:
    """Run the guest that ``spec`` describes; ``build`` makes the machine."""
    serial = Serial(lambda line, at: say({"line": line, "at": at}))
    nics = tuple(NicConfig.parse(text) for text in spec["nics"])
    config = Config(
        image=spec["image"], append=spec["append"], nics=nics, timeout=spec["timeout"],
        initrd=spec.get("initrd"), cpus=spec.get("cpus", 1), memory=spec.get("memory", 128 << 20),
    )  # fmt: skip
    with build(config, serial=serial) as machine:
        counting = Counting(machine, spec.get("tap", NAME))
        serial.look = lambda: counting.look().as_dict()
        threading.Thread(target=_listen, args=(machine, serial, counting), daemon=True).start()
        outcome = machine.run()
    say({"end": outcome.reason, "status": outcome.status})
    return 0


def _listen(machine: Machine, serial: Serial, counting: Counting) -> None:
    def type_byte() -> None:
        look = counting.look()
        serial.type(b"!")
        say({"typed": look.as_dict()})

    for line in sys.stdin:
        if line.strip() == "type":
            machine.loop.call_at(machine.loop.now_ns(), type_byte)
        else:
            say({"look": counting.look().as_dict()})
    machine.stop(Outcome("the bench has ended", status=130))


def main() -> int:
    """The command. What the host cannot do is told as one line, for the parent to raise."""
    try:
        return serve(json.loads(sys.argv[1]))
    except PykvmError as error:
        say({"error": str(error)})
        return error.exit_status


if __name__ == "__main__":
    sys.exit(main())
