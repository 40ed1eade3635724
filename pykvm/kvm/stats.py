"""KVM's own counters, as ``KVM_GET_STATS_FD`` has them for a VM and for a vCPU.

The file describes itself (Documentation/virt/kvm/api.rst, KVM_GET_STATS_FD): a header, an ID, a
descriptor for each statistic, and the values as they are now.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable
from typing import NamedTuple

from pykvm.errors import KvmError
from pykvm.kvm.abi import call

HEADER = struct.Struct("=6I")  # flags, name_size, num_desc, id_offset, desc_offset, data_offset
DESCRIPTOR = struct.Struct("=IhHII")  # flags, exponent, size, offset, bucket_size; then the name
_VALUE = 8
_TYPE = 0xF  # of a descriptor's flags: KVM_STATS_TYPE_MASK
_SCALARS = (0, 1, 2)  # cumulative, instant, peak; the others are histograms
_MOST_NAME = 4096
_MOST = 4096  # statistics; Linux has fewer than 100

Read = Callable[[int, int], bytes]
"""``(size, offset)``: at most ``size`` bytes of the file from ``offset`` on."""


class Statistic(NamedTuple):
    """``offset`` is that of the first of ``size`` values, from the start of the file."""

    name: str
    offset: int
    size: int
    scalar: bool


def layout(read: Read) -> list[Statistic]:
    """What the file holds. Raises ValueError for one that does not hold together."""
    _, name_size, count, _, at, data = HEADER.unpack(_exactly(read, HEADER.size, 0))
    if name_size > _MOST_NAME or count > _MOST:
        raise ValueError(f"{count} statistics with names of {name_size} bytes")
    stride = DESCRIPTOR.size + name_size
    block = _exactly(read, stride * count, at)
    rows = []
    for start in range(0, len(block), stride):
        flags, _, size, offset, _ = DESCRIPTOR.unpack_from(block, start)
        name = block[start + DESCRIPTOR.size : start + stride].split(b"\0", 1)[0].decode("ascii")
        rows.append(Statistic(name, data + offset, size, flags & _TYPE in _SCALARS))
    return rows


def _exactly(read: Read, size: int, offset: int) -> bytes:
    data = read(size, offset)
    if len(data) != size:
        raise ValueError(f"{len(data)} bytes at {offset} instead of {size}")
    return data


class Counters:
    """The scalar statistics of one VM or vCPU, by name; a context manager. ``fd`` is the VM's or
    vCPU's, and may be closed before this one. Raises KvmError."""

    def __init__(self, fd: int) -> None:
        self._fd = call(fd, "KVM_GET_STATS_FD")
        try:
            rows = [row for row in layout(self._pread) if row.scalar and row.size == 1]
        except BaseException:
            self.close()
            raise
        self._places = {row.name: row.offset for row in rows}
        self._first = min(self._places.values(), default=0)
        self._size = max(self._places.values(), default=-_VALUE) + _VALUE - self._first

    def _pread(self, size: int, offset: int) -> bytes:
        return os.pread(self._fd, size, offset)

    def read(self) -> dict[str, int]:
        """All of them, as they are now."""
        data = _exactly(self._pread, self._size, self._first)
        values = memoryview(data).cast("Q")
        return {name: values[(at - self._first) // _VALUE] for name, at in self._places.items()}

    def __enter__(self) -> Counters:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def available(fd: int) -> bool:
    """Whether this KVM tells (since Linux 5.14)."""
    try:
        Counters(fd).close()
    except KvmError:
        return False
    return True


def of_vcpus(fds: Iterable[int]) -> dict[int, dict[str, int]]:
    """What KVM has counted of each vCPU since it was made, by number; empty where this KVM does not
    tell, or in a form that nobody here knows."""
    counted = {}
    for number, fd in enumerate(fds):
        try:
            with Counters(fd) as counters:
                counted[number] = counters.read()
        except (KvmError, ValueError):
            return {}
    return counted
