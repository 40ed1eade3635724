"""The seam inside the card: what the driver agreed on, here; what moves frames, there.

``native.py`` has a thread in C for each pair of queues, ``reference.py`` does the same in Python on
the thread that kicks. One suite runs over both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from pykvm.devices.netcounts import NetCounts
from pykvm.devices.virtio.device import VirtioDevice
from pykvm.devices.virtio.net.filters import Filters
from pykvm.devices.virtio.queue import Queue
from pykvm.interfaces import NetBackend
from pykvm.net.vnet import Offload
from pykvm.record import Record

LARGEST = 65535 + 18
"""Bytes of the largest frame either way: an IP packet behind an Ethernet header with a tag. More is
lost."""

MOST_CHAINS = 64
"""Mergeable buffers that one frame may take."""


class Session(Record):
    """What an engine works with between a start and a stop."""

    header: int  # bytes in front of each frame
    mergeable: bool
    longest: int  # bytes of a frame that comes in as it was on the wire
    receive: Offload  # what may come to the driver unfinished
    requests: int  # what the driver may leave unfinished: see VnetHeader.admitted
    pairs: list[tuple[Queue, Queue]]  # receive and transmit queues in use; some may have no ring
    filters: Filters
    link: bool


class Engine(Protocol):
    """Moves frames between rings and backend while it runs."""

    def start(self, session: Session) -> None:
        """Take over the rings."""

    def stop(self) -> None:
        """Give the rings back, with everything pushed that is used. Idempotent."""

    def counts(self) -> list[NetCounts]:
        """What C has done, one for each pair of queues; empty where C does not move the frames."""

    def kicked(self, queue: Queue) -> None:
        """The driver kicked a receive or transmit queue."""

    def close(self) -> None:
        """Give back what it holds of the host's, once stopped. Idempotent."""


Make = Callable[[VirtioDevice, NetBackend], Engine]
