"""Virtio devices in rigs: a probe for what all types share, and a disk."""

import pytest

from pykvm.backends.disk_file import FileDisk
from tests.support.virtio_disk import CONTENT, Disk
from tests.support.virtio_driver import Modern, Rig, threads
from tests.support.virtio_probe import Probe


@pytest.fixture
def rig():
    made = []

    def make(kind=None, **options):
        made.append(Rig(kind or Probe(), **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def driver(rig):
    """A modern driver before it has touched anything."""
    return Modern(rig())


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "disk.img"
    file.write_bytes(CONTENT)
    return file


@pytest.fixture
def disk(path):
    made = []

    def make(backend=None, *, readonly=False, **options):
        made.append(Disk(backend or FileDisk(str(path), readonly=readonly), **options))
        return made[-1]

    yield make
    for one in made:
        one.close()
    assert threads("disk") == 0
