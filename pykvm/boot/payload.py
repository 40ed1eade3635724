"""Unpacking the kernel inside a bzImage: every format that Linux's own build knows.

All of them but gzip end with the unpacked size in four bytes (scripts/Makefile.lib, size_append);
gzip's own trailer ends with the same. No more than that is ever unpacked, however the stream goes
on, and no more than the caller's limit is believed.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from pykvm.errors import ImageError

_LZ4_BLOCK = 8 << 20  # the legacy frame's (lz4_Frame_format.md)
_WINDOW_LIMIT = 1 << 28  # the build packs with windows of at most 128 MiB
_LZMA_LIMIT = 1 << 28
_LZOP_HEADER_MOST = 1 << 10

Unpack = Callable[[memoryview, int], bytes]


def unpack(name: str, payload: memoryview, limit: int) -> bytes:
    """The unpacked kernel, at most ``limit`` bytes. Raises ImageError."""
    kind = _kind(payload)
    if kind is None:
        start = bytes(payload[:4]).hex()
        raise ImageError(
            f"{name}: the kernel in this bzImage is packed in an unknown way (it starts with "
            f"{start}); try --kaslr, which runs its own decompressor"
        )
    (size,) = struct.unpack("<I", payload[-4:])
    if size > limit:
        raise ImageError(
            f"{name}: the kernel inside has {size >> 20} MiB, the guest's memory only "
            f"{limit >> 20}; give it more with --memory"
        )
    try:
        data = _UNPACK[kind](payload, size)
    except ImportError as e:
        raise ImageError(
            f"{name}: a kernel packed with {kind} needs {e.name}: pip install {e.name} "
            "(or try --kaslr, which runs its own decompressor)"
        ) from e
    except Exception as e:  # each library has errors of its own for a damaged stream
        raise ImageError(f"{name}: the {kind} stream in this bzImage is damaged ({e})") from e
    if len(data) != size:
        raise ImageError(
            f"{name}: the {kind} stream in this bzImage is damaged ({len(data)} bytes, not {size})"
        )
    return data


def _kind(payload: memoryview) -> str | None:
    head = bytes(payload[:16])
    if len(payload) < 32:
        return None
    return next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)


def _gzip(payload: memoryview, size: int) -> bytes:
    import zlib

    return zlib.decompressobj(wbits=31).decompress(payload, max(size, 1))


def _xz(payload: memoryview, size: int) -> bytes:
    import lzma

    return lzma.LZMADecompressor(memlimit=_LZMA_LIMIT).decompress(payload, max(size, 1))


def _bzip2(payload: memoryview, size: int) -> bytes:
    import bz2

    return bz2.BZ2Decompressor().decompress(payload, max(size, 1))


def _zstd(payload: memoryview, size: int) -> bytes:
    import zstandard

    decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW_LIMIT)
    with decompressor.stream_reader(payload) as reader:
        return bytes(reader.read(size))


def _lz4(payload: memoryview, size: int) -> bytes:
    """Blocks of up to 8 MiB, each behind its packed size (lz4_Frame_format.md, "Legacy frame")."""
    import lz4.block

    out, at, end = bytearray(), 4, len(payload) - 4
    while at + 4 <= end and len(out) < size:
        (packed,) = struct.unpack_from("<I", payload, at)
        at += 4
        room = min(_LZ4_BLOCK, size - len(out))
        if at + packed > end:
            raise ValueError("a block is cut off")
        out += lz4.block.decompress(payload[at : at + packed], uncompressed_size=room)
        at += packed
    return bytes(out)


def _lzo(payload: memoryview, size: int) -> bytes:
    """An lzop file: a header, then blocks of unpacked size, packed size, checksums, data."""
    from lzallright import LZOCompressor

    flags, at = _lzop_header(payload)
    checksums = 4 * ((flags >> 0 & 1) + (flags >> 8 & 1))  # of unpacked data: Adler-32, CRC-32
    packed_checksums = 4 * ((flags >> 1 & 1) + (flags >> 9 & 1))
    out, end = bytearray(), len(payload) - 4
    while at + 8 <= end and len(out) < size:
        unpacked, packed = struct.unpack_from(">II", payload, at)
        if unpacked == 0:
            break
        stored = packed >= unpacked
        at += 8 + checksums + (0 if stored else packed_checksums)
        if at + packed > end or unpacked > size - len(out):
            raise ValueError("a block is cut off")
        block = bytes(payload[at : at + packed])
        out += block[:unpacked] if stored else LZOCompressor.decompress(block, unpacked)
        if len(out) > size:
            raise ValueError("a block is longer than it says")
        at += packed
    return bytes(out)


def _lzop_header(payload: memoryview) -> tuple[int, int]:
    """Flags, and where the first block is (lzop's conf.h; lib/decompress_unlzo.c)."""
    at = 9
    (version,) = struct.unpack_from(">H", payload, at)
    at += 2 + 2 + (2 if version >= 0x940 else 0) + 1 + (1 if version >= 0x940 else 0)
    (flags,) = struct.unpack_from(">I", payload, at)
    at += 4 + (4 if flags & 1 << 11 else 0)  # a filter
    at += 4 + 4 + (4 if version >= 0x940 else 0)  # mode, time
    at += 1 + payload[at] + 4  # the name, the header's checksum
    return flags, at


_MAGIC = {
    b"\x1f\x8b\x08": "gzip",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x02\x21\x4c\x18": "lz4",
    b"BZh": "bzip2",
    b"\x5d\0\0": "lzma",
    b"\x89LZO\0\r\n\x1a\n": "lzo",
}
_UNPACK: dict[str, Unpack] = {
    "gzip": _gzip,
    "xz": _xz,
    "lzma": _xz,
    "zstd": _zstd,
    "lz4": _lz4,
    "bzip2": _bzip2,
    "lzo": _lzo,
}
