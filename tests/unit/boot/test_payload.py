"""Packed kernels: every format, cut, damaged and lying about their size; the cache of them."""

import bz2
import gzip
import lzma
import os
import random
import struct
from pathlib import Path

import lz4.block
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pykvm.boot import elf_file, kernels
from pykvm.boot.payload import unpack
from pykvm.errors import ImageError
from tests.support.images import elf64, sized

LIMIT = 16 << 20
PLAIN = random.Random(1).randbytes(50_000) + bytes(100_000) + b"the end"


def lz4_legacy(data, block=8 << 20):
    blocks = b""
    for at in range(0, len(data), block):
        packed = lz4.block.compress(data[at : at + block], store_size=False)
        blocks += struct.pack("<I", len(packed)) + packed
    return b"\x02\x21\x4c\x18" + blocks


def lzop(data, block=1 << 18):
    lzallright = pytest.importorskip("lzallright")
    header = struct.pack(">HHHBBIIII", 0x1030, 0x2080, 0x0940, 1, 5, 0x1, 0, 0, 0)
    out = b"\x89LZO\0\r\n\x1a\n" + header + b"\0" + bytes(4)
    for at in range(0, len(data), block):
        part = data[at : at + block]
        packed = lzallright.LZOCompressor().compress(part)
        packed = part if len(packed) >= len(part) else packed
        out += struct.pack(">III", len(part), len(packed), 0) + packed
    return out + bytes(4)


PACK = {
    "gzip": gzip.compress,
    "xz": lambda data: sized(lzma.compress(data, check=lzma.CHECK_CRC32), data),
    "lzma": lambda data: sized(lzma.compress(data, format=lzma.FORMAT_ALONE), data),
    "bzip2": lambda data: sized(bz2.compress(data), data),
    "zstd": lambda data: sized(zstandard.ZstdCompressor(write_content_size=False).compress(data),
                               data),
    "lz4": lambda data: sized(lz4_legacy(data), data),
    "lzo": lambda data: sized(lzop(data), data),
}  # fmt: skip


@pytest.fixture(params=PACK)
def pack(request):
    return PACK[request.param]


def test_every_format_is_unpacked(pack):
    assert unpack("k", memoryview(pack(PLAIN)), LIMIT) == PLAIN


def test_a_stream_of_several_blocks_is_unpacked():
    data = PLAIN * 3
    assert unpack("k", memoryview(sized(lz4_legacy(data, 100_000), data)), LIMIT) == data


def test_a_size_above_the_limit_is_refused_before_anything_is_unpacked(pack):
    with pytest.raises(ImageError, match="--memory"):
        unpack("k", memoryview(pack(PLAIN)), len(PLAIN) - 1)


@pytest.mark.parametrize("lie", [-1, 1, 1000])
def test_a_size_that_is_not_the_streams_is_noticed_and_never_exceeded(pack, lie):
    packed = bytearray(pack(PLAIN))
    packed[-4:] = struct.pack("<I", len(PLAIN) + lie)
    if lie > 0:
        with pytest.raises(ImageError, match="damaged"):
            unpack("k", memoryview(packed), LIMIT)
    else:  # whoever unpacks what was asked for and no more cannot tell
        try:
            assert unpack("k", memoryview(packed), LIMIT) == PLAIN[:lie]
        except ImageError as error:
            assert "damaged" in str(error)  # noqa: PT017  (either is right)


def test_a_stream_that_is_cut_off_is_damaged(pack):
    packed = pack(PLAIN)
    with pytest.raises(ImageError, match="damaged"):
        unpack("k", memoryview(packed[: len(packed) // 2] + packed[-4:]), LIMIT)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(6, 40_000), byte=st.integers(1, 255))
def test_damage_is_an_image_error_or_not_noticed_but_nothing_else(pack, at, byte):
    packed = bytearray(pack(PLAIN))
    packed[at % (len(packed) - 4)] ^= byte
    try:
        assert len(unpack("k", memoryview(packed), LIMIT)) == len(PLAIN)
    except ImageError as error:
        assert "\n" not in str(error)  # noqa: PT017


# -- the cache -------------------------------------------------------------------------------------

KERNEL = elf64(0x100_0000, ((0x100_0000, PLAIN, len(PLAIN) + 5000),))


@pytest.fixture
def packed():
    return memoryview(gzip.compress(KERNEL))


def files():
    return sorted(Path(kernels.directory()).glob("*.vmlinux"))


def same(found, wanted=KERNEL):
    """Whether two ELF files load the same."""
    one, two = (elf_file.read("k", data).loads() for data in (found, wanted))
    return [(s.address, bytes(s.data), s.size) for s in one] == [
        (s.address, bytes(s.data), s.size) for s in two
    ]


def test_a_kernel_is_unpacked_once(packed, monkeypatch):
    assert same(kernels.unpacked("k", packed, LIMIT))
    monkeypatch.setattr(kernels, "unpack", None)
    assert same(kernels.unpacked("k", packed, LIMIT))


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "directory"])
def test_a_damaged_entry_is_unpacked_again(packed, damage):
    kernels.unpacked("k", packed, LIMIT)
    (path,) = files()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()
    if damage == "directory":
        path.mkdir()
    else:
        path.write_bytes({"flip": data, "cut": data[:-9], "empty": b""}[damage])
    assert same(kernels.unpacked("k", packed, LIMIT))
    if damage != "directory":
        assert same(memoryview(files()[0].read_bytes())[:-4])


def test_the_cache_keeps_what_was_used_last(monkeypatch):
    monkeypatch.setattr(kernels, "MOST_FILES", 2)
    packed = [memoryview(gzip.compress(KERNEL, level)) for level in (1, 5, 9)]
    kernels.unpacked("k", packed[0], LIMIT)
    (first,) = files()
    os.utime(first, (1, 1))
    kernels.unpacked("k", packed[1], LIMIT)
    kernels.unpacked("k", packed[0], LIMIT)  # used again: now the second is the oldest
    (second,) = set(files()) - {first}
    os.utime(second, (2, 2))
    kernels.unpacked("k", packed[2], LIMIT)
    assert first in files()
    assert second not in files()


def test_the_cache_has_a_size(monkeypatch):
    monkeypatch.setattr(kernels, "MOST_BYTES", 1)
    for level in (1, 9):
        kernels.unpacked("k", memoryview(gzip.compress(KERNEL, level)), LIMIT)
    assert len(files()) == 1


def test_a_cache_that_cannot_be_written_costs_only_time(packed, monkeypatch, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert same(kernels.unpacked("k", packed, LIMIT))


def test_nothing_half_written_is_left(packed):
    kernels.unpacked("k", packed, LIMIT)
    assert sorted(Path(kernels.directory()).iterdir()) == files()


def test_what_is_not_loaded_is_not_kept():
    kernel = elf64(0x100_0000, ((0x100_0000, PLAIN + bytes(5000), len(PLAIN) + 5000),))
    kept = kernels.shortened("k", kernel + b"relocations" * 100)
    assert len(kept) == len(kernel) - 5000
    assert [bytes(s.data) for s in elf_file.read("k", kept).loads()] == [PLAIN]
    assert [s.size for s in elf_file.read("k", kept).loads()] == [len(PLAIN) + 5000]


def test_a_kernel_of_zeros_only_stays_as_it_is():
    kernel = elf64(0x100_0000, ((0x100_0000, bytes(100), 100),))
    assert kernels.shortened("k", kernel) == kernel
