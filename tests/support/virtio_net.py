"""A virtio-net card with either engine on a bench: its cable's other end, and what its driver does.

For C a socket pair that keeps messages apart stands for each queue pair's TAP.
"""

import socket
import struct
from functools import partial
from itertools import pairwise

from pykvm.devices.virtio.net import Net
from pykvm.devices.virtio.net.features import Feature
from pykvm.devices.virtio.net.native import NativeEngine
from pykvm.devices.virtio.net.reference import ReferenceEngine
from pykvm.net.finish import finish
from pykvm.net.vnet import SIZE, Offload, VnetHeader
from tests.support.virtio_driver import BUFFERS, NEEDS_RESET, Legacy, Modern, Rig

MAC = bytes.fromhex("525400123456")
RX, TX, CONTROL = 0, 1, 2
OK, ERR = 0, 1
STANDARD = Offload.CSUM | Offload.TSO4 | Offload.TSO6
CONTROLS = (
    Feature.CTRL_VQ | Feature.CTRL_RX | Feature.CTRL_RX_EXTRA | Feature.CTRL_VLAN
    | Feature.CTRL_MAC_ADDR | Feature.GUEST_ANNOUNCE | Feature.STATUS | Feature.CTRL_GUEST_OFFLOADS
)  # fmt: skip


class Cable:
    """The backend, and whoever is at the other end of it. ``sent`` has the frames as they went on
    the wire; ``requests`` the headers that asked for something."""

    def __init__(self, *, native, pairs=1, offloads=STANDARD):
        self.offloads = offloads
        self.ends = []
        if native:
            kind = socket.AF_UNIX, socket.SOCK_SEQPACKET
            self.ends = [socket.socketpair(*kind) for _ in range(pairs)]
        for end in (end for pair in self.ends for end in pair):
            end.setblocking(False)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
        self.native_fds = [near.fileno() for near, _ in self.ends]
        self.native_fd = self.native_fds[0] if native else None
        self.header, self.receive_offloads, self.pairs = SIZE, Offload.NONE, pairs
        self.receiver = None
        self.waiting = []
        self.sent, self.requests = [], []

    def tune(self, header, receive, pairs):
        self.header, self.receive_offloads, self.pairs = header, receive, pairs

    def connect(self, receiver):
        self.receiver = receiver

    def send(self, frame, header=None):
        self._went(header or VnetHeader(), b"".join(frame))

    def _went(self, header, frame):
        if header.needs:
            self.requests.append(header)
        self.sent += finish(header, frame)

    def collect(self):
        """What C has sent since the last call."""
        for _, far in self.ends:
            while True:
                try:
                    message = far.recv(1 << 19)
                except BlockingIOError:
                    break
                self._went(VnetHeader.unpack(message), message[self.header :])

    def arrive(self, frame, header=b"", pair=0):
        """A frame from the other end."""
        if self.ends:
            self.ends[pair][1].send(header.ljust(self.header, b"\0") + frame)
        else:
            self.waiting.append(frame)
            self.resume()

    def resume(self):
        while self.waiting and self.receiver.can_receive():
            self.receiver.receive(self.waiting.pop(0))

    def close(self):
        for end in (end for pair in self.ends for end in pair):
            end.close()
        self.ends = []


class Bench:
    """A card, its driver and its cable. ``chains`` are each queue's by token; ``features`` are
    offered on top."""

    def __init__(
        self, *, native, transport="modern", pairs=1, entries=1024, offloads=STANDARD, mtu=1500,
        packed=True, memory=2 << 20, trace=False, features=0, **rig,
    ):  # fmt: skip
        self.native = native
        self.cable = Cable(native=native, pairs=pairs, offloads=offloads)
        engine = partial(NativeEngine, **rig.pop("engine", {})) if native else ReferenceEngine
        self.card = Net(MAC, self.cable, engine, pairs=pairs, entries=entries, mtu=mtu)
        self.card.features |= features
        self.rig = Rig(
            self.card, transport=transport, packed=packed, trace=trace, memory=memory, **rig
        )
        self.memory = self.rig.memory
        self.driver = (Legacy if transport == "legacy" else Modern)(self.rig)
        self.next_buffer = BUFFERS
        self.chains = {}

    def close(self):
        self.rig.close()
        self.card.close()
        self.cable.close()

    def start(self, features, **options):
        self.driver.start(int(features), **options)
        return self

    @property
    def broken(self):
        return bool(self.driver.status & NEEDS_RESET)

    def interrupted(self):
        """Whether INTA# has been raised; reading clears."""
        return bool(self.driver.get("ISR") & 1)

    def room(self, length):
        """Fresh memory."""
        at = self.next_buffer
        self.next_buffer += length
        assert self.next_buffer <= self.memory.slots[0].size
        return at

    def place(self, data, cuts=()):
        """``data`` in memory, in pieces that end at ``cuts``."""
        edges = [0, *sorted({cut for cut in cuts if 0 < cut < len(data)}), len(data)]
        pieces = []
        for start, end in pairwise(edges):
            at = self.room(end - start)
            self.memory.write(at, data[start:end])
            pieces.append((at, end - start, False))
        return pieces

    def give(self, queue, pieces, indirect=False):
        """Offer a chain and kick; its token, or None when the ring is full."""
        ring = self.driver.rings[queue]
        table = None
        if indirect:
            self.next_buffer = self.next_buffer + 15 & ~15
            table = self.room(16 * len(pieces))
        token = ring.add(pieces, table)
        if token is not None:
            self.chains[queue, token] = pieces
            ring.publish()
            self.driver.kick(queue)
            self.cable.collect()
        return token

    def send(self, frame, header=b"", cuts=(), queue=TX, **how):
        data = header.ljust(self.header, b"\0") + frame
        return self.give(queue, self.place(data, cuts), **how)

    def offer(self, *sizes, queue=RX, **how):
        """A receive chain with pieces of these sizes."""
        return self.give(queue, [(self.room(size), size, True) for size in sizes], **how)

    @property
    def header(self):
        return 12 if self.rig.device.features & (1 << 32 | Feature.MRG_RXBUF) else SIZE

    def arrive(self, frame, **how):
        self.cable.arrive(frame, **how)
        self.work()

    def work(self):
        """Let C look; the reference does at once."""
        if self.native:
            self.card.engine.work()
            self.cable.collect()

    def used(self, queue):
        """[(token, written, what was written)]."""
        got = []
        for token, written in self.driver.used(queue):
            pieces = self.chains.pop((queue, token))
            data = b"".join(self.memory.read(at, size) for at, size, write in pieces if write)
            got.append((token, written, data[:written]))
        return got

    def frames(self, queue=RX):
        """Frames that the driver has received, put together; [(header, frame)]."""
        got = self.used(queue)
        frames = []
        while got:
            _, _, data = got.pop(0)
            count = struct.unpack_from("<H", data, 10)[0] if self.header > SIZE else 1
            for _ in range(count - 1):
                data += got.pop(0)[2]
            frames.append((data[: self.header], data[self.header :]))
        return frames

    def command(self, kind, command, data=b"", queue=CONTROL):
        """A control command; its acknowledgement, or None when none came."""
        pieces = [*self.place(bytes((kind, command)) + data), (self.room(1), 1, True)]
        self.memory.write_u8(pieces[-1][0], 0xEE)
        self.give(queue, pieces)
        for _, _, answer in self.used(queue):
            return answer[0]
        return None
