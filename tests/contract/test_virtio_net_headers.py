"""The header in front of a frame that is sent, held against what was negotiated.

One suite over both engines: the same frames leave behind the same headers, and those only that the
rules (VIRTIO 1.2, 5.1.6.2) let out, which are written down here once more.
"""

import ctypes
import os
import struct
import threading

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pykvm._native import ffi
from pykvm.devices.virtio.net.engine import LARGEST
from pykvm.devices.virtio.net.features import Feature
from pykvm.net.vnet import (
    GSO_ECN,
    GSO_NONE,
    GSO_TCPV4,
    GSO_TCPV6,
    GSO_UDP,
    GSO_UDP_L4,
    NEEDS_CSUM,
    Offload,
    VnetHeader,
)
from tests.support.virtio_driver import INDIRECT, PACKED, VERSION_1
from tests.support.virtio_net import TX, Bench

EVERYTHING = Offload((1 << len(Offload)) - 1)
OF_KIND = {
    GSO_TCPV4: Feature.HOST_TSO4, GSO_TCPV6: Feature.HOST_TSO6, GSO_UDP: Feature.HOST_UFO,
    GSO_UDP_L4: Feature.HOST_USO,
}  # fmt: skip
TCP = (GSO_TCPV4, GSO_TCPV6)
REQUESTS = Feature.CSUM | Feature.HOST_ECN | sum(OF_KIND.values())
SUM = VnetHeader(NEEDS_CSUM, csum_start=34, csum_offset=16)
CUT = SUM._replace(gso_type=GSO_TCPV4, hdr_len=54, gso_size=1448)


class Wire:
    """A card whose cable takes every request; ``left`` are headers and frames as they left."""

    def __init__(self, native, features, transport="modern"):
        self.card = Bench(
            native=native, transport=transport, offloads=EVERYTHING, features=int(REQUESTS)
        )
        self.left = []
        self.card.cable._went = lambda header, frame: self.left.append((header, bytes(frame)))
        self.card.start(features, queues=[0, TX])

    def send(self, header, frame, cuts=(), **how):
        """The frame goes or is lost, its chain is used in either case."""
        card = self.card
        card.next_buffer = 0x80000
        data = header.pack().ljust(card.header, b"\0") + frame
        token = card.give(TX, card.place(data, cuts), **how)
        assert card.used(TX) == [(token, 0, b"")]
        assert not card.broken

    @property
    def lost(self):
        return self.card.card.engine.pairs[0].net.dropped if self.card.native else None


@pytest.fixture(params=["reference", "C"])
def wire(request):
    made = []

    def make(features=VERSION_1 | REQUESTS):
        made.append(Wire(request.param == "C", features))
        return made[-1]

    yield make
    for one in made:
        one.card.close()


@pytest.mark.parametrize(
    ("features", "header"),
    [
        (0, SUM), (0, CUT), (Feature.CSUM, CUT), (Feature.CSUM | Feature.HOST_TSO6, CUT),
        (Feature.CSUM | Feature.HOST_TSO4, CUT._replace(gso_type=GSO_TCPV4 | GSO_ECN)),
        (REQUESTS, CUT._replace(flags=0)), (REQUESTS, CUT._replace(gso_size=0)),
        (REQUESTS, CUT._replace(gso_type=GSO_ECN)), (REQUESTS, CUT._replace(gso_type=2)),
        (REQUESTS, CUT._replace(gso_type=GSO_UDP_L4 | GSO_ECN)),
        (REQUESTS, CUT._replace(gso_type=7)), (REQUESTS, CUT._replace(gso_type=0x7F)),
        (REQUESTS, SUM._replace(csum_start=13)), (REQUESTS, SUM._replace(csum_start=83)),
        (REQUESTS, SUM._replace(csum_start=0xFFFF, csum_offset=0xFFFF)),
        (REQUESTS, SUM._replace(hdr_len=101)), (REQUESTS, VnetHeader(hdr_len=101)),
    ],
)  # fmt: skip
def test_a_frame_whose_header_does_not_fit_is_lost_and_the_next_goes(wire, features, header):
    one = wire(VERSION_1 | features)
    one.send(header, bytes(100))
    assert one.left == []
    assert one.lost in (None, 1)
    one.send(VnetHeader(), bytes(60))
    assert one.left == [(VnetHeader(), bytes(60))]


@pytest.mark.parametrize(
    "header",
    [
        SUM, CUT, SUM._replace(csum_start=14, csum_offset=0), SUM._replace(csum_start=82),
        *(CUT._replace(gso_type=kind) for kind in OF_KIND),
        *(CUT._replace(gso_type=kind | GSO_ECN) for kind in TCP),
        VnetHeader(hdr_len=100), VnetHeader(0, 0, 0, 9, 0xFFFF, 0xFFFF),
    ],
)  # fmt: skip
def test_what_was_negotiated_leaves_as_it_is(wire, header):
    one = wire()
    one.send(header, bytes(100))
    assert one.left == [(header, bytes(100))]


@pytest.mark.parametrize("flags", [2, 4, 8, 0xFE])
def test_flags_that_are_not_the_driver_s_do_not_leave_and_lose_no_frame(wire, flags):
    one = wire()
    for header in (VnetHeader(), SUM, CUT):
        one.send(header._replace(flags=header.flags | flags), bytes(100))
    assert [header for header, _ in one.left] == [VnetHeader(), SUM, CUT]


@pytest.mark.parametrize("features", [0, PACKED])
@pytest.mark.parametrize("first", [1, 11, 12, 13, 500])
@pytest.mark.parametrize("pieces", [1022, 1023, 1024])
def test_a_header_leaves_from_any_place_in_the_longest_chain(wire, features, first, pieces):
    one = wire(VERSION_1 | REQUESTS | INDIRECT | features)
    frame = bytes(n * 7 & 0xFF for n in range(max(first + pieces - 13, 100)))
    cuts = range(first, first + pieces - 1)
    one.send(SUM, frame, cuts, indirect=True)
    assert one.left == [(SUM, frame)]


def test_the_largest_frame_leaves_in_the_longest_chain(wire):
    one = wire(VERSION_1 | REQUESTS | INDIRECT)
    frame = bytes(n * 7 & 0xFF for n in range(LARGEST))
    one.send(CUT, frame, range(LARGEST + 12 - 1023, LARGEST + 12), indirect=True)
    assert one.left == [(CUT, frame)]


def test_a_header_that_changes_after_it_was_checked_leaves_as_it_was(wire):
    """A guest with another processor, which turns a good header into a bad one and back. The kernel
    plays it, a thousand times in one call: Python would be too slow."""
    one = wire()
    one.send(SUM, bytes(60))
    card, done = one.card, threading.Event()
    pieces = card.place(SUM.pack().ljust(card.header, b"\0") + bytes(60), (card.header,))
    ring = card.driver.rings[TX]
    at = pieces[0][0] + 6
    assert card.memory.read_u16(at) == SUM.csum_start
    values = os.memfd_create("values")
    os.write(values, struct.pack("<HH", 0xFFFF, SUM.csum_start) * 512)
    with card.memory.view(at, 2) as view:
        address = ffi.cast("uintptr_t", ffi.from_buffer(view))
    vector = (ctypes.c_size_t * 2048)(*[int(address), 2] * 1024)
    preadv = ctypes.CDLL(None, use_errno=True).preadv

    def change():
        while not done.is_set():
            preadv(values, vector, 1024, ctypes.c_long(0))

    other = threading.Thread(target=change)
    other.start()
    try:
        for _ in range(100):
            tokens = [ring.add(pieces) for _ in range(32)]
            ring.publish()
            card.driver.kick(TX)
            card.cable.collect()
            assert [token for token, _ in card.driver.used(TX)] == tokens
    finally:
        done.set()
        other.join()
        os.close(values)
    assert {header for header, _ in one.left} == {SUM}


# -- C against the reference ----------------------------------------------------------------------

HEADERS = st.builds(
    VnetHeader,
    st.sampled_from([0, NEEDS_CSUM, NEEDS_CSUM, NEEDS_CSUM, 2, 3, 0xFF]),
    st.one_of(st.sampled_from([GSO_NONE, *OF_KIND, *(kind | GSO_ECN for kind in OF_KIND)]),
              st.integers(0, 255)),
    *(st.one_of(st.integers(0, 130), st.integers(0, 0xFFFF)) for _ in range(4)),
)  # fmt: skip
SENT = st.tuples(
    st.one_of(st.just(VnetHeader()), HEADERS, HEADERS), st.integers(14, 200),
    st.lists(st.integers(1, 40), max_size=4),
)  # fmt: skip


def outcome(header, size, features):
    """The header that is to leave, or None: the rules, one a line."""
    flags = header.flags & NEEDS_CSUM
    kind, ecn = header.gso_type & 0x7F, header.gso_type & GSO_ECN
    refused = [
        header.hdr_len > size,
        flags and not features & Feature.CSUM,
        flags and header.csum_start < 14,
        flags and header.csum_start + header.csum_offset + 2 > size,
        header.gso_type and not flags,
        header.gso_type and not header.gso_size,
        header.gso_type and not features & OF_KIND.get(kind, 0),
        ecn and not features & Feature.HOST_ECN,
        ecn and kind not in TCP,
    ]
    return None if any(refused) else header._replace(flags=flags)


@settings(deadline=None, max_examples=200)
@example(wanted=[], legacy=False, mergeable=False, sent=[(SUM, 100, [])])
@given(wanted=st.lists(st.sampled_from([Feature.HOST_ECN, *OF_KIND.values(), Feature.CSUM])),
       legacy=st.booleans(), mergeable=st.booleans(), sent=st.lists(SENT, max_size=20))  # fmt: skip
def test_the_same_frames_leave_behind_the_same_headers(wanted, legacy, mergeable, sent):
    features = Feature.MRG_RXBUF if mergeable else 0
    for feature in wanted:
        features |= feature | Feature.CSUM
    if legacy:
        features &= 0xFFFF_FFFF
    else:
        features |= VERSION_1
    wires = []
    try:
        for native in (False, True):
            wires.append(Wire(native, features, "legacy" if legacy else "modern"))
        for header, size, cuts in sent:
            frame = struct.pack("<I", size) * (size // 4 + 1)
            for one in wires:
                one.send(header, frame[:size], cuts)
        rows = [(outcome(header, size, features), size) for header, size, _ in sent]
        expected = [row for row in rows if row[0] is not None]
        for one in wires:
            assert [(header, len(frame)) for header, frame in one.left] == expected
        assert wires[0].left == wires[1].left
        assert wires[1].lost == len(rows) - len(expected)
    finally:
        for one in wires:
            one.card.close()
