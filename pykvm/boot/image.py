"""From a file on the host to a plan: reads it, finds out what it is."""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from pykvm.boot import bzimage, elf_file, multiboot
from pykvm.boot.plan import Mode, Plan, Protocol, Start
from pykvm.errors import ImageError
from pykvm.hints import BinaryIO

MOST_UNPACKED = 1 << 30
"""Bytes of a kernel inside a bzImage, whatever the guest's memory."""


def read_file(path: str, what: str, limit: int) -> bytes:
    """A regular file's bytes, at most ``limit``. Raises ImageError with one clear line."""
    with _opened(path, what, limit) as file:
        return file.read()


def map_file(path: str, what: str, limit: int) -> memoryview:
    """The same, of which only what is looked at is read: much of a vmlinux is never loaded."""
    with _opened(path, what, limit) as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


@contextmanager
def _opened(path: str, what: str, limit: int) -> Iterator[BinaryIO]:
    try:
        with open(path, "rb", opener=_open) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ImageError(f"{path}: {what} is not a regular file")
            if status.st_size == 0:
                raise ImageError(f"{path}: {what} is empty")
            if status.st_size > limit:
                raise ImageError(
                    f"{path}: {what} has {status.st_size >> 20} MiB, the guest's memory only "
                    f"{limit >> 20}; give it more with --memory"
                )
            yield file
    except OSError as e:
        raise ImageError(f"{path}: cannot read {what}: {e.strerror}") from e


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a FIFO must not keep us waiting


def plan(
    path: str,
    *,
    memory: int,
    mode: Start | None = None,
    load_address: int | None = None,
    entry: int | None = None,
    kaslr: bool = False,
) -> Plan:
    """What to load and where to start for the image at ``path``; ``mode`` None is auto.

    ``kaslr`` leaves the unpacking of a bzImage to the guest. Raises ImageError.
    """
    data = map_file(path, "the image", memory)
    made = _foreign(path, data, memory, mode, entry, kaslr)
    if made is None:
        if kaslr:
            raise ImageError(f"{path}: --kaslr is for a Linux bzImage")
        from pykvm.boot import flat

        return flat.plan(path, data, _flat_mode(path, mode), load_address, entry)
    if load_address is not None:
        raise ImageError(f"{path}: {made.kind} images say themselves where to go; drop --load-addr")
    return made


def _foreign(
    path: str, data: memoryview, memory: int, mode: Start | None, entry: int | None, kaslr: bool
) -> Plan | None:
    """The plan for an image with a format, None for a flat one."""
    # What reads a format is loaded for an image of that format alone.
    if data[:4] == elf_file.MAGIC and not kaslr:
        from pykvm.boot import elf

        return elf.plan(path, data, mode, entry)
    if mode is Protocol.LINUX or (mode is None and bzimage.is_bzimage(data)):
        from pykvm.boot import linux

        limit = min(memory, MOST_UNPACKED)
        return linux.plan_bzimage(path, data, entry, kaslr=kaslr, limit=limit)
    if mode is Protocol.MULTIBOOT or (mode is None and multiboot.find(data) is not None):
        return multiboot.plan(path, data, None, entry)
    return None


def _flat_mode(path: str, mode: Start | None) -> Mode:
    if isinstance(mode, Protocol):
        raise ImageError(f"{path}: only an ELF file can be started by {mode.value}")
    return mode or Mode.LONG
