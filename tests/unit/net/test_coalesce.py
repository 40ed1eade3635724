"""Merging frames of a flow: what comes out of the kernel's segmentation is what went in."""

import pytest
from hypothesis import given, settings

from pykvm.net.coalesce import MOST_FRAMES, coalesce
from pykvm.net.vnet import GSO_NONE, GSO_TCPV4, GSO_TCPV6
from tests.support.flows import DISTURBANCES, Flow, cut, finish, traffic

# What is merged all the same: it changes nothing that segmentation would not make anew.
HARMLESS = {"short", "push", "partial"}


def wire(sent):
    return [frame for header, merged in sent for frame in cut(header, merged)]


@settings(max_examples=300, deadline=None)
@given(traffic())
def test_segmentation_gives_back_every_frame_in_order_and_byte_for_byte(frames):
    assert wire(coalesce(frames)) == [finish(*sent) for sent in frames]


@pytest.mark.parametrize("ipv4", [True, False])
@pytest.mark.parametrize("options", [b"", b"\1\1\x08\x0a" + bytes(8)])
def test_frames_in_a_row_become_one(ipv4, options):
    flow = Flow(ipv4=ipv4, payload=1400, options=options, sequence=0xFFFF_F000, ident=0xFFF0)
    frames = [flow.next() for _ in range(20)]
    ((header, merged),) = coalesce(frames)
    assert header.gso_type == (GSO_TCPV4 if ipv4 else GSO_TCPV6)
    assert header.gso_size == 1400
    assert len(merged) == len(frames[0][1]) + 19 * 1400
    assert wire(coalesce(frames)) == [frame for _, frame in frames]


@pytest.mark.parametrize("what", DISTURBANCES)
def test_a_frame_that_is_different_does_not_join(what):
    flow = Flow()
    frames = [flow.next(), flow.next(), flow.next(what)]
    sizes = [header.gso_type != GSO_NONE for header, _ in coalesce(frames)]
    assert sizes == ([True] if what in HARMLESS else [True, False])


@pytest.mark.parametrize("what", ["bad-sum", "bad-ip-sum", "zero-sum", "ones-sum", "bad-partial"])
def test_nothing_joins_a_frame_with_a_sum_that_merging_would_change(what):
    flow = Flow()
    frames = [flow.next(what), flow.next()]
    assert coalesce(frames) == frames


@pytest.mark.parametrize("what", ["short", "push"])
def test_a_shorter_frame_and_a_pushed_one_are_the_last(what):
    flow = Flow()
    frames = [flow.next(), flow.next(what), flow.next(), flow.next()]
    assert [len(cut(*sent)) for sent in coalesce(frames)] == [2, 2]


def test_a_packet_has_at_most_65535_bytes():
    flow = Flow(payload=1460)
    frames = [flow.next() for _ in range(50)]
    assert [len(cut(*sent)) for sent in coalesce(frames)] == [44, 6]


def test_a_packet_has_at_most_so_many_frames():
    flow = Flow(payload=10)
    frames = [flow.next() for _ in range(MOST_FRAMES + 3)]
    assert [len(cut(*sent)) for sent in coalesce(frames)] == [MOST_FRAMES, 3]


def test_flows_that_take_turns_stay_as_they_are():
    flows = Flow(port=80), Flow(port=81)
    frames = [flow.next() for _ in range(5) for flow in flows]
    assert coalesce(frames) == frames
