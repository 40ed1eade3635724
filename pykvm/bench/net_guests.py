"""The guests of ``pykvm bench net``: pykvm and QEMU, each a process, watched in the same way."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Protocol

from pykvm.bench.counts import Snapshot, now
from pykvm.bench.network import NAME, traffic
from pykvm.bench.qemu import PROGRAM, Qemu
from pykvm.bench.qmp import Monitor
from pykvm.errors import PykvmError

PATIENCE = 120.0
CHILD = (sys.executable, "-m", "pykvm.bench.guest_process")
PASSED = 1  # what the guest ends with, by the debug-exit port


class Guest(Protocol):
    """A guest under measurement; a context manager that leaves no process behind. Methods raise
    PykvmError when the guest or whoever runs it has failed."""

    pid: int

    def __enter__(self) -> Guest: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...  # fmt: skip

    def line(self, patience: float = PATIENCE) -> tuple[str, Snapshot] | None:
        """The guest's next line, and what was counted at its first byte; None when there is none
        for ``patience`` seconds."""

    def type(self) -> Snapshot:
        """A byte for the guest's serial port; what was counted before it."""

    def look(self) -> Snapshot:
        """What is counted now."""

    def finish(self) -> None:
        """Wait for its end, which must be a good one."""


def cpu_seconds(guest: Guest) -> float:
    """User and system time of the whole process so far, in and out of the guest."""
    # Another process's clock is named by its ID (Linux: posix-timers_types.h, CPUCLOCK_SCHED).
    return time.clock_gettime(~guest.pid << 3 | 2)


class _Pipe:
    """A process's output, read as it comes; ``wait`` is for its exit status."""

    def __init__(self, fd: int, wait: Callable[[], int]) -> None:
        self._fd = fd
        self._wait = wait
        self.waiting = b""

    def more(self, deadline: float) -> bool:
        """Read what is there; False when nothing came in time. Raises PykvmError at the end."""
        if not select.select([self._fd], [], [], max(deadline - time.monotonic(), 0))[0]:
            return False
        data = os.read(self._fd, 1 << 16)
        if not data:
            raise PykvmError(f"the guest ended before its time, with status {self._wait()}")
        self.waiting += data
        return True

    def line(self) -> str | None:
        """A whole line, if there is one."""
        if b"\n" not in self.waiting:
            return None
        line, self.waiting = self.waiting.split(b"\n", 1)
        return line.decode(errors="replace").strip()


class PykvmGuest:
    """pykvm: ``guest_process.py``, or another ``command`` that speaks like it."""

    def __init__(self, spec: dict[str, Any], command: tuple[str, ...] = CHILD) -> None:
        self._process = subprocess.Popen(
            [*command, json.dumps(spec)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            process_group=0,  # Ctrl-C is ours to answer
        )  # fmt: skip
        assert self._process.stdout is not None
        self.pid = self._process.pid
        self._pipe = _Pipe(self._process.stdout.fileno(), self._process.wait)
        self._lines: list[dict[str, Any]] = []

    def __enter__(self) -> PykvmGuest:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()

    def _message(self, deadline: float) -> dict[str, Any] | None:
        while (line := self._pipe.line()) is None:
            if not self._pipe.more(deadline):
                return None
        message: dict[str, Any] = json.loads(line)
        if "error" in message:
            raise PykvmError(message["error"])
        return message

    def line(self, patience: float = PATIENCE) -> tuple[str, Snapshot] | None:
        message = self._lines.pop(0) if self._lines else self._message(time.monotonic() + patience)
        if message is None:
            return None
        if "line" not in message:
            raise PykvmError(f"the guest ended: {message.get('end')}")
        return message["line"], Snapshot.of_dict(message["at"])

    def type(self) -> Snapshot:
        return self._ask("type", "typed")

    def look(self) -> Snapshot:
        return self._ask("look", "look")

    def _ask(self, command: str, answer: str) -> Snapshot:
        assert self._process.stdin is not None
        self._process.stdin.write(command.encode() + b"\n")
        self._process.stdin.flush()
        while True:
            message = self._message(time.monotonic() + PATIENCE)
            if message is None:
                raise PykvmError("the guest's process does not answer")
            if answer in message:
                return Snapshot.of_dict(message[answer])
            self._lines.append(message)

    def finish(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            message = self._lines.pop(0) if self._lines else self._message(deadline)
            if message is None:
                raise PykvmError("the guest does not end")
            if "end" in message:
                break
        if message["status"] != PASSED:
            raise PykvmError(f"the guest ended with {message['status']}: {message['end']}")


class QemuGuest:
    """QEMU, asked for KVM's counters by its monitor."""

    def __init__(
        self, image: str, append: str, options: tuple[str, ...], tap: str = NAME, *,
        program: str = PROGRAM,
    ) -> None:  # fmt: skip
        self._tap = tap
        with ExitStack() as stack:
            self._monitor = stack.enter_context(Monitor())
            self._qemu = stack.enter_context(
                Qemu(
                    image, append, (*options, *self._monitor.options),
                    pass_fds=(self._monitor.theirs,), program=program,
                )
            )  # fmt: skip
            self._monitor.connect()
            self._stack = stack.pop_all()
        self.pid = self._qemu.pid
        self._pipe = _Pipe(self._qemu.output, self._qemu.finish)
        self._at: Snapshot | None = None

    def __enter__(self) -> QemuGuest:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def line(self, patience: float = PATIENCE) -> tuple[str, Snapshot] | None:
        deadline = time.monotonic() + patience
        while True:
            if self._pipe.waiting and self._at is None:
                self._at = self.look()
            if (line := self._pipe.line()) is not None:
                break
            if not self._pipe.more(deadline):
                return None
        at, self._at = self._at, None
        assert at is not None
        return line, at

    def type(self) -> Snapshot:
        look = self.look()
        self._qemu.type(b"!")
        return look

    def look(self) -> Snapshot:
        wire = traffic(self._tap)
        return Snapshot(now(), wire, self._monitor.counters())

    def finish(self) -> None:
        status = self._qemu.finish()
        if status != PASSED:
            raise PykvmError(f"the guest under QEMU ended with {status}")
