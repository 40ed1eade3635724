"""Puts the real output of commands into README.md: ``make readme``.

A block between ``<!-- run: COMMAND -->`` and ``<!-- end -->`` is replaced by a code block with the
command and what it printed. COMMAND is a shell command that runs in the repository's top directory;
``COMMAND | head -8`` shortens a sample. Terminal programs see a width of 100 columns.

Times differ from run to run. Their digits become ``#``, in the same columns, so that a second run
changes nothing and no sample passes for a measurement.

``--check`` runs and writes nothing: it fails for a marker that is not closed, for a command that
does not exist and for an empty block. What the block says is not compared.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "README.md"
WIDTH = 100  # columns
LIMIT = 120  # seconds for one command

BLOCK = re.compile(r"<!-- run: (?P<command>.+?) -->\n(?P<body>.*?)<!-- end -->", re.DOTALL)
MARKER = re.compile(r"<!-- (run:.*?|end) -->")
NOT_FOUND = (126, 127)  # a shell's statuses

# An event's time stamp, a total, a column of microseconds (right-aligned, so it grows to the left).
TIMES = [
    (re.compile(r"^ *\d+\.\d{6}(?=  )"), "#.######"),
    (re.compile(r"\b\d+\.\d{3}(?= s )"), "#.###"),
    (re.compile(r"(?<=  ) *\d+\.\d(?=  |$)"), "#.#"),
]


class Sample(NamedTuple):
    """One block of the page."""

    command: str
    body: str


def samples(text: str) -> list[Sample]:
    """The page's blocks in order."""
    return [Sample(m["command"], m["body"]) for m in BLOCK.finditer(text)]


def masked(line: str) -> str:
    """``line`` with the digits of its times replaced, and as wide as before."""
    for pattern, mask in TIMES:
        line = pattern.sub(lambda found, mask=mask: mask.rjust(len(found[0])), line)
    return line


def block(command: str, output: str) -> str:
    """The text from marker to marker."""
    lines = "\n".join(masked(line.rstrip()) for line in output.splitlines())
    return f"<!-- run: {command} -->\n```console\n$ {command}\n{lines}\n```\n<!-- end -->"


def printed(command: str) -> str:
    """What the command says on both streams. Raises ValueError for a command that fails to run."""
    done = subprocess.run(
        command,
        shell=True,
        cwd=ROOT,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=LIMIT,
        check=False,
        env={**os.environ, "COLUMNS": str(WIDTH), "NO_COLOR": "1", "TERM": "dumb"},
    )
    # Any other status may be the guest's.
    if done.returncode in NOT_FOUND or "Traceback (most recent call last)" in done.stdout:
        raise ValueError(f"{command}: failed:\n{done.stdout}")
    if not done.stdout.strip():
        raise ValueError(f"{command}: printed nothing")
    return done.stdout


def problems(text: str) -> list[str]:
    """What ``--check`` objects to, a line each."""
    found = []
    kinds = ["end" if m[1] == "end" else "run" for m in MARKER.finditer(text)]
    if kinds != ["run", "end"] * (len(kinds) // 2):
        found.append("each `run:` marker needs an `end` marker before the next one")
    for command, body in samples(text):
        for part in command.split("|"):
            program = part.split()[0] if part.split() else ""
            if not _exists(program):
                found.append(f"{command}: no such command: {program!r}")
        shown = body.strip().removeprefix("```console").removesuffix("```").strip()
        if not shown.removeprefix(f"$ {command}").strip():
            found.append(f"{command}: the block is empty; run: make readme")
    return found


def _exists(program: str) -> bool:
    if "/" not in program:
        return shutil.which(program) is not None
    if program.startswith(".venv/bin/"):  # or whichever environment this runs in
        beside = Path(sys.executable).parent / Path(program).name
        return beside.is_file() or (ROOT / program).is_file()
    return (ROOT / program).is_file()


def main() -> int:
    parser = argparse.ArgumentParser(description="Fill README.md with what its commands print.")
    parser.add_argument("--check", action="store_true", help="run nothing, write nothing")
    text = PAGE.read_text()
    if not parser.parse_args().check:
        try:
            text = BLOCK.sub(lambda m: block(m["command"], printed(m["command"])), text)
        except (ValueError, subprocess.TimeoutExpired) as error:
            print(f"readme: {error}", file=sys.stderr)
            return 1
        PAGE.write_text(text)
    found = problems(text)
    for line in found:
        print(f"README.md: {line}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
