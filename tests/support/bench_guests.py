"""Guest processes of ``pykvm bench net`` that do not do what they say.

python -m tests.support.bench_guests drop '{...}'      the card's frames, but not every tenth
python -m tests.support.bench_guests fake '{...}'      no machine: writes frames to the TAP, and
                                                       reports "late" of them too early
"""

import json
import os
import sys
import threading

from pykvm.bench import guest_process, network
from pykvm.bench.counts import Snapshot, now
from pykvm.machine import nics
from pykvm.net.frames import plain_frame
from pykvm.net.vnet import Offload, VnetHeader


class Dropping:
    """A network backend that loses every tenth frame."""

    native_fd = None
    offloads = Offload.NONE

    def __init__(self, inner):
        self._inner = inner
        self._count = 0

    def send(self, frame, header=None):
        self._count += 1
        if self._count % 10:
            self._inner.send(frame, header)

    def __getattr__(self, name):
        return getattr(self._inner, name)


def drop(spec):
    opened = nics.open_net_backend
    nics.open_net_backend = lambda *args, **more: Dropping(opened(*args, **more))
    return guest_process.serve(spec)


def fake(spec):
    """The protocol of ``guest_process.py``, honest but for ``late`` and ``returns``."""
    count, late, off = spec["count"], spec.get("late", 0), spec.get("returns", 0)
    kernel = {"exits": 100, "fpu_reload": 100 + off, "irq_injections": 0}
    fd = network.attach()
    frame = VnetHeader().pack() + plain_frame(1514)

    def look():
        return Snapshot(now(), network.traffic(), kernel, (100, 101)).as_dict()

    def stream():
        for _ in range(count - late):
            os.write(fd, frame)
        guest_process.say(
            {"line": f"STREAM frames={count} segments={count} bytes={count * 1514} cycles=1000000",
             "at": look()}
        )  # fmt: skip
        for _ in range(late):
            os.write(fd, frame)

    guest_process.say({"line": "READY", "at": look()})
    typed = 0
    for command in sys.stdin:
        if command.strip() != "type":
            guest_process.say({"look": look()})
            continue
        guest_process.say({"typed": look()})
        typed += 1
        if typed == 1:
            worker = threading.Thread(target=stream)
            worker.start()
        else:
            worker.join()
            guest_process.say({"end": "the guest exited", "status": 1})
    os.close(fd)
    return 0


if __name__ == "__main__":
    sys.exit({"drop": drop, "fake": fake}[sys.argv[1]](json.loads(sys.argv[2])))
