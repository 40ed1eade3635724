"""virtio-rng: random bytes from the host (VIRTIO 1.2, 5.4)."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from enum import IntFlag
from typing import Any

from pykvm.devices.turns import Turn
from pykvm.devices.virtio.device import VirtioDevice
from pykvm.devices.virtio.queue import Queue
from pykvm.devices.virtio.ring import Chain

_MOST = 4096  # bytes for one chain; drivers take what they get (5.4.6.1)


class Rng:
    """See ``device.Type``."""

    kind = 4
    class_code = 0x00FF00
    features = 0
    needs: Mapping[int, int] = {}
    flags: type[IntFlag] = IntFlag
    queue_sizes: Sequence[int] = (64,)
    config_size = 0
    _device: VirtioDevice

    def attach(self, device: VirtioDevice) -> None:
        self._device = device

    def read_config(self, offset: int, size: int) -> int:
        return 0

    def write_config(self, offset: int, size: int, value: int) -> None:
        """There is none."""

    def start(self) -> None:
        """Nothing runs by itself."""

    def stop(self) -> None:
        """No chain is ever kept."""

    def queue_started(self, queue: Queue) -> None:
        """Its first kick will come."""

    def queue_stopped(self, queue: Queue) -> None:
        """No chain is ever kept."""

    def kicked(self, queue: Queue) -> None:
        self._device.serve(queue, _fill)

    def pause(self) -> Callable[[], None]:
        return _nothing

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: Any) -> None:
        """There is none."""


def _nothing() -> None:
    """Nothing runs by itself."""


def _fill(chain: Chain, turn: Turn) -> int:
    written = chain.write(os.urandom(min(chain.writable_size, _MOST)))
    turn.spend(written)
    return written
