"""One suite over both transmit paths of the e1000: C must do what the Python reference does.

The same random rings go through a card whose backend C may write (a socket that keeps the
messages apart) and through one where only the reference is there; frames, guest memory, registers,
causes and statistics must come out the same.
"""

import socket
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pykvm.memory import GuestMemory
from pykvm.net.checksum import checksum
from pykvm.net.vnet import GSO_NONE, NEEDS_CSUM, SIZE, Offload, VnetHeader
from tests.unit.e1000.conftest import (
    DEXT,
    EOP,
    IC,
    IDE,
    RS,
    TSE,
    TX_BUFFERS,
    TX_RING,
    VLE,
    Bench,
    frame,
)  # fmt: skip
from tests.unit.e1000.test_e1000_frames import tcp_frame

RING = 32
MEMORY = 1 << 20


class Side:
    """A card over either path, and what its backend got: (header, frame) pairs, finished."""

    def __init__(self, native):
        self.memory = GuestMemory(MEMORY)
        self.bench = Bench(self.memory)
        self.bench.card.trace = None
        self.bench.cable.offloads = Offload.CSUM | Offload.TSO4 | Offload.TSO6
        self.near = self.far = None
        if native:
            self.near, self.far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            for end in (self.near, self.far):
                end.setblocking(False)
            self.near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 23)
            self.bench.cable.native_fd = self.near.fileno()
        self.frames = []
        self.native_frames = 0

    def close(self):
        for end in (self.near, self.far):
            if end is not None:
                end.close()
        self.memory.close()

    def kick(self):
        """The doorbell; returns whether the device complained."""
        sent = len(self.bench.cable.sent)
        complained = self.bench.kick() is not None
        python = list(
            zip(self.bench.cable.headers[sent:], self.bench.cable.sent[sent:], strict=True)
        )
        self.frames += [finished(header or VnetHeader(), data) for header, data in python]
        return complained

    def collect(self):
        """What C wrote since the last time. Order against the reference's frames is checked by
        kicking frame by frame."""
        while self.far is not None:
            try:
                message = self.far.recv(1 << 18)
            except BlockingIOError:
                return
            self.native_frames += 1
            header = VnetHeader.unpack(message)
            self.frames.append(finished(header, message[SIZE:]))


def finished(header, data):
    """A frame as it goes on the wire, with what is left to do for a segmented one."""
    if header.flags & NEEDS_CSUM and header.gso_type == GSO_NONE:
        out = bytearray(data)
        at = header.csum_start + header.csum_offset
        value = checksum(out[header.csum_start :])
        out[at : at + 2] = value.to_bytes(2, "big")
        return VnetHeader(), bytes(out)
    return header, data


@pytest.fixture
def sides():
    pair = Side(native=True), Side(native=False)
    yield pair
    for side in pair:
        side.close()


def descriptor(kind, length, command, popts, address, context):
    if kind == "legacy":
        return struct.pack("<QHBBBBH", address, length & 0xFFFF, context[1], command & ~DEXT, 0,
                           context[0], 0x2005)  # fmt: skip
    if kind == "data":
        word = length | 1 << 20 | (command | DEXT) << 24
        return struct.pack("<QIBBH", address, word, 0, popts, 0x2005)
    ipcss, ipcso, ipcse, tucss, tucso, tucse, paylen, tucmd, hdrlen, mss = context
    word = paylen | (tucmd | DEXT | command & (RS | IDE)) << 24
    return struct.pack(
        "<BBHBBHIBBH", ipcss, ipcso, ipcse, tucss, tucso, tucse, word, 0, hdrlen, mss
    )


SENSIBLE = (14, 24, 33, 34, 50, 0, 3000, 0x3, 54, 1000)
contexts = st.one_of(
    st.just(SENSIBLE),
    st.tuples(
        st.integers(0, 60), st.integers(0, 60), st.integers(0, 99), st.integers(0, 80),
        st.integers(0, 90), st.sampled_from([0, 0, 60]), st.integers(0, 5000), st.integers(0, 3),
        st.integers(0, 255), st.sampled_from([0, 1, 100, 1460, 9000]),
    ),
)  # fmt: skip
descriptors = st.tuples(
    st.sampled_from(["legacy", "legacy", "data", "data", "context"]),
    st.one_of(st.integers(0, 2000), st.sampled_from([0, 1, 13, 14, 59, 60, 1514, 4000, 70_000])),
    st.sampled_from([EOP | RS, EOP, RS, 0, EOP | RS | IC, EOP | RS | TSE, EOP | RS | IDE,
                     EOP | RS | VLE, TSE | RS]),
    st.integers(0, 3),
    st.one_of(
        st.integers(TX_BUFFERS, TX_BUFFERS + 4096),
        st.sampled_from([0, MEMORY - 100, MEMORY, 1 << 40, 2**64 - 1]),
    ),
    contexts,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(rows=st.lists(descriptors, min_size=1, max_size=RING - 1), batch=st.integers(1, 8),
       psp=st.booleans(), vme=st.booleans())  # fmt: skip
def test_c_and_the_reference_do_the_same(rows, batch, psp, vme):
    sides = Side(native=True), Side(native=False)
    try:
        payload = tcp_frame(bytes(n * 11 & 0xFF for n in range(9000)))
        complaints = []
        for side in sides:
            bench = side.bench
            side.memory.write(TX_BUFFERS, payload)
            bench.start(tx=RING, tctl=0x2 | (0x8 if psp else 0))
            bench.write("CTRL", bench.read("CTRL") | (1 << 30 if vme else 0))
            told = []
            for n, row in enumerate(rows):
                bench.put(descriptor(row[0], *row[1:]))
                if n % batch == batch - 1 or n == len(rows) - 1:
                    told.append(side.kick())
            side.collect()
            complaints.append(told)
        ours, reference = sides
        assert sorted(ours.frames) == sorted(reference.frames)
        assert complaints[0] == complaints[1]
        assert ours.memory.read(0, MEMORY) == reference.memory.read(0, MEMORY)
        a, b = (dict(side.bench.card.state()) for side in sides)
        assert a == b
    finally:
        for side in sides:
            side.close()


def test_the_frames_that_are_most_of_them_go_through_c_in_order(sides):
    for side in sides:
        side.bench.start(tx=RING)
        for n in range(20):
            side.bench.legacy(frame(60 + n))
        side.kick()
        side.collect()
    ours, reference = sides
    assert ours.native_frames == 20
    assert ours.frames == reference.frames


def test_a_segmentation_request_goes_through_c_in_one_write(sides):
    for side in sides:
        side.bench.start(tx=RING)
        whole = tcp_frame(bytes(5000))
        side.bench.context(paylen=5000, command=0x3 | TSE | RS)
        side.bench.data(whole[:54], RS | TSE, popts=0x3)
        side.bench.data(whole[54:], EOP | RS | TSE, popts=0x3, address=TX_BUFFERS + 4096)
        side.kick()
        side.collect()
    ours, reference = sides
    assert ours.native_frames == 1
    assert ours.frames == reference.frames
    assert ours.bench.read("GPTC") == reference.bench.read("GPTC") == 4


def test_a_frame_for_the_reference_does_not_stop_the_ones_around_it(sides):
    for side in sides:
        side.bench.start(tx=RING)
        for n in range(9):
            side.bench.legacy(frame(60 + n), EOP | RS | (IC if n == 4 else 0), cso=24, css=14)
        side.kick()
        side.collect()
    ours, reference = sides
    assert ours.native_frames == 8
    assert sorted(ours.frames) == sorted(reference.frames)
    assert ours.memory.read(TX_RING, 256) == reference.memory.read(TX_RING, 256)
