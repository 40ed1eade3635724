"""A virtio device as its driver sees it: register windows, rings in memory, interrupts counted.

``Rig`` is the function with what stands around it; ``modern`` and ``legacy`` are drivers of it that
use nothing but configuration space and the windows.
"""

import select
import threading
import time

from pykvm.devices.virtio import registers as r
from pykvm.devices.virtio.pci import Surroundings, VirtioPci
from pykvm.memory import GuestMemory
from tests.support.fakes import Clock, Line
from tests.support.virtqueue import PackedDriver, SplitDriver

ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, NEEDS_RESET, FAILED = 1, 2, 4, 8, 64, 128
VERSION_1, PACKED, EVENT_IDX, INDIRECT, RING_RESET = 1 << 32, 1 << 34, 1 << 29, 1 << 28, 1 << 40
MEMORY = 1 << 20
RINGS, BUFFERS = 0x10000, 0x80000
NOWHERE = 0xE000_0000
COMMAND, MASTER = 4, 4
IO_BAR, MSIX_BAR, MODERN_BAR = 0, 1, 4
PATIENCE = 20  # seconds until a test gives up on a thread


class Loop(Clock):
    """A clock that also watches descriptors, while a test lets it."""

    def __init__(self):
        super().__init__()
        self.readers = {}

    def add_reader(self, fd, callback):
        self.readers[fd] = callback

    def remove_reader(self, fd):
        self.readers.pop(fd, None)

    def until(self, condition):
        """Deliver readiness and what is due until ``condition()``."""
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, "it never came"
            self.advance(0)
            ready = select.select(list(self.readers), [], [], 0.01)[0]
            for fd in ready:
                if fd in self.readers:
                    self.readers[fd]()


class Messages:
    """MSI-X messages, in order: (address, data)."""

    def __init__(self):
        self.sent = []

    def send(self, address, data):
        self.sent.append((address, data))


class Rig:
    """``kind`` in a slot of its own, with bus mastering on. ``told`` is what the user was told,
    ``traced`` what happened if ``trace`` is given."""

    def __init__(
        self, kind, *, transport="transitional", packed=True, trace=False, memory=MEMORY,
        kicks=None, messages=None, line=None,
    ):  # fmt: skip
        self.kind = kind
        self.memory = GuestMemory(memory)
        self.line, self.loop, self.messages = line or Line(), Loop(), messages or Messages()
        self.told, self.traced = [], []
        around = Surroundings(
            self.line, self.loop, self.memory, self.messages, kicks=kicks,
            trace=(lambda *what: self.traced.append(what)) if trace else None,
            report=lambda error: self.told.append(str(error)),
        )  # fmt: skip
        self.function = VirtioPci("device", kind, around, transport=transport, packed=packed)
        self.config = self.function.config
        self.device = self.function.device
        self.master(True)

    def master(self, on):
        """COMMAND's IO, MEM and MASTER."""
        self.config.write(COMMAND, 2, 3 | (MASTER if on else 0))
        self.function.config_changed()

    def enable_msix(self, on=True, masked=False):
        """MSI-X's enable and mask-all bits; all vectors get messages of their own."""
        at = self.capability(0x11)
        self.config.write(at + 2, 2, on << 15 | masked << 14)
        self.function.config_changed()
        if on:
            for vector in range(self.function.msix.table.vectors):
                self.vector(vector)

    def vector(self, number, *, masked=False):
        """Write an entry of the table: address 0xFEE00000, data 100 + number."""
        table = self.function.windows[MSIX_BAR]
        for at, value in ((0, 0xFEE0_0000), (4, 0), (8, 100 + number), (12, int(masked))):
            table.write(16 * number + at, 4, value)

    def vectors(self):
        """The vectors whose messages came since the last call."""
        came = [data - 100 for _, data in self.messages.sent]
        self.messages.sent.clear()
        return came

    def capability(self, kind, of_type=None):
        """Offset of a capability; for virtio's own (9) by cfg_type."""
        at = self.config.read(0x34, 1)
        while at:
            if self.config.read(at, 1) == kind and (
                of_type is None or self.config.read(at + 3, 1) == of_type
            ):
                return at
            at = self.config.read(at + 1, 1)
        raise AssertionError(f"no capability {kind:#x}")

    def close(self):
        """Gives back everything; fails when somebody still holds guest memory."""
        self.function.close()
        if hasattr(self.kind, "close"):
            self.kind.close()
        self.memory.close()


class _Driver:
    """What both drivers do. ``rings`` are the driver's sides of the queues, by number."""

    def __init__(self, rig, window):
        self.rig = rig
        self.window = rig.function.windows[window]
        self.registers = self.window.registers
        self.rings = {}
        self.next_ring = RINGS

    def get(self, name):
        register = self.registers[name]
        return self.window.read(register.offset, register.size)

    def put(self, name, value):
        register = self.registers[name]
        self.window.write(register.offset, register.size, value)

    @property
    def status(self):
        return self.get("STATUS")

    @status.setter
    def status(self, value):
        self.put("STATUS", value)

    def ring(self, kind, size):
        """Room for a ring in guest memory, cleared."""
        base = self.next_ring
        ring = kind(self.rig.memory, base, size)
        self.next_ring = (ring.end + 0x1FFF) & ~0xFFF
        self.rig.memory.fill(base, self.next_ring - base)
        return ring

    def offer(self, index, *pieces, kick=True, table=None):
        """Offer a chain of (address, length, write) on a queue; its token."""
        ring = self.rings[index]
        token = ring.add(list(pieces), table)
        assert token is not None, "the ring is full"
        ring.publish()
        if kick:
            self.kick(index)
        return token

    def used(self, index=0):
        return self.rings[index].used()

    def wait(self, index=0, count=1):
        """The next ``count`` used chains of a queue, letting the loop run."""
        got = []

        def enough():
            got.extend(self.used(index))
            return len(got) >= count

        self.rig.loop.until(enough)
        return got


class Modern(_Driver):
    """Drives the memory BAR."""

    def __init__(self, rig):
        super().__init__(rig, MODERN_BAR)
        self.features = 0

    def offered(self):
        low, high = (self._half(n) for n in range(2))
        return low | high << 32

    def _half(self, n):
        self.put("DEVICE_FEATURE_SELECT", n)
        return self.get("DEVICE_FEATURE")

    def accept(self, features):
        self.features = features
        for n in range(2):
            self.put("DRIVER_FEATURE_SELECT", n)
            self.put("DRIVER_FEATURE", features >> 32 * n & 0xFFFF_FFFF)

    def start(self, features=None, *, without=PACKED | EVENT_IDX, size=None, queues=None):
        """From reset to DRIVER_OK with ``features`` (all that is offered but ``without``)."""
        self.status = 0
        self.status = ACKNOWLEDGE
        self.status = ACKNOWLEDGE | DRIVER
        self.accept(self.offered() & ~without if features is None else features)
        self.status = ACKNOWLEDGE | DRIVER | FEATURES_OK
        assert self.status & FEATURES_OK
        for index in range(self.get("NUM_QUEUES")) if queues is None else queues:
            self.set_up(index, size)
        self.status = ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK
        return self

    def set_up(self, index, size=None, vector=None):
        """Place and enable a queue."""
        self.put("QUEUE_SELECT", index)
        size = size or min(self.get("QUEUE_SIZE"), 64)
        self.put("QUEUE_SIZE", size)
        ring = self.ring(PackedDriver if self.features & PACKED else SplitDriver, size)
        self.rings[index] = ring
        self.place(ring.descriptors, ring.driver, ring.device)
        if vector is not None:
            self.put("QUEUE_VECTOR", vector)
        self.put("QUEUE_ENABLE", 1)
        return ring

    def place(self, *addresses):
        """The selected queue's three areas."""
        for name, address in zip(("DESC", "DRIVER", "DEVICE"), addresses, strict=True):
            self.put(f"QUEUE_{name}_LO", address & 0xFFFF_FFFF)
            self.put(f"QUEUE_{name}_HI", address >> 32)

    def kick(self, index):
        self.put("QUEUE_SELECT", index)
        self.window.write(r.NOTIFY + self.get("QUEUE_NOTIFY_OFF") * r.NOTIFY_STEP, 2, index)

    def config(self, offset, size):
        return self.window.read(r.CONFIG + offset, size)

    def set_config(self, offset, size, value):
        self.window.write(r.CONFIG + offset, size, value)


class Legacy(_Driver):
    """Drives the I/O BAR."""

    def __init__(self, rig):
        super().__init__(rig, IO_BAR)

    def offered(self):
        return self.get("DEVICE_FEATURES")

    def start(self, features=None, *, without=EVENT_IDX, queues=(0,)):
        self.status = 0
        self.status = ACKNOWLEDGE
        self.status = ACKNOWLEDGE | DRIVER
        self.put("GUEST_FEATURES", self.offered() & ~without if features is None else features)
        for index in queues:
            self.set_up(index)
        self.status = ACKNOWLEDGE | DRIVER | DRIVER_OK
        return self

    def set_up(self, index):
        """Place a queue; its size is the device's word."""
        self.put("QUEUE_SELECT", index)
        size = self.get("QUEUE_SIZE")
        ring = self.ring(SplitDriver, size)
        ring.device = (ring.driver + 6 + 2 * size + 0xFFF) & ~0xFFF  # 2.7.2
        self.next_ring = (ring.device + 6 + 8 * size + 0xFFF) & ~0xFFF
        self.rig.memory.fill(ring.descriptors, self.next_ring - ring.descriptors)
        self.rings[index] = ring
        self.put("QUEUE_PFN", ring.descriptors >> 12)
        return ring

    def kick(self, index):
        self.put("QUEUE_NOTIFY", index)

    def config(self, offset, size):
        at = r.LEGACY_CONFIG_MSIX if self.rig.function.msix.enabled else r.LEGACY_CONFIG
        return self.window.read(at + offset, size)

    def set_config(self, offset, size, value):
        at = r.LEGACY_CONFIG_MSIX if self.rig.function.msix.enabled else r.LEGACY_CONFIG
        self.window.write(at + offset, size, value)


def threads(name):
    """How many threads of that name live."""
    return sum(thread.name == name for thread in threading.enumerate())
