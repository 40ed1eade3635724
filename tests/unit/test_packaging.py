"""What an installed pykvm consists of."""

import subprocess
import sys
from pathlib import Path

from pykvm import _native

ROOT = Path(__file__).parents[2]


def test_the_extension_is_for_every_python_from_3_11_on():
    assert _native.__file__.endswith(".abi3.so")


def test_a_build_holds_the_guests_of_the_benches_and_the_types(tmp_path):
    command = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    built = {path.name for path in (tmp_path / "pykvm" / "guests").iterdir()}
    assert built == {"exits.elf", "netstream.elf", "nic.elf", "virtio_nic.elf"}
    assert (tmp_path / "pykvm" / "machine" / "firmware" / "dsdt.aml").exists()
    assert (tmp_path / "pykvm" / "py.typed").exists()
    assert (tmp_path / "pykvm" / "_native.pyi").exists()
