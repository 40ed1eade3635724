"""``--cpu`` on a real vCPU, where KVM shows what it is given; elsewhere the user is told."""

import subprocess
import sys
from pathlib import Path

import pytest

from pykvm.kvm.system import Kvm
from pykvm.machine import probe

pytestmark = pytest.mark.kvm

# cpuid(1); the exit status has SSE3's bit of ECX
LOOK = bytes.fromhex("b801000000 0fa2 89c8 2401 e6f4")
PYKVM = str(Path(sys.executable).parent / "pykvm")


def run(tmp_path, *args):
    image = tmp_path / "look.bin"
    image.write_bytes(LOOK)
    return subprocess.run(
        [PYKVM, "run", str(image), *args], capture_output=True, text=True, check=False, timeout=60
    )


def test_a_hidden_feature_is_gone_or_the_user_is_told(tmp_path):
    with Kvm() as kvm:
        honoured = probe.shows_features(kvm)
    done = run(tmp_path, "--cpu", "host,-pni")
    assert done.returncode == (1 if honoured else 3)
    assert honoured == (done.stderr == "")
    assert honoured or "--cpu: this host's KVM shows guests its own features" in done.stderr


def test_the_host_s_own_features_are_shown_without_a_word(tmp_path):
    done = run(tmp_path)
    assert (done.returncode, done.stderr) == (3, "")


def test_an_unknown_feature_is_a_usage_error(tmp_path):
    done = run(tmp_path, "--cpu", "base,+popcont")
    assert done.returncode == 2
    assert "did you mean popcnt?" in done.stderr


def test_a_probe_tells_the_same_each_time_and_leaves_nothing_behind():
    with Kvm() as kvm:
        assert probe.takes_hypercalls(kvm) == probe.takes_hypercalls(kvm)
