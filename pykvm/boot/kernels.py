"""Unpacked kernels, kept by the hash of what they were unpacked from.

A file of the cache (``$XDG_CACHE_HOME/pykvm/kernels``, else ``~/.cache``) is an ELF without what is
not loaded, and a CRC of it. It appears in one step, so a reader never sees half a file; one that is
damaged anyway is unpacked again. The least recently used go when there are too many. A cache that
cannot be written costs time, nothing else.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import struct
import zlib
from contextlib import suppress

from pykvm.boot import elf_file
from pykvm.boot.payload import unpack

MOST_FILES = 8
MOST_BYTES = 1 << 30
_SUFFIX = ".v1.vmlinux"
_CRC = struct.Struct("<I")


def unpacked(name: str, payload: memoryview, limit: int) -> bytes | memoryview:
    """The kernel that ``payload`` holds, at most ``limit`` bytes. Raises ImageError."""
    path = os.path.join(directory(), hashlib.sha256(payload).hexdigest() + _SUFFIX)
    kept = _load(path)
    if kept is not None:
        return kept
    kernel = shortened(f"{name}: the kernel inside", unpack(name, payload, limit))
    _store(path, kernel)
    return kernel


def directory() -> str:
    """Where the cache is."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "pykvm", "kernels")


def shortened(name: str, data: bytes) -> bytes:
    """An ELF file up to the last byte that is loaded and not zero. Raises ImageError.

    After it come relocations, for a kernel that moves, and a .bss that the build wrote out.
    """
    elf = elf_file.read(name, data)
    elf.loads()
    if elf.bits != 64:
        return data
    loaded = [p for p in elf.programs if p.kind == elf_file.PT_LOAD]
    *others, last = sorted(loaded, key=lambda p: p.offset + p.filesz)
    size = len(data[last.offset : last.offset + last.filesz].rstrip(b"\0"))
    end = max([last.offset + size, *(p.offset + p.filesz for p in others)])
    if end <= last.offset:
        return data
    cut = bytearray(data[:end])
    elf_file.set_filesz(cut, last, end - last.offset)
    return bytes(cut)


def _load(path: str) -> memoryview | None:
    """The kept kernel, mapped, or None when there is none that is whole."""
    try:
        with open(path, "rb") as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError):
        return None
    if len(data) <= _CRC.size or data[-4:] != _CRC.pack(zlib.crc32(data[:-4])):
        return None
    with suppress(OSError):
        os.utime(path)  # the least recently used go first
    return data[:-4]


def _store(path: str, kernel: bytes) -> None:
    import tempfile  # with shutil and random, which a kernel out of the cache does without

    with suppress(OSError):
        os.makedirs(directory(), mode=0o700, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=directory(), prefix=".new-", delete=False) as file:
            try:
                file.write(kernel)
                file.write(_CRC.pack(zlib.crc32(kernel)))
                file.close()
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise
        _evict(path)


def _evict(newest: str) -> None:
    """Keep the most recently used few, and always the newest."""
    found = []
    for name in os.listdir(directory()):
        path = os.path.join(directory(), name)
        with suppress(OSError):
            if name.endswith(_SUFFIX):
                status = os.stat(path)
                found.append((path == newest, status.st_mtime_ns, status.st_size, path))
    found.sort(reverse=True, key=lambda row: row[:2])
    total = 0
    for n, (_, _, size, path) in enumerate(found):
        total += size
        if n and (n >= MOST_FILES or total > MOST_BYTES):
            with suppress(OSError):
                os.unlink(path)
