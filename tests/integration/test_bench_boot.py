"""``pykvm bench boot`` on the guest that it brings along."""

import json
import subprocess
import sys

import pytest

COMMAND = [sys.executable, "-m", "pykvm", "bench", "boot", "--rounds", "1"]


def run(*more):
    return subprocess.run(
        [*COMMAND, *more], check=False, capture_output=True, text=True, timeout=120
    )


@pytest.mark.kvm
def test_the_small_guests_first_byte_is_measured():
    done = run("--no-qemu", "--json")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    (guest,) = made["guests"]
    assert guest["missing"] == {}
    assert guest["first_byte_ms"]["pykvm"]["samples"] == 1
    assert made["qemu"] is made["unpacking"] is None


@pytest.mark.kvm
@pytest.mark.qemu
def test_qemu_starts_the_small_guest_as_a_pc_and_as_a_microvm():
    done = run("--json")
    assert done.returncode == 0, done.stderr
    (guest,) = json.loads(done.stdout)["guests"]
    assert guest["missing"] == {}
    assert set(guest["first_byte_ms"]) == {"pykvm", "microvm", "pc"}
    assert set(guest["ratio_to_pykvm"]) == {"microvm", "pc"}


@pytest.mark.kvm
def test_a_guest_that_is_not_there_in_time_is_a_row_without_a_figure():
    done = run("--no-qemu", "--within", "0.001")
    assert done.returncode == 0, done.stderr
    assert "small guest, pykvm: no byte of the guest within 0.001 s" in done.stdout


def test_a_kernel_that_is_none_is_told_at_once(tmp_path):
    done = run("--kernel", str(tmp_path / "absent"))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "absent" in done.stderr
