"""A card with ``coalesce=on``: C merges as the reference says, and hides it from the guest."""

import threading
import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pykvm.net.coalesce import coalesce
from pykvm.net.vnet import NEEDS_CSUM, SIZE, VnetHeader
from tests.contract.test_e1000_engines import Side, descriptor, descriptors, finished
from tests.contract.test_e1000_thread import PATIENCE, ring
from tests.support.flows import Flow, cut, finish, traffic
from tests.unit.e1000.conftest import EOP, IC, RS, TSE, TX_BUFFERS, VLE
from tests.unit.e1000.test_e1000_frames import tcp_frame

RING = 512
STRIDE = 16384


def queue(side, header, data, at, pieces=1):
    """One frame into the ring, its data at ``at`` in that many pieces of about the same size."""
    bench = side.bench
    popts = 0
    if header.flags & NEEDS_CSUM:
        start = header.csum_start
        bench.context(tucss=start, tucso=start + header.csum_offset, command=0x3 | RS)
        popts = 2
    size = -(-len(data) // pieces)
    for n in range(0, len(data), size):
        part, last = data[n : n + size], n + size >= len(data)
        bench.data(part, RS | (EOP if last else 0), popts=popts, address=at + n)


@pytest.fixture
def pair():
    """Cards of C, the first with coalescing."""
    sides = [Side(native=True, coalesce=on) for on in (True, False)]
    for side in sides:
        side.bench.start(tx=RING)
    yield sides
    for side in sides:
        side.close()


def unseen(merging, plain):
    """The guest sees the same, and so does who is behind the kernel's segmentation."""
    bench = merging.bench
    assert wire(merging) == [data for _, data in plain.frames]
    assert merging.memory.read(0, 1 << 20) == plain.memory.read(0, 1 << 20)
    assert dict(bench.card.state()) == dict(plain.bench.card.state())


def wire(side):
    return [frame for sent in side.frames for frame in cut(*sent)]


@settings(max_examples=150, deadline=None)
@given(frames=traffic(), batch=st.integers(1, 40), pieces=st.integers(1, 5))
def test_c_merges_what_the_reference_merges(frames, batch, pieces):
    sides = [Side(native=True, coalesce=on) for on in (True, False)]
    try:
        expected = []
        for side in sides:
            side.bench.start(tx=RING)
        for at in range(0, len(frames), batch):
            expected += coalesce(frames[at : at + batch])
            for side in sides:
                for n, (header, data) in enumerate(frames[at : at + batch]):
                    queue(side, header, data, TX_BUFFERS + n * STRIDE, pieces)
                side.kick()
        merging, plain = sides
        assert merging.frames == [finished(*sent) for sent in expected]
        assert [data for _, data in plain.frames] == [finish(*sent) for sent in frames]
        unseen(merging, plain)
    finally:
        for side in sides:
            side.close()


def explains(merged, plain):
    """Every message is one of ``plain``, or becomes the next few of them by segmentation."""
    at = 0
    for sent in merged:
        if plain[at : at + 1] == [sent]:
            at += 1
            continue
        parts = cut(*sent)
        assert parts == [finish(*each) for each in plain[at : at + len(parts)]]
        at += len(parts)
    assert at == len(plain)


@settings(max_examples=200, deadline=None)
@given(steps=st.lists(st.one_of(st.none(), st.none(), descriptors), min_size=1, max_size=60),
       batch=st.integers(1, 60), psp=st.booleans(), vme=st.booleans())  # fmt: skip
def test_a_flow_among_anything_else_comes_out_in_order(steps, batch, psp, vme):
    sides = [Side(native=True, coalesce=on) for on in (True, False)]
    try:
        for side in sides:
            bench, flow = side.bench, Flow(payload=700)
            bench.start(tx=RING, tctl=0x2 | (0x8 if psp else 0))
            bench.write("CTRL", bench.read("CTRL") | (1 << 30 if vme else 0))
            for n, step in enumerate(steps):
                if step is None:
                    queue(side, *flow.next(), TX_BUFFERS + 0x8000 + n * 1024)
                else:
                    bench.put(descriptor(step[0], *step[1:]))
                if n % batch == batch - 1 or n == len(steps) - 1:
                    bench.kick()
        messages = [
            list(zip(c.headers, c.sent, strict=True)) for c in (s.bench.cable for s in sides)
        ]
        explains(*messages)
        merging, plain = sides
        assert merging.memory.read(0, 1 << 20) == plain.memory.read(0, 1 << 20)
        assert dict(merging.bench.card.state()) == dict(plain.bench.card.state())
    finally:
        for side in sides:
            side.close()


def test_a_frame_begun_with_an_empty_descriptor_in_an_earlier_doorbell_is_merged_as_any(pair):
    for side in pair:
        flow = Flow(payload=1000)
        for n in range(40):
            at = TX_BUFFERS + n * 2048
            if n % 20 == 0:
                side.bench.data(None, RS, length=0)
                side.kick()
            queue(side, *flow.next(), at)
        side.kick()
    unseen(*pair)


def test_a_frame_rung_in_bit_by_bit_keeps_its_place(pair):
    flow = Flow(payload=1000)
    frames = [flow.next() for _ in range(6)]
    for side in pair:
        for n, (header, data) in enumerate(frames):
            at = TX_BUFFERS + n * STRIDE
            if n == 3:
                side.bench.data(data[:500], RS, address=at)
                side.kick()
                side.bench.data(data[500:], EOP | RS, address=at + 500)
            else:
                queue(side, header, data, at)
        side.kick()
    merging, plain = pair
    unseen(merging, plain)
    assert len(merging.frames) == 3  # three in one, the one in two halves, two in one


def test_a_frame_in_more_pieces_than_one_write_takes_keeps_its_place(pair):
    flow = Flow(payload=600)
    frames = [flow.next() for _ in range(5)]
    for side in pair:
        for n, (header, data) in enumerate(frames):
            queue(side, header, data, TX_BUFFERS + n * STRIDE, 90 if n == 2 else 1)
        side.kick()
    unseen(*pair)


def test_frames_in_many_pieces_are_merged_as_far_as_there_is_room(pair):
    flow = Flow(payload=600)
    for side in pair:
        flow = Flow(payload=600)
        for n in range(8):
            queue(side, *flow.next(), TX_BUFFERS + n * STRIDE, 60)
        side.kick()
    unseen(*pair)
    assert len(pair[0].frames) == 2


@pytest.mark.parametrize("what", ["tso", "checksum", "tag", "loopback", "link", "reset"])
def test_what_cannot_be_merged_comes_after_what_was(pair, what):
    flow = Flow(payload=1000)
    frames = [flow.next() for _ in range(4)]
    for side in pair:
        bench = side.bench
        bench.write("CTRL", bench.read("CTRL") | 1 << 30)
        if what == "loopback":
            bench.write("RCTL", bench.read("RCTL") | 1 << 6)
        if what == "link":
            bench.card.set_link(False)
        for n, (header, data) in enumerate(frames):
            at = TX_BUFFERS + n * STRIDE
            if n == 2 and what == "tso":
                whole = tcp_frame(bytes(5000))
                bench.context(paylen=5000, command=0x3 | TSE | RS)
                bench.data(whole, EOP | RS | TSE, popts=0x3, address=at + 8192)
            if n == 2 and what == "checksum":
                bench.legacy(data, EOP | RS | IC, cso=24, css=14, address=at + 8192)
            if n == 2 and what == "tag":
                bench.memory.write(at + 8192, data)
                bench.legacy(data, EOP | RS | VLE, special=5, address=at + 8192)
            queue(side, header, data, at)
        side.kick()
        if what == "reset":
            bench.write("CTRL", 1 << 26)
    merging, plain = pair
    assert wire(merging) == [frame for sent in plain.frames for frame in cut(*sent)]
    assert dict(merging.bench.card.state()) == dict(plain.bench.card.state())


@pytest.mark.parametrize("what", ["", "bad-sum"])
def test_a_lone_frame_goes_out_as_it_is(pair, what):
    sent = Flow().next(what)
    for side in pair:
        queue(side, *sent, TX_BUFFERS)
        side.kick()
    assert pair[0].frames == [(VnetHeader(), sent[1])]


def test_nothing_is_written_back_before_its_data_was_sent():
    """DD and TDH give buffers back to the guest, who may change them at once."""
    side = Side(native=True, coalesce=True)
    bench = side.bench
    near, far = bench.cable.near, bench.cable.far
    vcpu = threading.Thread(target=ring, args=(bench, 40))
    try:
        bench.start(tx=RING)
        flow = Flow(payload=1000)
        for n in range(40):
            queue(side, *flow.next(), TX_BUFFERS + n * 2048)
        bench.card.put("TDT", 0)
        filler = 0
        with suppress(BlockingIOError):
            while True:
                near.send(bytes(SIZE))
                filler += 1
        near.setblocking(True)  # now the card's write waits for who reads
        vcpu.start()
        time.sleep(0.05)
        assert bench.card.get("TDT") == 40
        assert bench.card.get("TDH") == 0
        assert not any(bench.done(n) for n in range(40))
        far.settimeout(PATIENCE)
        for _ in range(filler):
            far.recv(SIZE)
        message = far.recv(1 << 19)
        assert VnetHeader.unpack(message).gso_size == 1000
        assert len(message) == SIZE + 54 + 40 * 1000
        vcpu.join(PATIENCE)
        assert bench.card.get("TDH") == 40
        assert all(bench.done(n) for n in range(40))
    finally:
        far.close()  # whoever still waits gets an error
        if vcpu.is_alive():
            vcpu.join(PATIENCE)
        side.close()
