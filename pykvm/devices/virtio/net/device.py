"""virtio-net as a device type: configuration, features, queues and their roles, link."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import IntFlag
from typing import Any

from pykvm.devices.netcounts import NetCounts
from pykvm.devices.virtio.device import VirtioDevice
from pykvm.devices.virtio.features import Ring
from pykvm.devices.virtio.net import features as f
from pykvm.devices.virtio.net.control import Control
from pykvm.devices.virtio.net.engine import Engine, Make, Session
from pykvm.devices.virtio.net.features import Feature
from pykvm.devices.virtio.net.filters import Filters
from pykvm.devices.virtio.queue import Queue
from pykvm.interfaces import NetBackend
from pykvm.net.vnet import Offload

ENTRIES, CONTROL_ENTRIES = 1024, 64
MAX_PAIRS = 8
DEFAULT_MTU = 1500
_LINK_UP, _ANNOUNCE = 1, 2
_MAC_SIZE = 6
_ETHERNET = 18  # bytes of the header, with a tag


class Net:
    """A card with ``mac`` over ``backend``, of at most ``pairs`` queue pairs with rings of at most
    ``entries`` each, a power of two up to 32768; see ``device.Type``.

    ``make`` makes the engine once the device is known, which does without the features
    ``withheld``.
    """

    kind = 1
    class_code = 0x020000
    flags: type[IntFlag] = Feature
    needs: Mapping[int, int] = f.NEEDS
    config_size = 12
    device: VirtioDevice

    def __init__(
        self, mac: bytes, backend: NetBackend, make: Make, *, pairs: int = 1,
        entries: int = ENTRIES, mtu: int = DEFAULT_MTU, withheld: int = 0,
    ) -> None:  # fmt: skip
        self.mac, self.mtu, self.pairs = mac, mtu, pairs
        self._backend = backend
        self._make = make
        self.engine: Engine | None = None
        self.features: int = f.ALWAYS | (Feature.MQ if pairs > 1 else 0)
        self.features |= Ring.IN_ORDER | Ring.ANY_LAYOUT
        if Offload.USO4 in backend.offloads:
            self.features |= Feature.HOST_USO | Feature.GUEST_USO4 | Feature.GUEST_USO6
        self.features = int(self.features) & ~withheld
        self.queue_sizes: Sequence[int] = [entries] * (2 * pairs) + [CONTROL_ENTRIES]
        self.link = True
        self._control = Control(self)
        self._forget()

    def attach(self, device: VirtioDevice) -> None:
        self.device = device
        self.engine = self._make(device, self._backend)

    def _forget(self) -> None:
        """What a reset forgets."""
        self.filters = Filters(self.mac)
        self.active = 1
        self._announcing = False
        self._offloads: int | None = None
        self._running = False

    # -- configuration (5.1.4) ----------------------------------------------------------------

    def _config(self) -> bytes:
        status = (_LINK_UP if self.link else 0) | (_ANNOUNCE if self._announcing else 0)
        words = b"".join(n.to_bytes(2, "little") for n in (status, self.pairs, self.mtu))
        return self.filters.mac + words

    def read_config(self, offset: int, size: int) -> int:
        return int.from_bytes(self._config()[offset : offset + size], "little")

    def write_config(self, offset: int, size: int, value: int) -> None:
        """Legacy drivers set their address here."""
        if offset + size <= _MAC_SIZE and not self.device.has(Ring.VERSION_1):
            mac = bytearray(self.filters.mac)
            mac[offset : offset + size] = value.to_bytes(size, "little")
            self.filters.mac = bytes(mac)
            self.filters_changed()

    # -- queues (5.1.2) -----------------------------------------------------------------------

    @property
    def _control_index(self) -> int:
        """The control queue comes after as many pairs as the driver knows of."""
        return 2 * self.pairs if self.device.has(Feature.MQ) else 2

    def kicked(self, queue: Queue) -> None:
        if queue.index == self._control_index:
            if self.device.has(Feature.CTRL_VQ):
                self.device.serve(queue, self._control.answer)
        elif self._running and self.engine is not None and queue.index < 2 * self.active:
            self.engine.kicked(queue)

    def queue_started(self, queue: Queue) -> None:
        with self._paused():
            """The engine takes it up when it goes on."""

    def queue_stopped(self, queue: Queue) -> None:
        self._halt()
        queue.ring = None
        self._go()

    # -- life ---------------------------------------------------------------------------------

    def start(self) -> None:
        self.filters.by_vlan = self.device.has(Feature.CTRL_VLAN)
        self._go()

    def stop(self) -> None:
        self._halt()
        self._forget()

    def counts(self) -> list[NetCounts]:
        """See ``engine.Engine``; from any thread, with the machine's lock."""
        return self.engine.counts() if self.engine is not None else []

    def close(self) -> None:
        """Give back what the engine holds, once the function is closed and no vCPU runs any more.
        Idempotent."""
        if self.engine is not None:
            self.engine.close()

    def _go(self) -> None:
        device = self.device
        if self._running or self.engine is None or not device.live or not device.dma.allowed:
            return
        features = device.features
        if self._offloads is not None:
            features = features & ~sum(map(int, f.RECEIVE)) | self._offloads
            features |= Feature.GUEST_CSUM if self._offloads else 0
        self._running = True
        self.engine.start(
            Session(
                header=f.header_size(device.features),
                mergeable=device.has(Feature.MRG_RXBUF),
                longest=self.mtu + _ETHERNET,
                receive=f.receive_offloads(features),
                requests=f.requests(device.features),
                pairs=[
                    (device.queues[2 * n], device.queues[2 * n + 1]) for n in range(self.active)
                ],
                filters=self.filters,
                link=self.link,
            )
        )

    def _halt(self) -> None:
        if self._running and self.engine is not None:
            self._running = False
            self.engine.stop()

    @contextmanager
    def _paused(self) -> Iterator[None]:
        """Nothing moves meanwhile, and what was changed holds afterwards."""
        self._halt()
        yield
        self._go()

    def pause(self) -> Callable[[], None]:
        self._halt()
        return self._go

    # -- what changes -------------------------------------------------------------------------

    def filters_changed(self) -> bool:
        """Always True, for the control queue's answers."""
        with self._paused():
            return True

    def use_pairs(self, pairs: int) -> None:
        """The driver uses that many pairs."""
        with self._paused():
            self.active = pairs

    def use_offloads(self, features: int) -> None:
        """The driver takes these unfinished."""
        with self._paused():
            self._offloads = features

    def set_link(self, up: bool) -> None:
        """Plug the cable in, or pull it; a driver that can is asked to announce itself again."""
        if up == self.link:
            return
        with self._paused():
            self.link = up
        self._announcing = up and self.device.has(Feature.GUEST_ANNOUNCE)
        if self.device.has(Feature.STATUS):
            self.device.config_changed()

    def announced(self) -> None:
        """The driver did."""
        self._announcing = False

    # -- state --------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        return {
            "filters": self.filters.state(), "active": self.active, "link": self.link,
            "announcing": self._announcing, "offloads": self._offloads,
        }  # fmt: skip

    def restore(self, state: Any) -> None:
        self.filters.restore(state["filters"])
        self.active, self.link = state["active"], state["link"]
        self._announcing, self._offloads = state["announcing"], state["offloads"]
