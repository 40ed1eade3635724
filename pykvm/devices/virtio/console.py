"""virtio-console: a terminal without a UART (VIRTIO 1.2, 5.3).

Port 0 alone, a receive and a transmit queue: MULTIPORT is not offered. Neither direction loses a
byte: output waits for the host as a serial port's does, input stays in the host until the driver
has offered a buffer for it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from enum import IntFlag
from typing import Any

from pykvm.devices.turns import Turn
from pykvm.devices.virtio.device import VirtioDevice
from pykvm.devices.virtio.features import Ring
from pykvm.devices.virtio.queue import Queue
from pykvm.devices.virtio.ring import Chain, RingError
from pykvm.errors import DeviceError
from pykvm.interfaces import CharBackend

RECEIVE, TRANSMIT = 0, 1
_LONGEST = 1 << 20  # bytes of one transmit buffer, so that no kick takes for ever
_PART = 1 << 16
_EMERGENCY = 8

Size = tuple[int, int]
"""Columns and rows of a terminal."""


class Feature(IntFlag):
    """Chapter 5.3.3."""

    SIZE = 1 << 0
    EMERG_WRITE = 1 << 2


class Console:
    """See ``device.Type``. ``size`` tells how large the terminal is, where there is one."""

    kind = 3
    class_code = 0x078000
    needs: Mapping[int, int] = {}
    flags: type[IntFlag] = Feature
    queue_sizes: Sequence[int] = (64, 64)
    config_size = 12
    _device: VirtioDevice

    def __init__(self, backend: CharBackend, size: Callable[[], Size] | None = None) -> None:
        self._backend = backend
        self._size = size
        own = Feature.EMERG_WRITE | (Feature.SIZE if size is not None else 0)
        self.features = int(own | Ring.ANY_LAYOUT)
        self._buffer: Chain | None = None  # popped, waits for input
        self._config = self._measure()

    def attach(self, device: VirtioDevice) -> None:
        self._device = device
        self._backend.connect(self)

    # -- configuration space (5.3.4) ----------------------------------------------------------

    def _measure(self) -> bytes:
        columns, rows = self._size() if self._size is not None else (0, 0)
        return struct.pack("<HHII", min(columns, 0xFFFF), min(rows, 0xFFFF), 1, 0)

    def resized(self) -> None:
        """The terminal may have another size."""
        before, self._config = self._config, self._measure()
        if self._config != before:
            self._device.config_changed()

    def read_config(self, offset: int, size: int) -> int:
        return int.from_bytes(self._config[offset : offset + size], "little")

    def write_config(self, offset: int, size: int, value: int) -> None:
        """A character without rings, at any time, from a driver that has no better way."""
        if offset == _EMERGENCY:
            self._backend.write(bytes((value & 0xFF,)))

    # -- output -------------------------------------------------------------------------------

    def kicked(self, queue: Queue) -> None:
        if queue.index == TRANSMIT:
            self._device.serve(queue, self._send)
        else:
            self._backend.resume()

    def _send(self, chain: Chain, turn: Turn) -> int:
        if chain.readable_size > _LONGEST:
            raise RingError(f"{chain.readable_size} bytes in one transmit buffer")
        turn.spend(chain.readable_size)
        for piece in chain.readable:
            for at in range(0, len(piece), _PART):
                self._backend.write(bytes(piece[at : at + _PART]))
        return 0

    # -- input (CharReceiver) -----------------------------------------------------------------

    def room(self) -> int:
        """What the next receive buffer holds."""
        ring = self._device.queues[RECEIVE].ring
        # While the guest forbids DMA input waits; pause() is called when it allows it again.
        if self._buffer is None and ring is not None and self._device.dma.allowed:
            try:
                self._buffer = self._next()
            except DeviceError as error:
                self._device.broke(error)
        return self._buffer.writable_size if self._buffer is not None else 0

    def _next(self) -> Chain | None:
        ring = self._device.queues[RECEIVE].ring
        assert ring is not None
        ring.disable_kicks()
        chain = ring.pop()
        if chain is None and ring.enable_kicks():
            ring.disable_kicks()
            chain = ring.pop()
        if chain is not None and not chain.writable:
            raise RingError("a receive buffer that cannot be written")
        return chain

    def receive(self, data: bytes) -> None:
        queue, chain = self._device.queues[RECEIVE], self._buffer
        if chain is None or queue.ring is None or not data:
            return
        self._buffer = None
        try:
            queue.ring.push(chain, chain.write(data))
            self._device.flush(queue)
        except DeviceError as error:
            self._device.broke(error)

    # -- life ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Queues are kicked next, which brings what the host has."""

    def stop(self) -> None:
        self._buffer = None

    def queue_started(self, queue: Queue) -> None:
        """Its first kick will come."""

    def queue_stopped(self, queue: Queue) -> None:
        if queue.index == RECEIVE:
            self._buffer = None

    def pause(self) -> Callable[[], None]:
        ring = self._device.queues[RECEIVE].ring
        if self._buffer is not None and ring is not None:
            ring.unpop(self._buffer)
            self._buffer = None
        return self._backend.resume

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: Any) -> None:
        """The terminal here has a size of its own."""
