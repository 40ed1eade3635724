"""One request of the driver's: a header, data, and a status byte (VIRTIO 1.2, 5.2.6).

However the driver cuts them into descriptors: the header is the first 16 bytes that the device may
read, the status is the last byte that it may write, and data is what lies between.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

from pykvm.devices.virtio.ring import Chain, RingError
from pykvm.interfaces import DiskBackend

SECTOR = 512
SEGMENTS = 16
"""Ranges of one discard or write-zeroes request."""
RANGE_SECTORS = 1 << 17
"""Sectors of one such range."""
LONGEST = 64 << 20
"""Bytes of data in one request: what SEG_MAX and SIZE_MAX add up to."""

_HEADER = struct.Struct("<IIQ")
_RANGE = struct.Struct("<QII")
_UNMAP = 1


class Kind(IntEnum):
    """Request types."""

    IN = 0
    OUT = 1
    FLUSH = 4
    GET_ID = 8
    DISCARD = 11
    WRITE_ZEROES = 13


class Status(IntEnum):
    """How a request ended."""

    OK = 0
    IOERR = 1
    UNSUPP = 2


class Refused(Exception):
    """A request that the device will not carry out, and the status that says so."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.name)
        self.status = status


class Range(NamedTuple):
    """Bytes of the disk; ``unmap`` allows to give them back."""

    offset: int
    length: int
    unmap: bool


class Request:
    """Takes ``chain`` apart. Raises RingError for one without room for header or status: nobody
    could be told how it ended."""

    def __init__(self, chain: Chain) -> None:
        if chain.readable_size < _HEADER.size or not chain.writable:
            raise RingError("a request without room for header and status (5.2.6)")
        self.chain = chain
        self._given, self._wanted = list(chain.readable), list(chain.writable)
        self.kind, _, self.sector = _HEADER.unpack(_take(self._given, _HEADER.size))
        last = self._wanted.pop()
        self._status = last[-1:]
        if len(last) > 1:
            self._wanted.append(last[:-1])
        self.stable = False
        self.ranges: list[Range] = []
        self.error = ""
        self._filled = 0

    @property
    def name(self) -> str:
        return Kind(self.kind).name if self.kind in list(Kind) else f"type {self.kind}"

    @property
    def data(self) -> list[memoryview]:
        """What a read fills, or what a write stores."""
        return self._wanted if self.kind in (Kind.IN, Kind.GET_ID) else self._given

    @property
    def length(self) -> int:
        """Bytes of ``data``."""
        return sum(map(len, self.data))

    def check(self, disk: DiskBackend) -> None:
        """Raises Refused for what ``disk`` has no place for, or is not to do."""
        match self.kind:
            case Kind.IN | Kind.OUT:
                length = self.length
                if length % SECTOR or length > LONGEST:
                    raise Refused(Status.IOERR)
                self._check_range(disk, self.sector, length // SECTOR)
            case Kind.DISCARD | Kind.WRITE_ZEROES:
                self._read_ranges(disk)
        if disk.readonly and self.kind in (Kind.OUT, Kind.DISCARD, Kind.WRITE_ZEROES):
            raise Refused(Status.IOERR)

    @staticmethod
    def _check_range(disk: DiskBackend, sector: int, sectors: int) -> None:
        if sector + sectors > disk.size // SECTOR:
            raise Refused(Status.IOERR)

    def _read_ranges(self, disk: DiskBackend) -> None:
        length = self.length
        if not length or length % _RANGE.size or length > SEGMENTS * _RANGE.size:
            raise Refused(Status.IOERR)
        for sector, sectors, flags in _RANGE.iter_unpack(b"".join(self._given)):
            if flags & (~0 if self.kind == Kind.DISCARD else ~_UNMAP):
                raise Refused(Status.UNSUPP)
            if sectors > RANGE_SECTORS:
                raise Refused(Status.IOERR)
            self._check_range(disk, sector, sectors)
            self.ranges.append(Range(sector * SECTOR, sectors * SECTOR, bool(flags)))

    def run(self, disk: DiskBackend) -> None:
        """Do it, outside of the machine's lock; ``error`` tells what the host said."""
        try:
            match self.kind:
                case Kind.IN:
                    disk.read(self.data, self.sector * SECTOR)
                case Kind.OUT:
                    disk.write(self.data, self.sector * SECTOR, stable=self.stable)
                case Kind.FLUSH:
                    disk.flush()
                case Kind.DISCARD:
                    for offset, length, _ in self.ranges:
                        disk.discard(offset, length)
                case Kind.WRITE_ZEROES:
                    for offset, length, unmap in self.ranges:
                        disk.zero(offset, length, unmap=unmap, stable=self.stable)
        except OSError as e:
            self.error = f"{self.name} at sector {self.sector}: {e.strerror or e}"

    def fill(self, data: bytes) -> None:
        """Answer with ``data``, as far as there is room."""
        self._filled = self.chain.write(data[: self.length])

    def finish(self, status: Status) -> int:
        """Tell the driver; the bytes of the chain that were written, from its start (2.7.8.2)."""
        self._status[0] = status
        room = sum(map(len, self._wanted))
        written = 0
        if status == Status.OK and self.kind in (Kind.IN, Kind.GET_ID):
            written = self._filled if self.kind == Kind.GET_ID else room
        self.drop()
        return written + 1 if written == room else written

    def drop(self) -> None:
        """Let go of guest memory."""
        chain = self.chain
        for view in (*chain.readable, *chain.writable, *self._given, *self._wanted, self._status):
            view.release()
        for pieces in (chain.readable, chain.writable, self._given, self._wanted):
            pieces.clear()


def _take(pieces: list[memoryview], count: int) -> bytes:
    """Cut the first ``count`` bytes off ``pieces``; a copy of them."""
    taken = b""
    while len(taken) < count:
        piece = pieces[0]
        part = min(len(piece), count - len(taken))
        taken += bytes(piece[:part])
        if part == len(piece):
            del pieces[0]
        else:
            pieces[0] = piece[part:]
    return taken
