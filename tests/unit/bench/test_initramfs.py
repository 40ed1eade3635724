"""An initramfs, read as Documentation/driver-api/early-userspace says that Linux reads it."""

import pytest

from pykvm.bench.initramfs import DIRECTORY, PROGRAM, archive

HEADER = 110


def unpacked(data):
    """``{path: (mode, content)}`` of the archive, and what comes after its trailer."""
    files, at, inodes = {}, 0, set()
    while True:
        assert at % 4 == 0
        assert data[at : at + 6] == b"070701"
        words = [int(data[n : n + 8], 16) for n in range(at + 6, at + HEADER, 8)]
        inode, mode, links, size, name_size = words[0], words[1], words[4], words[6], words[11]
        name = data[at + HEADER : at + HEADER + name_size]
        assert name.endswith(b"\0")
        assert links == 1
        assert inode not in inodes  # two names of one inode would be hard links
        inodes.add(inode)
        start = at + HEADER + name_size + 3 & ~3
        at = start + size + 3 & ~3
        if name == b"TRAILER!!!\0":
            return files, data[at:]
        files[name[:-1].decode()] = mode, data[start : start + size]


@pytest.mark.parametrize("size", range(5))
@pytest.mark.parametrize("name", ["i", "in", "ini", "init"])
def test_what_goes_in_comes_out_whatever_has_to_be_padded(name, size):
    files = {"d": (DIRECTORY, b""), f"d/{name}": (PROGRAM, b"x" * size), name: (0o100600, b"y")}
    assert unpacked(archive(files)) == (files, b"")


def test_a_program_may_be_run_and_a_folder_entered():
    assert (PROGRAM, DIRECTORY) == (0o100755, 0o040755)
