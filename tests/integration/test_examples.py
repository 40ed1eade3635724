"""The examples work as their first lines say."""

import importlib.util
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
PYKVM = str(Path(sys.executable).parent / "pykvm")


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def command(module):
    """The words of the command in a module's docstring, which is run in its directory."""
    lines = module.__doc__.split("cd examples\n")[1].split("\n\n")[0]
    words = shlex.split(lines.replace("\\\n", " "))
    assert words[0] == "../.venv/bin/pykvm"
    return [PYKVM, *words[1:]]


@pytest.mark.kvm
def test_a_guest_pings_a_network_in_scapy():
    done = subprocess.run(
        command(load("scapy_network")), cwd=EXAMPLES, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "PASS: ping: 5 of 5 echoes" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 1


def test_the_network_in_scapy_is_silent_about_what_it_does_not_know():
    answer = load("scapy_network").answer
    assert answer(b"\xff" * 6 + bytes(6) + b"\x08\x00" + b"\xff" * 46) == []
    assert answer(b"\xff" * 6 + bytes(6) + b"\x08\x06" + bytes(46)) == []
    assert answer(bytes(14)) == []
