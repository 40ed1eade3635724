"""When a guest said its first byte: a command is started, and its output watched for it.

Firmware may write to the same serial port before the guest does. So the guest's first byte is the
first of the line that has its banner, whatever came before.
"""

from __future__ import annotations

import os
import select
import subprocess
import tempfile
import time

MOST = 1 << 20
"""Bytes of output after which a guest that has not said its banner will not say it."""


class FirstByte:
    """Finds when the first byte of the line with ``banner`` came, in a stream of chunks."""

    def __init__(self, banner: bytes) -> None:
        self._banner = banner
        self._seen = b""
        self._chunks: list[tuple[int, float]] = []  # where each ends, when it came

    def feed(self, data: bytes, when: float) -> float | None:
        """The next chunk; the time of the guest's first byte once the banner is there."""
        self._seen += data
        self._chunks.append((len(self._seen), when))
        at = self._seen.find(self._banner)
        if at < 0:
            return None
        first = self._seen.rfind(b"\n", 0, at) + 1
        return next(when for end, when in self._chunks if end > first)

    @property
    def too_much(self) -> bool:
        """Whether to give up."""
        return len(self._seen) > MOST


def milliseconds(command: list[str], banner: bytes, within: float) -> float | str:
    """From the start of ``command`` to its guest's first byte, or why there is none.

    Waits ``within`` seconds at most. The process is gone afterwards.
    """
    with tempfile.TemporaryFile() as errors:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
        )
        assert process.stdout is not None
        try:
            when = _watch(process.stdout.fileno(), FirstByte(banner), started + within)
            if isinstance(when, float):
                return (when - started) * 1000
            if when is None:
                return f"no byte of the guest within {within:g} s"
            if when:
                return f"no byte of the guest among the first {MOST >> 10} KiB"
            process.wait()
            errors.seek(0)
            said = errors.read(4096).decode(errors="replace").strip().splitlines()
            return f"ended with {process.returncode}" + (f": {said[-1]}" if said else "")
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


def _watch(fd: int, first: FirstByte, deadline: float) -> float | bool | None:
    """When the first byte came; None at the deadline, False at the output's end, True if there is
    no end to it."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while (left := deadline - time.perf_counter()) > 0:
        if not poll.poll(left * 1000):
            continue
        data = os.read(fd, 1 << 16)
        now = time.perf_counter()
        if not data:
            return False
        if first.too_much:
            return True
        found = first.feed(data, now)
        if found is not None:
            return found
    return None
