"""A card without a machine: a host thread fills its rings and rings its doorbell."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from pykvm.backends.net_tap import TapNet
from pykvm.bench import network
from pykvm.devices.e1000 import E1000
from pykvm.devices.e1000 import registers as r
from pykvm.devices.e1000.engines import named
from pykvm.interfaces import Timer
from pykvm.kvm.abi import ffi
from pykvm.memory import GuestMemory
from pykvm.net.frames import MSS, SEGMENTS, SOURCE, plain_frame, tcp_flow, tcp_headers
from pykvm.net.vnet import Offload

_RING, _BUFFERS, _COUNT = 0x10000, 0x20000, 1024
_PIECES = 4
_PAUSE = 0.0001


class NoLoop:
    """An EventLoop that delivers nothing: the card's thread needs none."""

    def now_ns(self) -> int:
        return 0

    def call_at(self, when_ns: int, callback: Any) -> Timer:
        raise NotImplementedError("the native engine keeps its own time")

    def add_reader(self, fd: int, callback: Any) -> None:
        """Nobody listens."""

    def remove_reader(self, fd: int) -> None:
        """Nobody listens."""


class _NoLine:
    def set(self, level: bool) -> None:
        """Nobody listens."""


@contextmanager
def apart() -> Iterator[Callable[[], None]]:
    """A processor for the card's thread and another for ours, as a guest has, where there are two.
    What starts before the yielded function is called gets the first, and the caller the second."""
    allowed = os.sched_getaffinity(0)
    first, *rest = sorted(allowed)
    os.sched_setaffinity(0, {first})
    try:
        yield lambda: os.sched_setaffinity(0, rest or allowed)
    finally:
        os.sched_setaffinity(0, allowed)


class Harness:
    """A transmit ring of 1,024 descriptors over the TAP; a context manager. Without ``offloads``
    the card has to cut TSO requests itself; with ``coalesce`` it merges frames of one flow."""

    def __init__(self, *, offloads: bool = True, coalesce: bool = False) -> None:
        self._memory = GuestMemory(4 << 20)
        loop = NoLoop()
        self._tap = TapNet(network.NAME, loop, lambda line: None)
        if not offloads:
            self._tap.offloads = Offload.NONE
        self._card = E1000(
            "e1000-0", SOURCE, irq=_NoLine(), loop=loop, memory=self._memory, backend=self._tap,
            engine=named("native", coalesce=coalesce),
        )  # fmt: skip
        config = self._card.config
        config.on_change = lambda offset, size: self._card.config_changed()
        config.write(0x04, 2, 0x6)
        self._step = 1
        for name, value in (("TDBAL", _RING), ("TDLEN", _COUNT * 16), ("TCTL", r.TCTL["EN"].mask)):
            self._card.write(r.REGISTERS[name].offset, 4, value)

    def __enter__(self) -> Harness:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._card.close()
        self._tap.close()
        del self._card
        self._memory.close()

    def filled(self, kind: str) -> Harness:
        """Fill the ring with what ``kind`` sends."""
        if kind == "tx-tso":
            self.fill_requests()
        elif kind.startswith("tx-tcp"):
            self.fill_flow()
        else:
            self.fill_frames(plain_frame(int(kind.split("-")[1])))
        return self

    def fill_frames(self, frame: bytes) -> None:
        """Every descriptor sends ``frame``."""
        self._memory.write(_BUFFERS, frame)
        row = struct.pack("<QHBBBBH", _BUFFERS, len(frame), 0, 0x01 | 0x02 | 0x08, 0, 0, 0)
        self._memory.write(_RING, row * _COUNT)

    def fill_flow(self) -> None:
        """One TCP flow, from its beginning with each turn of the ring."""
        rows = []
        for n, frame in enumerate(tcp_flow(_COUNT)):
            at = _BUFFERS + n * 2048
            self._memory.write(at, frame)
            rows.append(struct.pack("<QHBBBBH", at, len(frame), 0, 0x01 | 0x02 | 0x08, 0, 0, 0))
        self._memory.write(_RING, b"".join(rows))

    def fill_requests(self) -> None:
        """A TSO request every eight descriptors: a context, headers, data, empty ones."""
        headers, data = _BUFFERS, _BUFFERS + 4096
        self._memory.write(headers, tcp_headers())
        payload = MSS * SEGMENTS
        context = struct.pack(
            "<BBHBBHIBBH", 14, 24, 33, 34, 50, 0, payload | (0x7 | 0x28) << 24, 0, 54, MSS
        )
        rows = [context, self._data(headers, 54, 0x2C, 0x3)]
        part = payload // _PIECES
        for n in range(_PIECES):
            rows.append(self._data(data + n * part, part, 0x2C | (n == _PIECES - 1), 0))
        rows += [struct.pack("<QQ", 0, 1 << 24)] * 2  # an empty legacy frame
        self._memory.write(_RING, b"".join(rows) * (_COUNT // 8))
        self._step = 8

    @staticmethod
    def _data(address: int, length: int, command: int, popts: int) -> bytes:
        return struct.pack(
            "<QIBBH", address, length | 1 << 20 | (command | 0x20) << 24, 0, popts, 0
        )

    def send(self, frames: int, batch: int) -> None:
        """Ring for ``batch`` frames at a time, as far as the ring has room, until all are sent."""
        cells = self._card.cells
        tdh = r.REGISTERS["TDH"].offset >> 2
        answer, card = self._card.answers[0]
        tdt, value = r.REGISTERS["TDT"].offset, ffi.new("uint64_t *")
        tail, step = 0, self._step * batch
        mask = _COUNT - 1
        for _ in range(0, frames, batch):
            while _COUNT - (tail - cells[tdh] & mask) <= step:
                time.sleep(_PAUSE)  # the ring is full: there is work for ten times as long
            tail = tail + step & mask
            value[0] = tail
            answer(card, True, tdt, 4, value)
        while cells[tdh] != tail:
            time.sleep(_PAUSE / 10)
