"""From a file on the host to a plan: reads it, finds out what it is."""

from __future__ import annotations

import os
import stat

from pykvm.boot import elf, flat
from pykvm.boot.plan import Mode, Plan
from pykvm.errors import ImageError


def read_file(path: str, what: str, limit: int) -> bytes:
    """A regular file's bytes, at most ``limit``. Raises ImageError with one clear line."""
    try:
        with open(path, "rb") as file:
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
            return file.read()
    except OSError as e:
        raise ImageError(f"{path}: cannot read {what}: {e.strerror}") from e


def plan(
    path: str,
    *,
    memory: int,
    mode: Mode | None = None,
    load_address: int | None = None,
    entry: int | None = None,
) -> Plan:
    """What to load and where to start for the image at ``path``; ``mode`` None is auto.

    Raises ImageError.
    """
    data = read_file(path, "the image", memory)
    if data[:4] == elf.MAGIC:
        if load_address is not None:
            raise ImageError(f"{path}: an ELF file says itself where it goes; drop --load-addr")
        return elf.plan(path, data, mode, entry)
    return flat.plan(path, data, mode or Mode.LONG, load_address, entry)
