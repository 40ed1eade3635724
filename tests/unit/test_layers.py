"""The import rules of docs/architecture.md, and what start-up must not load."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "pykvm").rglob("*.py"))

FORBIDDEN = {
    "devices": ("machine", "kvm", "backends", "cli", "boot", "bench"),
    "backends": ("machine", "kvm", "devices", "cli", "boot", "bench"),
    "kvm": ("machine", "devices", "backends", "cli", "boot", "trace", "bench"),
    "boot": ("machine", "devices", "backends", "cli", "kvm", "trace", "bench"),
    "net": ("machine", "devices", "backends", "cli", "kvm", "boot", "bench", "trace"),
    "trace": ("machine", "devices", "backends", "cli", "kvm", "boot", "bench"),
    "machine": ("cli", "bench"),
    "bench": (),
    "cli": (),
}
# What every layer may use knows none of them.
FORBIDDEN_AT_THE_TOP = ("machine", "kvm", "devices", "backends", "cli", "boot", "bench")
FOUNDATIONS = (
    "errors", "interfaces", "registers", "memory", "bus", "eventloop", "crash", "crash_registers",
    "hints", "record",
)  # fmt: skip


def imports(path):
    """Every pykvm module that the file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("pykvm."):
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("pykvm."))


def test_the_rules_name_every_package():
    packages = {path.name for path in (ROOT / "pykvm").iterdir() if (path / "__init__.py").exists()}
    assert packages == set(FORBIDDEN)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_obey_the_layers(path):
    parts = path.relative_to(ROOT / "pykvm").with_suffix("").parts
    if len(parts) == 1:
        forbidden = FORBIDDEN_AT_THE_TOP if parts[0] in FOUNDATIONS else ()
    else:
        forbidden = FORBIDDEN[parts[0]]
    wrong = [name for name in imports(path) if name.split(".")[1] in forbidden]
    assert not wrong


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_it_is(path):
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize(
    "more",
    [
        "machine",
        "nics, pykvm.devices.e1000, pykvm.devices.virtio.net, pykvm.backends.net_tap",
        "disks",
        "console",
    ],
)
def test_starting_a_guest_loads_no_heavy_library(more):
    code = (
        "import sys, pykvm.machine.machine; from pykvm.cli import main, quick, run; "
        "assert quick.parse(run.add, ['--memory', '64M', '--cpus=1', 'image']); "
        "import pykvm.backends.char_stdio, pykvm.backends.char_null; "
        f"import pykvm.machine.{more}; "
        "print(sorted({n.split('.')[0] for n in sys.modules}))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"rich", "rich_argparse", "capstone", "lz4", "zstandard", "textual", "json", "asyncio"}
    heavy |= {"dataclasses", "inspect", "pathlib", "tempfile", "subprocess", "logging", "argparse"}
    if more == "machine":  # and a plain run none of these either
        heavy |= {"typing", "re", "selectors", "socket", "ctypes"}
    assert not heavy & set(ast.literal_eval(out.stdout))
