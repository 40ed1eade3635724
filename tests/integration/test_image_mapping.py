"""The image's file is let go of as soon as what it holds is in the guest's memory."""

import os

import pytest

from pykvm.machine.config import Config
from pykvm.machine.machine import Machine

pytestmark = pytest.mark.kvm
CLI_HLT = b"\xfa\xf4"


def descriptors_of(path):
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            continue
    return found.count(str(path))


def test_a_machine_does_not_keep_its_image_mapped(tmp_path):
    image = tmp_path / "image"
    image.write_bytes(CLI_HLT)
    with Machine(Config(image=str(image))) as machine:
        assert descriptors_of(image) == 0
        assert machine.run().status == 0
    with open("/proc/self/maps") as maps:
        assert str(image) not in maps.read()
