"""One suite over both engines of the e1000: C must do what the Python reference does.

The same random rings, registers and frames go through a card with either engine; frames sent, guest
memory, registers (causes and statistics among them) and what is left unfinished must come out the
same.
"""

import re
import struct
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pykvm.devices.e1000 import registers as r
from pykvm.devices.e1000.native import NativeEngine
from pykvm.devices.e1000.reference import ReferenceEngine
from pykvm.memory import GuestMemory
from pykvm.net.checksum import checksum
from pykvm.net.vnet import GSO_NONE, NEEDS_CSUM, Offload, VnetHeader
from tests.unit.e1000.conftest import (
    DEXT,
    EOP,
    IC,
    IDE,
    MAC,
    RS,
    TSE,
    TX_BUFFERS,
    TX_RING,
    VLE,
    Bench,
    Cable,
    SocketCable,
    frame,
)  # fmt: skip
from tests.unit.e1000.test_e1000_frames import tcp_frame

RING = 32
MEMORY = 1 << 20
INLINE = partial(NativeEngine, threaded=False)


class Side:
    """A card with either engine, and what its backend got: (header, frame) pairs, finished."""

    def __init__(
        self, *, native, offloads=Offload.CSUM | Offload.TSO4 | Offload.TSO6, coalesce=False
    ):
        self.memory = GuestMemory(MEMORY)
        cable = SocketCable() if native else Cable()
        cable.offloads = offloads
        engine = partial(INLINE, coalesce=coalesce) if native else ReferenceEngine
        self.bench = Bench(self.memory, engine=engine, cable=cable)
        self.frames = []

    def close(self):
        self.bench.card.close()
        self.bench.cable.close()
        del self.bench
        self.memory.close()

    def kick(self):
        """The doorbell; returns whether the device complained."""
        cable = self.bench.cable
        complained = self.bench.kick() is not None
        for header, data in zip(cable.headers, cable.sent, strict=True):
            self.frames.append(finished(header or VnetHeader(), data))
        cable.headers.clear()
        cable.sent.clear()
        return complained


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


def same(ours, reference):
    """Everything that can be observed from outside is the same."""
    assert ours.frames == reference.frames
    assert ours.memory.read(0, MEMORY) == reference.memory.read(0, MEMORY)
    assert dict(ours.bench.card.state()) == dict(reference.bench.card.state())


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
    st.one_of(
        st.integers(0, 2000),
        st.sampled_from([0, 1, 11, 12, 13, 14, 59, 60, 1514, 4000, 70_000, 0xFFFFF]),
    ),
    st.sampled_from([EOP | RS, EOP, RS, 0, EOP | RS | IC, EOP | RS | TSE, EOP | RS | IDE,
                     EOP | RS | VLE, TSE | RS, EOP | TSE | VLE]),
    st.integers(0, 3),
    st.one_of(
        st.integers(TX_BUFFERS, TX_BUFFERS + 4096),
        # Not the ring itself: when a descriptor is written back is the card's business.
        st.sampled_from([TX_RING + 0x2000, MEMORY - 100, MEMORY, 1 << 40, 2**64 - 1]),
    ),
    contexts,
)  # fmt: skip
BITS = st.booleans()


@settings(max_examples=400, deadline=None)
@given(rows=st.lists(descriptors, min_size=1, max_size=RING - 1), batch=st.integers(1, 8),
       psp=BITS, vme=BITS, link=BITS, looped=BITS, offloads=BITS)  # fmt: skip
def test_they_transmit_the_same(rows, batch, psp, vme, link, looped, offloads):
    offers = Offload.CSUM | Offload.TSO4 | Offload.TSO6 if offloads else Offload.NONE
    sides = Side(native=True, offloads=offers), Side(native=False, offloads=offers)
    try:
        payload = tcp_frame(bytes(n * 11 & 0xFF for n in range(9000)))
        complaints = []
        for side in sides:
            bench = side.bench
            side.memory.write(TX_BUFFERS, payload)
            rctl = 0x2 | 1 << 15 | 1 << 3 | (1 << 6 if looped else 0)
            bench.start(tx=RING, rctl=rctl, tctl=0x2 | (0x8 if psp else 0))
            bench.card.set_link(link)
            bench.write("CTRL", bench.read("CTRL") | (1 << 30 if vme else 0))
            bench.write("IMS", 0x83)
            told = []
            for n, row in enumerate(rows):
                bench.put(descriptor(row[0], *row[1:]))
                if n % batch == batch - 1 or n == len(rows) - 1:
                    told.append(side.kick())
            complaints.append(told)
        assert complaints[0] == complaints[1]
        same(*sides)
    finally:
        for side in sides:
            side.close()


@settings(max_examples=60, deadline=None)
@given(tdlen=st.sampled_from([0, 16, 128, 512, 0xFFF80]), head=st.integers(0, 0xFFFF),
       tail=st.integers(0, 0xFFFF), base=st.sampled_from([TX_RING, MEMORY - 64, MEMORY, 1 << 50]),
       command=st.integers(0, 7))  # fmt: skip
def test_they_take_the_same_from_a_ring_that_makes_no_sense(tdlen, head, tail, base, command):
    sides = Side(native=True), Side(native=False)
    try:
        complaints = []
        for side in sides:
            bench = side.bench
            bench.card.config.write(0x04, 2, command)
            bench.write("TDBAL", base & 0xFFFFFFFF)
            bench.write("TDBAH", base >> 32)
            bench.write("TDLEN", tdlen)
            bench.write("TCTL", 2)
            bench.write("TDH", head & 0x1F if head & 1 else head)
            bench.card.put("TDT", tail & 0x1F if tail & 1 else tail)
            complaints.append(side.kick())
        assert complaints[0] == complaints[1]
        same(*sides)
    finally:
        for side in sides:
            side.close()


ADDRESSES = st.sampled_from([
    MAC, b"\xff" * 6, b"\x01\x00\x5e\x00\x00\x01", b"\x33\x33\0\0\0\x05", b"\x02\0\0\0\0\x77",
    b"\x52\x54\0\0\0\x02",
])  # fmt: skip


@st.composite
def wire_frames(draw):
    """Frames with good and bad headers, tagged or not, of all sizes."""
    destination = draw(ADDRESSES)
    kind = draw(st.sampled_from(["tcp", "tcp", "plain", "udp", "cut"]))
    size = draw(st.one_of(st.integers(0, 3000), st.sampled_from([14, 59, 60, 61, 1500, 9000])))
    if kind == "plain":
        made = frame(max(size, 14), destination)
    else:
        made = bytearray(tcp_frame(bytes(n * 7 & 0xFF for n in range(size))))
        made[:6] = destination
        if kind == "udp":
            made[23] = 17
        if kind == "cut":
            made = made[: draw(st.integers(14, len(made)))]
        if draw(BITS):
            at = draw(st.integers(12, len(made) - 1))
            made[at] ^= draw(st.integers(1, 255))
    if draw(BITS):
        made = made[:12] + bytes((0x81, 0, draw(st.integers(0, 255)), 5)) + made[12:]
    return bytes(made)


@settings(max_examples=400, deadline=None)
@given(frames=st.lists(wire_frames(), min_size=1, max_size=12), rctl=st.integers(0, 1 << 27),
       rxcsum=st.integers(0, 0x7FF), vme=BITS, mta=BITS, room=st.integers(0, RING - 1),
       null=BITS, outside=BITS)  # fmt: skip
def test_they_receive_the_same(frames, rctl, rxcsum, vme, mta, room, null, outside):
    sides = Side(native=True), Side(native=False)
    try:
        for side in sides:
            bench = side.bench
            # no loopback: that is the other direction
            bench.start(rx=RING, rctl=rctl & ~0xC0 | 0x2)
            if null:
                side.memory.write(0x11000 + 32, bytes(8))
            if outside:
                side.memory.write(0x11000 + 48, b"\xff" * 8)
            bench.write("RDT", room)
            bench.write("RXCSUM", rxcsum)
            bench.write("CTRL", bench.read("CTRL") | (1 << 30 if vme else 0))
            bench.write("VFTA", 1 << 5)
            if mta:
                for n in range(128):
                    bench.write("MTA", 0x55555555, n)
            bench.write("RAL", int.from_bytes(b"\x52\x54\0\0", "little"), 3)
            bench.write("RAH", 0x80000200, 3)
            bench.write("IMS", 0xFF)
            for data in frames:
                bench.receive(data)
        same(*sides)
    finally:
        for side in sides:
            side.close()


@settings(max_examples=200, deadline=None)
@given(steps=st.lists(st.tuples(st.sampled_from(["ICS", "IMS", "IMC", "ICR", "read", "command"]),
                                st.integers(0, 0x1FFFF)), max_size=30))  # fmt: skip
def test_they_raise_the_same_interrupts(steps):
    sides = Side(native=True), Side(native=False)
    try:
        seen = []
        for side in sides:
            bench, card = side.bench, side.bench.card
            rows = []
            for what, value in steps:
                if what == "read":
                    rows.append(bench.read("ICR"))
                elif what == "command":
                    card.config.write(0x04, 2, value & 0x400 | 7)
                else:
                    bench.write(what, value)
                status = card.config.read(0x06, 2)
                native = getattr(card.engine, "line_level", None)
                level = native() if native else bench.line.level
                rows.append((level, status, bench.read("IMS")))
            seen.append(rows)
        assert seen[0] == seen[1]
    finally:
        for side in sides:
            side.close()


def test_a_state_moves_from_either_engine_to_the_other(sides):
    for source, target in (sides, sides[::-1]):
        bench = source.bench
        bench.start(tx=RING)
        bench.context()
        bench.data(frame(100)[:40], RS, popts=2)  # the frame's end has not been rung in
        bench.kick()
        bench.write("ICS", 0x4)
        target.bench.card.restore(source.bench.card.state())
        assert dict(target.bench.card.state()) == dict(bench.card.state())


def test_a_segmentation_request_goes_to_the_kernel_in_one_write(sides):
    for side in sides:
        side.bench.start(tx=RING)
        whole = tcp_frame(bytes(5000))
        side.bench.context(paylen=5000, command=0x3 | TSE | RS)
        side.bench.data(whole[:54], RS | TSE, popts=0x3)
        side.bench.data(whole[54:], EOP | RS | TSE, popts=0x3, address=TX_BUFFERS + 4096)
        side.kick()
    ours, reference = sides
    assert len(ours.frames) == 1
    same(ours, reference)
    assert ours.bench.read("GPTC") == reference.bench.read("GPTC") == 4


def test_the_registers_of_c_are_those_of_the_table():
    header = (Path(__file__).parents[2] / "native" / "e1000_card.h").read_text()
    rows = re.findall(r"\bE_(\w+) = (0x[0-9A-F]+)", header)
    assert len(rows) > 30
    for name, offset in rows:
        assert name == "WINDOW" or r.REGISTERS[name].offset == int(offset, 16), name
    for register in ("CTRL", "RCTL", "TCTL", "RXCSUM"):
        for name, bit in re.findall(rf"\b{register}_(\w+) = 1 << (\d+)", header):
            assert r.REGISTERS[register][name].mask == 1 << int(bit), (register, name)
    for name, bit in re.findall(r"\bCAUSE_(\w+) = 1 << (\d+)", header):
        assert r.ICR[name].mask == 1 << int(bit), name
