"""Every row of guest/cases/cases.toml under pykvm, and under QEMU where it is installed."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

GUEST = Path(__file__).parents[2] / "guest"
CASES = tomllib.loads((GUEST / "cases" / "cases.toml").read_text())["case"]


def by_name(cases):
    return [pytest.param(case, id=case["name"]) for case in cases]


def check(case, status, stdout):
    text = stdout.decode(errors="replace").replace("\r", "")
    lines = iter(text.splitlines())
    for wanted in case.get("stdout", []):
        assert any(line == wanted for line in lines), f"{wanted!r} is missing in:\n{text}"
    assert status == case["status"], text


def built(case):
    path = GUEST / case["elf"]
    assert path.is_file(), f"{path} is not built; run: make guest"
    return str(path)


@pytest.mark.kvm
@pytest.mark.parametrize("case", by_name(CASES))
def test_case_under_pykvm(case):
    done = subprocess.run(
        [sys.executable, "-m", "pykvm", "run", built(case), *case.get("args", [])],
        input=case.get("stdin", "").encode(),
        capture_output=True,
        timeout=60,
        cwd=GUEST,
        check=False,
        env=os.environ | {"PYTHONPATH": str(GUEST.parent)},
    )
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    check(case, done.returncode, done.stdout)


@pytest.mark.kvm
@pytest.mark.qemu
@pytest.mark.parametrize("case", by_name(c for c in CASES if c.get("qemu", True)))
def test_case_under_qemu(case):
    program = shutil.which("qemu-system-x86_64")
    assert program is not None
    append = [a for n, a in enumerate(case.get("args", [])) if case["args"][n - 1] == "--append"]
    done = subprocess.run(
        [
            program, "-accel", "kvm", "-cpu", "host,-arch-capabilities", "-M", "pc", "-m", "128",
            "-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio",
            "-no-reboot", "-device", "isa-debug-exit,iobase=0xf4,iosize=4",
            "-kernel", built(case), "-append", " ".join(append),
        ],
        input=case.get("stdin", "").encode(),
        capture_output=True,
        timeout=60,
        cwd=GUEST,
        check=False,
    )  # fmt: skip
    check(case, done.returncode, done.stdout)
