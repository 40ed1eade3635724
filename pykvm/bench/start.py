"""``pykvm bench start``: from the command to the guest's first instruction, and what it holds.

The guest's first instruction writes the debug-exit port, so the whole life of the process is an
upper bound of the start: it includes the interpreter's own start and the machine's taking down.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pykvm.bench.figures import Figure, table

_FIRST_AND_LAST = bytes.fromhex("31c0 e6f4")  # xor eax, eax; out 0xf4, al


@dataclass
class Results:
    """Milliseconds and MiB, one of each per round."""

    start_ms: list[float] = field(default_factory=list)
    python_ms: list[float] = field(default_factory=list)
    resident_mib: list[float] = field(default_factory=list)


def measure(rounds: int) -> Results:
    """Start pykvm ``rounds`` times, in turn with a bare interpreter."""
    results = Results()
    with tempfile.TemporaryDirectory() as directory:
        image = Path(directory) / "first.bin"
        image.write_bytes(_FIRST_AND_LAST)
        ours = [sys.executable, "-m", "pykvm", "run", str(image)]
        _spawn(ours, 1)  # fill the caches: nobody's first start of the day is compared
        for _ in range(rounds):
            milliseconds, kib = _spawn(ours, 1)
            results.start_ms.append(milliseconds)
            results.resident_mib.append(kib / 1024)
            results.python_ms.append(_spawn([sys.executable, "-c", ""], 0)[0])
    return results


def _spawn(command: list[str], expected: int) -> tuple[float, int]:
    """Milliseconds from start to end, and the peak resident size in KiB."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    ended = time.perf_counter()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != expected:
        raise RuntimeError(f"{command} ended with {process.returncode}, not {expected}")
    return (ended - started) * 1000, usage.ru_maxrss


def as_dict(results: Results) -> dict[str, Any]:
    """The ``--json`` form, version 1."""
    return {
        "version": 1,
        "bench": "start",
        "start_to_end_ms": Figure.of(results.start_ms).as_dict(),
        "bare_python_ms": Figure.of(results.python_ms).as_dict(),
        "peak_resident_mib": Figure.of(results.resident_mib).as_dict(),
    }


def text(results: Results) -> str:
    """The table for people."""
    rows = [
        ["pykvm run, start to end (ms)", Figure.of(results.start_ms).text(1)],
        ["python -c '', start to end (ms)", Figure.of(results.python_ms).text(1)],
        ["pykvm run, peak resident (MiB)", Figure.of(results.resident_mib).text(1)],
    ]
    return table(["figure", "median (lowest-highest)"], rows)
