"""virtio-blk: a disk (VIRTIO 1.2, 5.2).

Requests run on guest memory itself, in threads, several at once and in any order. A FLUSH makes
stable what completed before it was offered, which is all that the driver may count on (5.2.6.2): a
driver that wants a write before a flush waits for the write. So a flush need not wait for others.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from enum import IntFlag
from typing import Any

from pykvm.devices.turns import Turn
from pykvm.devices.virtio.blk.request import (
    LONGEST,
    RANGE_SECTORS,
    SECTOR,
    SEGMENTS,
    Kind,
    Refused,
    Request,
    Status,
)
from pykvm.devices.virtio.blk.workers import Workers
from pykvm.devices.virtio.device import VirtioDevice
from pykvm.devices.virtio.features import Ring
from pykvm.devices.virtio.queue import Queue
from pykvm.devices.virtio.ring import Chain, RingError
from pykvm.errors import DeviceError
from pykvm.interfaces import DiskBackend

_QUEUE = 256
_SEGMENTS = _QUEUE - 2  # with header and status a chain of the whole ring
_SIZE_MAX = LONGEST // 256
ID_SIZE = 20
_WRITEBACK = 32


class Feature(IntFlag):
    """Chapter 5.2.3."""

    SIZE_MAX = 1 << 1
    SEG_MAX = 1 << 2
    RO = 1 << 5
    BLK_SIZE = 1 << 6
    FLUSH = 1 << 9
    CONFIG_WCE = 1 << 11
    DISCARD = 1 << 13
    WRITE_ZEROES = 1 << 14


_ALWAYS = Feature.SIZE_MAX | Feature.SEG_MAX | Feature.BLK_SIZE | Feature.FLUSH
_WRITABLE = Feature.CONFIG_WCE | Feature.DISCARD | Feature.WRITE_ZEROES
_NEEDS = {Kind.DISCARD: Feature.DISCARD, Kind.WRITE_ZEROES: Feature.WRITE_ZEROES}


class Blk:
    """See ``device.Type``. ``serial`` is up to 20 bytes of ASCII. Whoever made it closes it
    before ``disk``."""

    kind = 2
    class_code = 0x010000
    needs: Mapping[int, int] = {}
    flags: type[IntFlag] = Feature
    queue_sizes: Sequence[int] = (_QUEUE,)
    config_size = 60
    _device: VirtioDevice
    _workers: Workers[Request]

    def __init__(self, disk: DiskBackend, serial: str = "") -> None:
        self._disk = disk
        self._serial = serial.encode("ascii")[:ID_SIZE].ljust(ID_SIZE, b"\0")
        own = _ALWAYS | (Feature.RO if disk.readonly else _WRITABLE)
        self.features = int(own | Ring.ANY_LAYOUT)
        self._flying: dict[int, Request] = {}
        self._chosen: bool | None = None  # the driver's word on the write cache
        limits = (RANGE_SECTORS, SEGMENTS) if not disk.readonly else (0, 0)
        self._config = struct.pack(
            "<QII4xI8xB3xIIIIIB3x", disk.size // SECTOR, _SIZE_MAX, _SEGMENTS, SECTOR, 0,
            *limits, 8 if not disk.readonly else 0, *limits, not disk.readonly,
        )  # fmt: skip

    def attach(self, device: VirtioDevice) -> None:
        self._device = device
        self._workers = Workers(device.loop, lambda request: request.run(self._disk), self._done)

    # -- configuration space (5.2.4) ----------------------------------------------------------

    def read_config(self, offset: int, size: int) -> int:
        config = bytearray(self._config)
        config[_WRITEBACK] = self.writeback
        return int.from_bytes(config[offset : offset + size], "little")

    def write_config(self, offset: int, size: int, value: int) -> None:
        if (offset, size) == (_WRITEBACK, 1) and self._device.has(Feature.CONFIG_WCE):
            self._chosen = bool(value & 1)

    @property
    def writeback(self) -> bool:
        """Whether a write may be lost until the next flush (5.2.6.2)."""
        if self._chosen is not None:
            return self._chosen
        return self._device.has(Feature.FLUSH)

    # -- life ---------------------------------------------------------------------------------

    def start(self) -> None:
        """The first kick will come."""

    def stop(self) -> None:
        self._abandon()
        self._chosen = None

    def queue_started(self, queue: Queue) -> None:
        """Its first kick will come."""

    def queue_stopped(self, queue: Queue) -> None:
        self._abandon()

    def _abandon(self) -> None:
        self._workers.abandon()
        for request in self._flying.values():
            request.drop()
        self._flying.clear()

    def close(self) -> None:
        """Wait for the host and end the threads. Idempotent."""
        self._abandon()
        self._workers.close()

    def pause(self) -> Callable[[], None]:
        """Carries out what is under way, so that no request is part of a state."""
        self._workers.settle()
        return lambda: None

    def state(self) -> dict[str, Any]:
        return {"writeback": self._chosen}

    def restore(self, state: Any) -> None:
        self._chosen = state["writeback"]

    # -- requests -----------------------------------------------------------------------------

    def kicked(self, queue: Queue) -> None:
        self._device.serve(queue, self._take)

    def _take(self, chain: Chain, turn: Turn) -> int | None:
        if len(self._flying) >= self._device.queues[0].size or chain.id in self._flying:
            raise RingError(f"chain {chain.id} is offered again before it was used")
        request = Request(chain)
        self._device.tell("request", {
            "id": chain.id, "type": request.name, "sector": request.sector, "bytes": request.length,
        })  # fmt: skip
        try:
            self._check(request)
        except Refused as refused:
            return self._finish(request, refused.status)
        if request.kind == Kind.GET_ID:
            request.fill(self._serial)
            return self._finish(request, Status.OK)
        self._flying[chain.id] = request
        self._workers.submit(request)
        return None

    def _check(self, request: Request) -> None:
        if request.kind not in list(Kind) or not self._device.has(
            _NEEDS.get(Kind(request.kind), 0)
        ):
            raise Refused(Status.UNSUPP)
        request.check(self._disk)
        request.stable = not self.writeback

    def _done(self, requests: list[Request]) -> None:
        """The host is through with some."""
        queue = self._device.queues[0]
        try:
            for request in requests:
                if self._flying.pop(request.chain.id, None) is None or queue.ring is None:
                    request.drop()
                    continue
                if request.error:
                    self._device.report(DeviceError(request.error))
                status = Status.IOERR if request.error else Status.OK
                queue.ring.push(request.chain, self._finish(request, status))
            self._device.flush(queue)
        except DeviceError as error:
            self._device.broke(error)

    def _finish(self, request: Request, status: Status) -> int:
        written = request.finish(status)
        self._device.tell("done", {"id": request.chain.id, "status": status.name})
        return written
