"""Every row of guest/cases/cases.toml under pykvm, and under QEMU where it is installed."""

import importlib.util
import sys
import tomllib
from pathlib import Path

import pytest

GUEST = Path(__file__).parents[2] / "guest"
CASES = tomllib.loads((GUEST / "cases" / "cases.toml").read_text())["case"]
PYKVM = str(Path(sys.executable).parent / "pykvm")

# The kit's own runner knows how to run a case; it is a script, not a package.
_spec = importlib.util.spec_from_file_location("guest_check", GUEST / "check.py")
check = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(check)


def by_name(cases):
    return [pytest.param(case, id=case["name"]) for case in cases]


def run(case, vmm):
    path = GUEST / case["elf"]
    assert path.is_file(), f"{path} is not built; run: make guest"
    problem = check.run(case, vmm, PYKVM)
    assert problem is None, problem


@pytest.mark.kvm
@pytest.mark.parametrize("case", by_name(CASES))
def test_case_under_pykvm(case):
    run(case, "pykvm")


CARDS = [case for case in CASES if "e1000" in case.get("args", [])]


@pytest.mark.kvm
@pytest.mark.parametrize("engine", ["python", "vcpu"])
@pytest.mark.parametrize("case", by_name(CARDS))
def test_case_with_another_engine(case, engine):
    args = [f"{arg},engine={engine}" if arg == "e1000" else arg for arg in case["args"]]
    run({**case, "args": args}, "pykvm")


@pytest.mark.kvm
@pytest.mark.qemu
@pytest.mark.parametrize("case", by_name(c for c in CASES if c.get("qemu", True)))
def test_case_under_qemu(case):
    run(case, "qemu")
