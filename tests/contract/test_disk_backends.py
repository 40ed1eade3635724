"""What a disk owes to a block device, held over each kind of file that one can be."""

import fcntl
import os
import shutil
import subprocess
import threading

import pytest

from pykvm.backends import disk_file
from pykvm.backends.disk_file import FileDisk
from pykvm.errors import HostError

SECTOR = 512


@pytest.fixture(params=["file", "sparse file", "without fallocate"])
def disk(request, tmp_path, monkeypatch):
    """A writable disk of 4 MiB."""
    path = tmp_path / "disk.img"
    path.touch()
    os.truncate(path, 4 << 20)
    if request.param != "sparse file":
        path.write_bytes(b"\xaa" * (4 << 20))
    if request.param == "without fallocate":
        monkeypatch.setattr(FileDisk, "_allocate", lambda *_: False)
    one = FileDisk(str(path))
    yield one
    one.close()


def get(disk, offset, length):
    data = bytearray(length)
    disk.read([memoryview(data)], offset)
    return bytes(data)


def put(disk, offset, data, *, stable=False):
    disk.write([memoryview(data)], offset, stable=stable)


def test_pieces_are_in_order_and_may_have_any_length(disk):
    data = os.urandom(3000)
    disk.write([memoryview(data)[a:b] for a, b in ((0, 1), (1, 1), (1, 2000), (2000, 3000))], 700,
               stable=False)  # fmt: skip
    parts = [bytearray(n) for n in (2999, 0, 1)]
    disk.read([memoryview(part) for part in parts], 700)
    assert b"".join(parts) == data


def test_a_thousand_pieces_go_at_once(disk):
    data = os.urandom(1024 * 8)
    disk.write([memoryview(data)[8 * n : 8 * n + 8] for n in range(1024)], 0, stable=True)
    assert get(disk, 0, len(data)) == data


def test_zeroes_replace_what_was_there_and_nothing_else(disk):
    put(disk, 0, b"x" * (3 << 20))
    disk.zero(SECTOR, 2 << 20, unmap=False, stable=False)
    disk.zero((2 << 20) + 4 * SECTOR, 4096, unmap=True, stable=True)
    assert get(disk, 0, SECTOR) == b"x" * SECTOR
    assert get(disk, SECTOR, 2 << 20) == bytes(2 << 20)
    assert get(disk, (2 << 20) + SECTOR, 3 * SECTOR) == b"x" * 3 * SECTOR
    assert get(disk, (2 << 20) + 4 * SECTOR, 4096) == bytes(4096)


def test_a_discard_leaves_the_size_and_the_rest(disk):
    put(disk, 0, b"x" * 65536)
    disk.discard(8192, 8192)
    assert get(disk, 0, 8192) == get(disk, 16384, 8192) == b"x" * 8192
    assert disk.size == 4 << 20
    assert get(disk, disk.size - SECTOR, SECTOR)


def test_threads_may_use_it_side_by_side(disk):
    def work(n):
        for _ in range(50):
            put(disk, n * 4096, bytes([n]) * 4096)
            assert get(disk, n * 4096, 4096) == bytes([n]) * 4096
            disk.flush()

    workers = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in workers:
        thread.start()
    for thread in workers:
        thread.join()
    assert [get(disk, n * 4096, 1)[0] for n in range(4)] == [0, 1, 2, 3]


def test_closing_twice_is_fine(disk):
    disk.close()
    disk.close()


# -- files ----------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "disk.img"
    file.write_bytes(b"a" * 1000)
    return file


def test_a_short_last_sector_reads_as_zeroes_and_may_be_written(path):
    disk = FileDisk(str(path))
    assert disk.size == 1024
    assert get(disk, 512, 512) == b"a" * 488 + bytes(24)
    put(disk, 512, b"b" * 512)
    assert path.read_bytes() == b"a" * 512 + b"b" * 512
    disk.close()


def test_a_writer_has_the_file_for_itself(path):
    disk = FileDisk(str(path))
    for readonly in (False, True):
        with pytest.raises(HostError, match="in use"):
            FileDisk(str(path), readonly=readonly)
    disk.close()
    FileDisk(str(path)).close()


def test_readers_share_a_file_and_keep_writers_out(path):
    first, second = (FileDisk(str(path), readonly=True) for _ in range(2))
    with pytest.raises(HostError, match="readonly=on"):
        FileDisk(str(path))
    first.close()
    second.close()


def test_a_refused_disk_leaves_no_descriptor_open(path):
    with open(path) as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(HostError):
            FileDisk(str(path))
        assert len(os.listdir("/proc/self/fd")) == before


def test_what_can_be_no_disk_is_refused_at_once(tmp_path):
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "fifo")
    for name in ("empty", "fifo", "missing", "."):
        for readonly in (False, True):
            with pytest.raises(HostError, match="--disk"):
                FileDisk(str(tmp_path / name), readonly=readonly)
    with pytest.raises(HostError, match="neither"):
        FileDisk("/dev/null")


def test_a_file_that_may_only_be_read_says_how_to_use_it(path, monkeypatch):
    def refused(name, flags):
        if flags & os.O_RDWR:
            raise PermissionError(13, "Permission denied")
        return real(name, flags)

    real = os.open
    monkeypatch.setattr(disk_file.os, "open", refused)  # root may write everything
    with pytest.raises(HostError, match="readonly=on"):
        FileDisk(str(path))
    FileDisk(str(path), readonly=True).close()


@pytest.fixture
def loop_device(tmp_path):
    """A block device over a file."""
    image = tmp_path / "image"
    image.touch()
    os.truncate(image, 1 << 20)
    if shutil.which("losetup") is None:
        pytest.skip("losetup is not installed: sudo apt-get install mount")
    made = subprocess.run(["losetup", "-f", "--show", image], capture_output=True, text=True,
                          check=False)  # fmt: skip
    if made.returncode:
        pytest.skip("no loop device can be made here: modprobe loop, as root")
    yield made.stdout.strip()
    subprocess.run(["losetup", "-d", made.stdout.strip()], check=True)


def test_a_block_device_is_a_disk(loop_device):
    disk = FileDisk(loop_device)
    assert disk.size == 1 << 20
    put(disk, 8192, b"b" * 4096, stable=True)
    disk.zero(8192, 1024, unmap=True, stable=True)
    assert get(disk, 8192, 4096) == bytes(1024) + b"b" * 3072
    disk.flush()
    disk.close()
