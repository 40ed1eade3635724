"""A virtio card without a machine: a host thread offers chains prepared beforehand, and kicks."""

from __future__ import annotations

import os
import struct
import time
from types import TracebackType

from pykvm.backends.net_tap import TapNet
from pykvm.bench import network
from pykvm.bench.harness import NoLoop
from pykvm.devices.virtio.features import Ring
from pykvm.devices.virtio.net import Net
from pykvm.devices.virtio.net.features import Feature
from pykvm.devices.virtio.net.native import NativeEngine
from pykvm.devices.virtio.pci import Surroundings, VirtioPci
from pykvm.kvm.abi import ffi
from pykvm.memory import GuestMemory
from pykvm.net.frames import SOURCE, plain_frame, tcp_request
from pykvm.net.vnet import MERGEABLE_SIZE, VnetHeader

_DESCRIPTORS, _AVAIL, _USED, _BUFFERS, _COUNT = 0x10000, 0x20000, 0x30000, 0x100000, 1024
_STRIDE = 2048
_PIECES = 4
_NEXT = 1
_PAUSE = 0.0001
_STEPS = (1, 3, 11, 15)  # of the device status


class _Nobody:
    """Interrupts and messages that nobody takes."""

    native = ffi.new("struct pk_line *")

    def set(self, level: bool) -> None:
        """The interrupt line."""

    def send(self, address: int, data: int) -> None:
        """A message."""

    def connect(self, fd: int, address: int, data: int) -> None:
        """Messages by eventfd."""

    def disconnect(self, fd: int) -> None:
        """No more."""


class _Kept:
    """Kicks whose eventfd is kept: it is ours to signal."""

    fd = -1

    def listen(self, fd: int, address: int, *, io: bool, value: int | None = None) -> None:
        self.fd = fd

    def ignore(self, fd: int) -> None:
        """No more."""

    def native(self, fd: int) -> None:
        """There is no guest whose kicks could exit."""


class VirtioHarness:
    """A transmit queue of 1,024 entries over the TAP; a context manager."""

    def __init__(self) -> None:
        self._memory = GuestMemory(8 << 20)
        self._kicks = _Kept()
        nobody = _Nobody()
        loop = NoLoop()
        self._tap = TapNet(network.NAME, loop, lambda line: None)
        card = Net(SOURCE, self._tap, NativeEngine)
        around = Surroundings(
            nobody, loop, self._memory, nobody, kicks=self._kicks
        )  # fmt: skip
        self._function = VirtioPci("virtio-net-0", card, around, transport="modern")
        self._function.config.on_change = lambda offset, size: self._function.config_changed()
        self._function.config.write(0x04, 2, 0x6)
        self._function.placed({4: 0})
        self._view = self._memory.view(0, self._memory.size).cast("H")

    def __enter__(self) -> VirtioHarness:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._function.close()
        self._tap.close()
        self._view.release()
        self._memory.close()

    def _up(self) -> None:
        """What a driver does, once the ring is filled."""
        device = self._function.device
        queue = device.queues[1]
        for name, address in (("descriptors", _DESCRIPTORS), ("driver", _AVAIL), ("device", _USED)):
            queue.set(name, address)
        features = Ring.VERSION_1 | Ring.EVENT_IDX | Feature.CSUM | Feature.HOST_TSO4
        for step in _STEPS:
            device.accept(int(features), legacy=False)
            if step & 4:
                device.enable(queue, legacy=False)
            device.write_status(step, legacy=False)

    def _fill(self, rows: list[bytes], heads: list[int]) -> None:
        self._memory.write(_DESCRIPTORS, b"".join(rows))
        self._heads = len(heads)
        ring = struct.pack(f"<{_COUNT}H", *(heads[n % len(heads)] for n in range(_COUNT)))
        self._memory.write(_AVAIL + 4, ring)
        self._up()

    def filled(self, kind: str) -> VirtioHarness:
        """Fill the ring with what ``kind`` sends."""
        if kind == "tx-tso":
            self.fill_requests()
        else:
            self.fill_frames(plain_frame(int(kind.split("-")[1])))
        return self

    def fill_frames(self, frame: bytes) -> None:
        """Every chain sends ``frame``, each from a place of its own."""
        header = VnetHeader().pack().ljust(MERGEABLE_SIZE, b"\0")
        places = 256
        for n in range(places):
            self._memory.write(_BUFFERS + n * _STRIDE, header + frame)
        size = len(header) + len(frame)
        rows = [
            struct.pack("<QIHH", _BUFFERS + n % places * _STRIDE, size, 0, 0) for n in range(_COUNT)
        ]
        self._fill(rows, list(range(_COUNT)))

    def fill_requests(self) -> None:
        """Every chain sends a request for segmentation: header and headers, then the data."""
        frame, header = tcp_request()
        head = header.pack().ljust(MERGEABLE_SIZE, b"\0") + frame[:54]
        self._memory.write(_BUFFERS, head)
        self._memory.write(_BUFFERS + 4096, frame[54:])
        part = (len(frame) - 54) // _PIECES
        pieces = [(_BUFFERS, len(head))]
        pieces += [(_BUFFERS + 4096 + n * part, part) for n in range(_PIECES)]
        rows, heads = [], []
        for first in range(0, _COUNT - len(pieces), len(pieces)):
            heads.append(first)
            for n, (address, length) in enumerate(pieces):
                more = n + 1 < len(pieces)
                rows.append(struct.pack("<QIHH", address, length, _NEXT * more, first + n + 1))
        # As many chains as divide the ring, so that entry n always has the same.
        self._fill(rows, heads[: 1 << len(heads).bit_length() - 1])

    def send(self, frames: int, batch: int) -> None:
        """Offer ``batch`` chains at a time, as far as the ring has room, until all are sent."""
        view = self._view
        avail, used = (_AVAIL + 2) // 2, (_USED + 2) // 2
        event = (_USED + 4 + 8 * _COUNT) // 2
        idx = view[avail]
        for _ in range(0, frames, batch):
            while self._heads - (idx - view[used] & 0xFFFF) < batch:
                time.sleep(_PAUSE)
            old, idx = idx, idx + batch & 0xFFFF
            view[avail] = idx
            if (idx - view[event] - 1) & 0xFFFF < (idx - old) & 0xFFFF:
                os.eventfd_write(self._kicks.fd, 1)
        while view[used] != idx:
            time.sleep(_PAUSE / 10)
