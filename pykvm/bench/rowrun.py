"""One life of a guest for several rows: a command that is told when to begin each of them.

The guest says ``READY kind``, waits for a byte, and reports; then comes the next
(guest/lib/rows.h).
A command of its own, pykvm's like QEMU's: whatever happens to it, the bench goes on.
"""

from __future__ import annotations

import os
import select
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from pykvm.bench.qemu import failure
from pykvm.errors import PykvmError

PATIENCE = 60.0  # seconds without a line from the guest
PASSED = 1


class Row(NamedTuple):
    """What to measure, and how many frames of it."""

    kind: str
    frames: int


class RowError(PykvmError):
    """``kind`` was under way when it happened; "" if none was."""

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(why)
        self.kind = kind


def append(rows: Sequence[Row], more: str = "") -> str:
    """The guest's command line for them."""
    return f"rows={','.join(f'{row.kind}:{row.frames}' for row in rows)} {more}".strip()


def run(
    command: list[str], ready: Callable[[str], None], report: Callable[[str, str], None],
    *, patience: float = PATIENCE,
) -> None:  # fmt: skip
    """Run it to its end: ``ready(kind)`` before each row, ``report(kind, line)`` for each line of
    the guest's about it. Raises RowError; no process is left behind."""
    kind = ""
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                process_group=0,  # Ctrl-C is ours to answer
            )  # fmt: skip
        except OSError as error:
            raise RowError(kind, f"{command[0]}: {error.strerror}") from error
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            for line in _lines(process.stdout.fileno(), patience):
                if line.startswith("READY "):
                    kind = line.split()[1]
                    ready(kind)
                    process.stdin.write(b"!")
                    process.stdin.flush()
                else:
                    report(kind, line)
            status = process.wait(patience)
        except (TimeoutError, subprocess.TimeoutExpired) as error:
            raise RowError(kind, f"nothing more for {patience:g} seconds") from error
        except (PykvmError, OSError, ValueError, ArithmeticError) as error:
            raise RowError(kind, str(error)) from error  # half a line, a TAP that nobody reads
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
            with suppress(BrokenPipeError):
                process.stdin.close()
        errors.seek(0)
        said = errors.read(1 << 16).decode(errors="replace")
        # 1 is a QEMU's that does not start, too.
        if status != PASSED or (not kind and failure(said)):
            raise RowError(kind, failure(said) or f"ended with {status}")


def _lines(fd: int, patience: float) -> Iterator[str]:
    """What is written to ``fd``, to its end. Raises TimeoutError when nothing is for so long."""
    rest = b""
    while True:
        if not select.select([fd], [], [], patience)[0]:
            raise TimeoutError
        data = os.read(fd, 1 << 16)
        if not data:
            return
        *whole, rest = (rest + data).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace").strip()
