"""A disk is a raw file, or a block device, of the host.

A file's last sector may be short: what is missing reads as zeroes, and writing there makes the file
longer, never beyond that sector. A writer has the file for itself, readers share it (``flock``).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat
from collections.abc import Callable, Sequence

from pykvm.errors import HostError

SECTOR = 512
_KEEP_SIZE, _PUNCH_HOLE, _ZERO_RANGE = 1, 2, 16  # <linux/falloc.h>
_NOT_HERE = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENODEV)
_ZEROES = bytes(1 << 20)

_fallocate = ctypes.CDLL(None, use_errno=True).fallocate
_fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


class FileDisk:
    """See ``interfaces.DiskBackend``. Raises HostError when ``path`` cannot be a disk."""

    def __init__(self, path: str, *, readonly: bool = False) -> None:
        self.readonly = readonly
        self._path = path
        self._flushed = True
        # O_NONBLOCK: a FIFO must not keep us waiting before we see what it is.
        flags = (os.O_RDONLY if readonly else os.O_RDWR) | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            self._fd = os.open(path, flags)
        except OSError as e:
            hint = ""
            if not readonly and e.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                hint = "; readonly=on needs no more than reading"
            raise HostError(f"--disk {path}: {e.strerror}{hint}") from e
        try:
            self._real = self._measure()
            self._lock()
        except BaseException:
            self.close()
            raise
        self.size = self._real + SECTOR - 1 & ~(SECTOR - 1)

    def _measure(self) -> int:
        mode = os.fstat(self._fd).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
            raise HostError(f"--disk {self._path}: neither a file nor a block device")
        size = os.lseek(self._fd, 0, os.SEEK_END)
        if size == 0:
            raise HostError(
                f"--disk {self._path}: empty; truncate -s 64M makes it 64 MiB of zeroes"
            )
        return size

    def _lock(self) -> None:
        kind = fcntl.LOCK_SH if self.readonly else fcntl.LOCK_EX
        try:
            fcntl.flock(self._fd, kind | fcntl.LOCK_NB)
        except BlockingIOError as e:
            raise HostError(
                f"--disk {self._path}: in use; only disks with readonly=on can be shared"
            ) from e
        except OSError as e:
            raise HostError(f"--disk {self._path}: cannot lock it: {e.strerror}") from e

    # -- I/O, from any thread -----------------------------------------------------------------

    def read(self, pieces: Sequence[memoryview], offset: int) -> None:
        rest, at = _move(lambda part, where: os.preadv(self._fd, part, where), pieces, offset)
        if rest and at < self._real:
            raise OSError(errno.EIO, "the file has become shorter")
        for piece in rest:
            piece[:] = bytes(len(piece))

    def write(self, pieces: Sequence[memoryview], offset: int, *, stable: bool) -> None:
        flags = os.RWF_DSYNC if stable else 0
        _move(lambda part, where: os.pwritev(self._fd, part, where, flags), pieces, offset)

    def flush(self) -> None:
        # The kernel tells of a failed write-back once. What was lost stays lost, so every later
        # flush fails too.
        if not self._flushed:
            raise OSError(errno.EIO, "an earlier flush failed")
        try:
            os.fdatasync(self._fd)
        except OSError:
            self._flushed = False
            raise

    def discard(self, offset: int, length: int) -> None:
        if not self.readonly:
            self._allocate(_PUNCH_HOLE | _KEEP_SIZE, offset, length)

    def zero(self, offset: int, length: int, *, unmap: bool, stable: bool) -> None:
        done = unmap and self._allocate(_PUNCH_HOLE | _KEEP_SIZE, offset, length)
        if not done and not self._allocate(_ZERO_RANGE | _KEEP_SIZE, offset, length):
            end = offset + length
            for at in range(offset, end, len(_ZEROES)):
                part = memoryview(_ZEROES)[: min(len(_ZEROES), end - at)]
                self.write([part], at, stable=False)
        if stable:
            self.flush()

    def _allocate(self, mode: int, offset: int, length: int) -> bool:
        """``fallocate``; False when the file system does not have it."""
        if length == 0 or _fallocate(self._fd, mode, offset, length) == 0:
            return True
        code = ctypes.get_errno()
        if code in _NOT_HERE:
            return False
        raise OSError(code, os.strerror(code))

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)  # and with it goes the lock
            self._fd = -1


def _move(
    call: Callable[[list[memoryview], int], int], pieces: Sequence[memoryview], offset: int
) -> tuple[list[memoryview], int]:
    """Have ``call`` move all of ``pieces``; what it left when it moved nothing, and where."""
    rest = [piece for piece in pieces if len(piece)]
    while rest:
        moved = call(rest, offset)
        if moved == 0:
            break
        offset += moved
        while rest and moved >= len(rest[0]):
            moved -= len(rest.pop(0))
        if moved:
            rest[0] = rest[0][moved:]
    return rest, offset
