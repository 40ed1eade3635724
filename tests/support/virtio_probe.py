"""A virtio device type for tests of what all types share, and what its driver expects of it."""

from enum import IntFlag

from pykvm.devices.virtio.device import VirtioDevice
from tests.support.virtio_driver import ACKNOWLEDGE, BUFFERS, DRIVER, FEATURES_OK, Legacy, Modern

READY = ACKNOWLEDGE | DRIVER | FEATURES_OK
NO_VECTOR = 0xFFFF
DRIVERS = [(Modern, {}), (Legacy, {}), (Legacy, {"transport": "legacy"}),
           (Modern, {"transport": "modern"})]  # fmt: skip


def served(driver, index=0):
    """Whether a chain on a queue is answered, with the bytes and the length that it should be."""
    driver.rig.memory.write(BUFFERS, bytes(16))
    token = driver.offer(index, (BUFFERS, 16, True))
    used = driver.used(index)
    return used == [(token, 6)] and driver.rig.memory.read(BUFFERS, 7) == b"answer\0"


class Own(IntFlag):
    """Features of the probe."""

    FIRST = 1 << 0
    SECOND = 1 << 5


class Probe:
    """A device type that answers each chain with ``answer`` and notes what it is told."""

    kind = 4
    class_code = 0x00FF00
    features = int(Own.FIRST | Own.SECOND)
    needs = {Own.SECOND: Own.FIRST}
    flags = Own
    queue_sizes = (64, 16, 8)
    config_size = 8
    device: VirtioDevice

    def __init__(self):
        self.calls = []
        self.written = []
        self.answer = b"answer"

    def attach(self, device):
        self.device = device

    def read_config(self, offset, size):
        return int.from_bytes(bytes(range(1, 9))[offset : offset + size], "little")

    def write_config(self, offset, size, value):
        self.written.append((offset, size, value))

    def start(self):
        self.calls.append("start")

    def stop(self):
        self.calls.append("stop")

    def queue_started(self, queue):
        self.calls.append(("queue started", queue.index))

    def queue_stopped(self, queue):
        self.calls.append(("queue stopped", queue.index))

    def kicked(self, queue):
        self.calls.append(("kicked", queue.index))
        self.device.serve(queue, lambda chain, turn: chain.write(self.answer))

    def pause(self):
        return lambda: None

    def state(self):
        return {"answer": self.answer}

    def restore(self, state):
        self.answer = state["answer"]

    def kicks(self):
        """Queues that were kicked since the last call."""
        kicked = [call[1] for call in self.calls if call[0] == "kicked"]
        self.calls.clear()
        return kicked
