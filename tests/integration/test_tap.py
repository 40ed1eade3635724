"""Frames between a guest's e1000 and the host's own network, over a TAP."""

import os

import pytest

from tests.support.tap import Peer, namespace, numbered, passed, ready, start

pytestmark = [pytest.mark.kvm, pytest.mark.tap]

MANY = int(os.environ.get("PYKVM_TAP_FRAMES", "1000000"))
FRAMES = {60: MANY, 1514: min(MANY, 100_000)}
NIC = "e1000,backend=tap:tap0"


@pytest.fixture
def place():
    with namespace() as name:
        yield name


@pytest.mark.parametrize("size", FRAMES)
def test_every_frame_reaches_the_host_once_in_order_and_unchanged(place, size):
    frames = FRAMES[size]
    with Peer(place) as peer:
        process = start(place, "e1000_stream", NIC, f"mode=tx frames={frames} size={size}")
        assert peer.check(frames, size) == list(range(frames))
        passed(process)
        assert peer.quiet()


@pytest.mark.parametrize("size", FRAMES)
def test_every_frame_reaches_the_guest_once_in_order_and_unchanged(place, size):
    frames = FRAMES[size]
    with Peer(place) as peer:
        process = start(place, "e1000_stream", NIC, f"mode=rx frames={frames} size={size}")
        ready(process)
        peer.send(frames, lambda number: numbered(number, size), process)
        assert f"{frames} of {frames} frames, 0 lost, 0 corrupt, 0 repeated, 0 out of order" in (
            passed(process)
        )


@pytest.mark.parametrize(("tso", "written"), [("host", 1), ("card", 44)])
def test_a_large_segment_leaves_whole_or_cut_by_the_card(place, tso, written):
    with Peer(place) as peer:
        before = peer.given()
        passed(start(place, "nic", f"{NIC},tso={tso}", "mode=tx kind=tx-tso frames=64 passes=1"))
        assert peer.given() - before == 8 * written  # an eighth as many requests
