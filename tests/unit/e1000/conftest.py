"""A card on a bench: fake interrupt line, time and cable, and a driver that fills its rings."""

import socket
import struct
from contextlib import suppress

import pytest

from pykvm.devices.e1000 import E1000
from pykvm.devices.e1000 import registers as r
from pykvm.devices.e1000.reference import ReferenceEngine
from pykvm.errors import DeviceError
from pykvm.memory import GuestMemory
from pykvm.net.vnet import SIZE, Offload, VnetHeader
from tests.support.fakes import Clock, Line

TX_RING, RX_RING, TX_BUFFERS, RX_BUFFERS = 0x10000, 0x11000, 0x20000, 0x80000
MAC = bytes.fromhex("525400123456")
EOP, IC, TSE, RS, DEXT, VLE, IDE = 0x01, 0x04, 0x04, 0x08, 0x20, 0x40, 0x80


class Cable:
    def __init__(self):
        self.offloads = Offload.NONE
        self.native_fd = None
        self.sent = []
        self.headers = []
        self.resumed = 0

    def connect(self, receiver):
        self.receiver = receiver

    def send(self, frame, header=None):
        self.sent.append(b"".join(frame))
        self.headers.append(header)

    def resume(self):
        self.resumed += 1

    def collect(self):
        """Everything is in ``sent`` already."""

    def close(self):
        pass


class SocketCable(Cable):
    """One that C writes to: a socket that keeps messages apart stands for the TAP."""

    def __init__(self):
        super().__init__()
        self.near, self.far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (self.near, self.far):
            end.setblocking(False)
        self.near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 23)
        self.native_fd = self.near.fileno()

    def collect(self):
        """Move what has come out into ``sent`` and ``headers``."""
        with suppress(BlockingIOError):
            while True:
                message = self.far.recv(1 << 19)
                self.headers.append(VnetHeader.unpack(message))
                self.sent.append(message[SIZE:])

    def close(self):
        self.near.close()
        self.far.close()


class Bench:
    """The card with its surroundings, driven by register names."""

    def __init__(self, memory, *, engine=ReferenceEngine, cable=None, doorbells=None, traced=True):
        self.memory = memory
        self.line, self.clock, self.cable = Line(), Clock(), cable or Cable()
        self.told, self.reported = [], []
        self.card = E1000(
            "e1000-0", MAC, irq=self.line, loop=self.clock, memory=memory, backend=self.cable,
            trace=(lambda what, details: self.told.append((what, details))) if traced else None,
            engine=engine, report=self.reported.append, doorbells=doorbells,
        )  # fmt: skip
        self.card.config.on_change = lambda offset, size: self.card.config_changed()
        self.card.config.write(0x04, 2, 0x7)  # I/O, memory, bus master
        self.tx_size = self.rx_size = 8

    def offset(self, name, n=0):
        register = r.REGISTERS[name]
        return register.offset + n * register.stride

    def write(self, name, value, n=0):
        self.card.write(self.offset(name, n), 4, value)

    def read(self, name, n=0):
        return self.card.read(self.offset(name, n), 4)

    def start(self, *, rctl=0x2 | 1 << 15 | 1 << 26, tctl=0x2, tx=8, rx=8):
        """Rings of ``tx`` and ``rx`` descriptors, both sides enabled; RX gets all but one."""
        self.tx_size, self.rx_size = tx, rx
        self.write("TDBAL", TX_RING)
        self.write("TDLEN", tx * 16)
        self.write("TCTL", tctl)
        self.write("RDBAL", RX_RING)
        self.write("RDLEN", rx * 16)
        for n in range(rx):
            self.memory.write(RX_RING + n * 16, struct.pack("<QQ", RX_BUFFERS + n * 16384, 0))
        self.write("RCTL", rctl)
        self.write("RDT", rx - 1)

    # -- the driver's side of transmitting ----------------------------------------------------

    def put(self, raw):
        """A raw descriptor at the tail; the doorbell is a step of its own."""
        tail = self.read("TDT")
        self.memory.write(TX_RING + tail * 16, raw)
        self.card.put("TDT", (tail + 1) % self.tx_size)

    def legacy(self, data, command=EOP | RS, *, cso=0, css=0, special=0, address=None):
        if address is None:
            address = TX_BUFFERS + self.read("TDT") * 8192
            self.memory.write(address, data)
        self.put(struct.pack("<QHBBBBH", address, len(data), cso, command, 0, css, special))

    def context(self, *, ipcss=14, ipcso=24, ipcse=33, tucss=34, tucso=50, tucse=0, paylen=0,
                command=0x3 | RS, hdrlen=54, mss=1460):  # fmt: skip
        word = paylen | (command | DEXT) << 24
        self.put(struct.pack("<BBHBBHIBBH", ipcss, ipcso, ipcse, tucss, tucso, tucse, word, 0,
                             hdrlen, mss))  # fmt: skip

    def data(self, data, command=EOP | RS, *, popts=0, special=0, address=TX_BUFFERS, length=None):
        if length is None:
            self.memory.write(address, data)
            length = len(data)
        word = length | 1 << 20 | (command | DEXT) << 24
        self.put(struct.pack("<QIBBH", address, word, 0, popts, special))

    def kick(self):
        """Ring the doorbell: TDT as it stands, and all turns that follow. Returns the DeviceError's
        text, if there is one."""
        told = len(self.reported)
        try:
            self.ring()
        except DeviceError as error:
            return str(error)
        finally:
            self.clock.advance(0)
            self.cable.collect()
        return str(self.reported[told]) if len(self.reported) > told else None

    def ring(self):
        """The doorbell alone: one turn. Raises DeviceError."""
        self.write("TDT", self.read("TDT"))

    def receive(self, data):
        """A frame from the wire."""
        with self.card.engine:
            self.card.engine.receive(data)

    def done(self, n):
        """Whether transmit descriptor ``n`` was written back."""
        return bool(self.memory.read(TX_RING + n * 16 + 12, 1)[0] & 1)

    # -- the driver's side of receiving -------------------------------------------------------

    def received(self, n):
        """(length, checksum, status, errors, special) of receive descriptor ``n``."""
        return struct.unpack("<HHBBH", self.memory.read(RX_RING + n * 16 + 8, 8))

    def buffer(self, n, length):
        return self.memory.read(RX_BUFFERS + n * 16384, length)


@pytest.fixture
def bench():
    with GuestMemory(4 << 20) as memory:
        yield Bench(memory)


def frame(size=60, destination=MAC, kind=b"\x88\xb5", source=b"\2\0\0\0\0\1"):
    """``size`` bytes without FCS, a counting payload."""
    body = bytes(n & 0xFF for n in range(max(size - 14, 0)))
    return (destination + source + kind + body)[:size]
