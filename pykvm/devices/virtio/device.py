"""What every virtio device has, whatever its type and transport: status, features, queues.

A *type* (net, blk ...) says what it offers and works its rings. A *transport* (``pci.py``) gives
the driver registers for what is here, and carries interrupts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import IntFlag
from functools import partial
from typing import Any, Protocol

from pykvm.devices.pci.dma import BusMaster
from pykvm.devices.turns import Later, Turn
from pykvm.devices.virtio.features import LEGACY, names
from pykvm.devices.virtio.features import Ring as Feature
from pykvm.devices.virtio.packed import PackedRing
from pykvm.devices.virtio.queue import NO_VECTOR, Queue
from pykvm.devices.virtio.ring import Chain, Ring
from pykvm.devices.virtio.split import SplitRing
from pykvm.devices.virtio.status import Status
from pykvm.devices.virtio.traced import TracedRing
from pykvm.devices.virtio.wires import Wires
from pykvm.devices.virtio.writes import Write, advance, may
from pykvm.errors import DeviceError
from pykvm.interfaces import EventLoop

Trace = Callable[[str, dict[str, Any]], None]
"""Receives what happens inside: a name and its details."""

_ALWAYS = Feature.VERSION_1 | Feature.INDIRECT_DESC | Feature.EVENT_IDX | Feature.RING_RESET


class Type(Protocol):
    """A device type. Its methods are called with the machine's lock held."""

    kind: int
    """The device ID (chapter 5): 1 net, 2 block, 3 console, 4 entropy."""
    class_code: int
    """PCI's, three bytes."""
    features: int
    """What it offers of its own."""
    needs: Mapping[int, int]
    """Which feature makes sense with which others only."""
    flags: type[IntFlag]
    """Names for them."""
    queue_sizes: Sequence[int]
    """The largest size of each queue."""
    config_size: int
    """Bytes of its configuration space."""

    def attach(self, device: VirtioDevice) -> None:
        """The device that it is the type of."""

    def read_config(self, offset: int, size: int) -> int:
        """The driver reads its configuration space, little endian."""

    def write_config(self, offset: int, size: int, value: int) -> None:
        """The driver writes there."""

    def start(self) -> None:
        """DRIVER_OK: features are final, enabled queues have rings."""

    def stop(self) -> None:
        """A reset, or the driver broke a rule: let go of all chains and forget what was negotiated.
        Idempotent."""

    def queue_started(self, queue: Queue) -> None:
        """A queue became a ring after DRIVER_OK."""

    def queue_stopped(self, queue: Queue) -> None:
        """A queue is reset by itself (2.6.1): let go of its chains."""

    def kicked(self, queue: Queue) -> None:
        """The driver kicked."""

    def pause(self) -> Callable[[], None]:
        """Let nothing move by itself until the returned function is called; by then memory, DMA and
        interrupts may be reached otherwise than before. What was popped is used, or unpopped."""

    def state(self) -> dict[str, Any]:
        """What the guest could observe beyond status, features and queues."""

    def restore(self, state: Any) -> None:
        """The inverse, before ``start``."""


class VirtioDevice:
    """``interrupt(vector, config)`` is the transport's: for a queue, or for a configuration change.

    ``wires``, where the transport has them, carry kicks and interrupts without Python. ``report``
    is told what the driver did wrong; ``trace`` what happens.
    """

    def __init__(
        self, kind: Type, dma: BusMaster, loop: EventLoop, *,
        packed: bool = True, trace: Trace | None = None,
        report: Callable[[DeviceError], None] = lambda error: None,
    ) -> None:  # fmt: skip
        self.type = kind
        self.dma = dma
        self.loop = loop
        self.trace = trace
        self.report = report
        self.offered = int(kind.features | _ALWAYS | (Feature.RING_PACKED if packed else 0))
        self.queues = [Queue(n, largest) for n, largest in enumerate(kind.queue_sizes)]
        self.interrupt: Callable[[int, bool], None] = lambda vector, config: None
        self.wires: Wires | None = None
        self.features = 0
        self.status = Status(0)
        self.config_vector = NO_VECTOR
        self.generation = 0
        self._more = [Later(loop, partial(self._work, queue)) for queue in self.queues]
        kind.attach(self)

    def tell(self, what: str, details: dict[str, Any]) -> None:
        """Something for the trace."""
        if self.trace is not None:
            self.trace(what, details)

    @property
    def live(self) -> bool:
        """Whether the driver is up and has broken nothing."""
        return bool(self.status & Status.DRIVER_OK) and not self.status & Status.NEEDS_RESET

    def has(self, feature: int) -> bool:
        """Whether all bits of ``feature`` were negotiated."""
        return self.features & feature == feature

    def may(self, write: Write, *, legacy: bool) -> bool:
        """Whether the driver may write that now, by that interface."""
        return may(write, self.status, legacy=legacy)

    # -- the driver's steps -------------------------------------------------------------------

    def accept(self, features: int, *, legacy: bool) -> None:
        """The driver writes the features that it takes; ignored once they are final."""
        if self.may(Write.FEATURES, legacy=legacy):
            self.features = features & (self.offered & LEGACY if legacy else -1)

    def write_status(self, written: int, *, legacy: bool) -> None:
        """The driver takes a step, or resets with 0."""
        if written == 0:
            self.reset()
            return
        before = self.status
        self.status = advance(before, written, legacy=legacy, features_fit=self._features_fit())
        new = self.status & ~before
        if legacy and new & Status.DRIVER_OK:
            self.features &= self.offered & LEGACY  # nobody asked whether they fit
        if new & (Status.DRIVER_OK if legacy else Status.FEATURES_OK):
            self.tell("features", {"accepted": names(self.features, self.type.flags)})
        if new & Status.DRIVER_OK:
            self._begin()

    def _features_fit(self) -> bool:
        """Whether the device can work with what the driver took (2.2)."""
        whole = all(
            self.has(others) for one, others in self.type.needs.items() if self.features & one
        )
        known = not self.features & ~self.offered
        return known and whole and bool(self.features & Feature.VERSION_1)

    def _begin(self) -> None:
        try:
            for queue in self.queues:
                if queue.enabled:
                    self._make_ring(queue)
            self._run()
        except DeviceError as error:
            self.broke(error)

    def _run(self) -> None:
        self.type.start()
        self._look()

    def _look(self) -> None:
        """Serve what was offered before, which may have come without a kick."""
        for queue in self.queues:
            if queue.ring is not None:
                self.type.kicked(queue)

    def _make_ring(self, queue: Queue) -> None:
        make = PackedRing if self.has(Feature.RING_PACKED) else SplitRing
        ring: Ring = make(self.dma, queue.layout, self.features)
        queue.ring = TracedRing(ring, queue.index, self.trace) if self.trace is not None else ring

    def set_up(self, queue: Queue, name: str, value: int, *, legacy: bool) -> None:
        """The driver gives a queue its ``size``, or the place of one of its parts."""
        write = Write.QUEUE_SIZE if name == "size" else Write.QUEUE_PLACE
        if self.may(write, legacy=legacy):
            queue.set(name, value)

    def enable(self, queue: Queue, *, legacy: bool) -> None:
        """The driver has set a queue up."""
        if queue.enabled or not self.may(Write.QUEUE_ENABLE, legacy=legacy):
            return
        queue.enabled = True
        if self.live:
            try:
                self._make_ring(queue)
                self.type.queue_started(queue)
            except DeviceError as error:
                self.broke(error)

    def reset_queue(self, queue: Queue, *, legacy: bool) -> None:
        """The driver takes one queue back (2.6.1)."""
        if not self.may(Write.QUEUE_RESET, legacy=legacy):
            return
        if self.live and queue.enabled:
            self.type.queue_stopped(queue)
        self._more[queue.index].forget()
        queue.reset()

    def kick(self, index: int) -> None:
        """The driver has offered chains; numbers of no queue are ignored."""
        if not self.live or not 0 <= index < len(self.queues):
            return
        queue = self.queues[index]
        if queue.ring is not None:
            self.tell("kick", {"queue": index})
            self._work(queue)

    def _work(self, queue: Queue) -> None:
        """Let the type serve what is offered; also in a later turn, which no kick asked for."""
        if not self.live or queue.ring is None:
            return
        try:
            self.type.kicked(queue)
        except DeviceError as error:
            self.broke(error)

    # -- for types ----------------------------------------------------------------------------

    def serve(
        self, queue: Queue, answer: Callable[[Chain, Turn], int | None],
        first: Callable[[Turn], bool] = lambda turn: True,
    ) -> None:  # fmt: skip
        """Give each offered chain to ``answer`` and use it with the length that comes back; None
        leaves the chain to be pushed later. Kicks are off meanwhile. Raises RingError.

        A chain is a step of the turn; ``answer`` spends what it costs beyond that. When the turn
        is over the rest waits for another one. ``first`` goes on with what an answer has left to
        be done, and says whether that is done: there is no next chain before."""
        ring, more = queue.ring, self._more[queue.index]
        if ring is None or more.waits:
            return
        ring.disable_kicks()
        turn = Turn(self.loop)
        while not turn.over:
            turn.spend()
            if not first(turn):
                continue
            if queue.ring is not ring:
                return
            chain = ring.pop()
            if chain is None:
                self.flush(queue)
                if not ring.enable_kicks():
                    return
                ring.disable_kicks()
                continue
            written = answer(chain, turn)
            if queue.ring is not ring:  # what was answered broke the device, or reset it
                return
            if written is not None:
                ring.push(chain, written)
        self.flush(queue)
        more.ask()

    def flush(self, queue: Queue) -> None:
        """Show the driver what was pushed, with an interrupt if it wants one."""
        if queue.ring is not None and queue.ring.flush():
            self.interrupt(queue.vector, False)

    def config_changed(self) -> None:
        """The configuration space holds something new."""
        self.generation = (self.generation + 1) & 0xFF
        if self.live:
            self.interrupt(self.config_vector, True)

    def broke(self, error: DeviceError) -> None:
        """The driver broke a rule: nothing more happens until it resets the device (2.1.2)."""
        if self.status & Status.NEEDS_RESET:
            return
        self.status |= Status.NEEDS_RESET
        self._stop()
        for queue in self.queues:
            queue.ring = None
        if self.status & Status.DRIVER_OK:
            self.interrupt(self.config_vector, True)
        self.report(error)

    # -- life ---------------------------------------------------------------------------------

    def _stop(self) -> None:
        self.type.stop()
        for more in self._more:
            more.forget()

    def reset(self) -> None:
        """Back to before a driver found the device."""
        self._stop()
        self.status, self.features = Status(0), 0
        self.config_vector = NO_VECTOR
        for queue in self.queues:
            queue.reset()
            queue.vector = NO_VECTOR

    def rewired(self) -> None:
        """DMA was allowed or forbidden, or interrupts go another way."""
        try:
            self.type.pause()()
            if self.live and self.dma.allowed:
                self._look()
        except DeviceError as error:
            self.broke(error)

    def state(self) -> dict[str, Any]:
        resume = self.type.pause()
        state = {
            "status": int(self.status), "features": self.features, "generation": self.generation,
            "config_vector": self.config_vector, "type": self.type.state(),
            "queues": [queue.state() for queue in self.queues],
        }  # fmt: skip
        resume()
        return state

    def restore(self, state: Any) -> None:
        self._stop()
        self.status, self.features = Status(state["status"]), state["features"]
        self.generation, self.config_vector = state["generation"], state["config_vector"]
        self.type.restore(state["type"])
        for queue, saved in zip(self.queues, state["queues"], strict=True):
            queue.ring = None
            queue.restore(saved)
        if not self.live:
            return
        try:
            for queue, saved in zip(self.queues, state["queues"], strict=True):
                if queue.enabled:
                    self._make_ring(queue)
                    if queue.ring is not None and saved["ring"] is not None:
                        queue.ring.restore(saved["ring"])
            self._run()
        except DeviceError as error:
            self.broke(error)
