#!/usr/bin/env python3
"""Runs the cases of cases/cases.toml under pykvm or QEMU and compares them with the table.

    guest/check.py [--vmm qemu|pykvm] [--pykvm PATH] [NAME...]

The project's own tests read the same table; this script is for work on the kit itself.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

GUEST = Path(__file__).resolve().parent
QEMU = [
    "qemu-system-x86_64",
    "-accel",
    "kvm",
    "-cpu",
    "host,-arch-capabilities",
    "-M",
    "pc",
    "-display",
    "none",
    "-serial",
    "stdio",
    "-no-reboot",
    "-device",
    "isa-debug-exit,iobase=0xf4,iosize=4",
]
TO_QEMU = {
    "--nic": "-device",
    "--append": "-append",
    "--initrd": "-initrd",
    "-m": "-m",
    "--cpus": "-smp",
}


def command(case: dict[str, Any], vmm: str, pykvm: str) -> list[str]:
    args = case.get("args", [])
    if vmm == "pykvm":
        return [pykvm, "run", case["elf"], *args]
    translated = [word for n, a in enumerate(args) for word in to_qemu(a, args[n - 1])]
    memory = [] if "-m" in args else ["-m", "128"]
    return [*QEMU, "-kernel", case["elf"], *memory, *translated]


def to_qemu(word: str, before: str) -> list[str]:
    """A word of `pykvm run`'s arguments as QEMU has it; a card's cable ends in an empty hub."""
    if before == "--nic":
        return [f"{word.split(',', maxsplit=1)[0]},netdev=n0", "-netdev", "hubport,id=n0,hubid=0"]
    return [TO_QEMU.get(word, word)]


def missing_line(expected: list[str], text: str) -> str | None:
    """The first expected line that is not there in its turn."""
    lines = iter(text.splitlines())
    return next((want for want in expected if want not in lines), None)


def run(case: dict[str, Any], vmm: str, pykvm: str) -> str | None:
    """None if the case did what the table says, else what went wrong."""
    try:
        done = subprocess.run(
            command(case, vmm, pykvm),
            cwd=GUEST,
            input=case.get("stdin", "").encode(),
            capture_output=True,
            timeout=60,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        return f"no end after 60 s\n{(error.stdout or b'').decode(errors='replace')}"
    text = done.stdout.decode(errors="replace")
    everything = text + done.stderr.decode(errors="replace")
    if done.returncode != case["status"]:
        return f"status {done.returncode}, expected {case['status']}\n{everything}"
    if (line := missing_line(case.get("stdout", []), text)) is not None:
        return f"missing line: {line}\n{everything}"
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description="run the guest kit's cases")
    parser.add_argument("--vmm", choices=("qemu", "pykvm"), default="pykvm")
    parser.add_argument(
        "--pykvm", default=os.environ.get("PYKVM", str(GUEST.parent / ".venv/bin/pykvm"))
    )
    parser.add_argument("names", nargs="*", help="cases to run (default: all)")
    options = parser.parse_args()

    cases = tomllib.loads((GUEST / "cases/cases.toml").read_text())["case"]
    unknown = set(options.names) - {case["name"] for case in cases}
    if unknown:
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    failed = 0
    for case in cases:
        if options.names and case["name"] not in options.names:
            continue
        if options.vmm == "qemu" and not case.get("qemu", True):
            continue
        start = time.monotonic()
        problem = run(case, options.vmm, options.pykvm)
        print(
            f"{'FAIL' if problem else 'ok  '} {case['name']} ({time.monotonic() - start:.1f} s)",
            flush=True,
        )
        if problem:
            failed += 1
            print("     " + problem.replace("\n", "\n     "))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
