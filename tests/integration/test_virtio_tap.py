"""Frames between a guest's virtio-net and the host's own network, over a TAP, moved by C."""

import os
import struct
import subprocess
import zlib

import pytest

from pykvm.backends.net_tap import TapNet
from pykvm.bench.harness import NoLoop
from pykvm.net.checksum import ones_sum
from pykvm.net.vnet import GSO_TCPV4, NEEDS_CSUM, Offload, VnetHeader
from tests.support.netns import inside
from tests.support.tap import Peer, namespace, numbered, passed, ready, start

pytestmark = [pytest.mark.kvm, pytest.mark.tap]

MANY = int(os.environ.get("PYKVM_TAP_FRAMES", "1000000"))
SOME = min(MANY, 50_000)
WHOLE = "0 lost, 0 corrupt, 0 repeated, 0 out of order"
NIC = "virtio-net,backend=tap:tap0,engine=native"
KINDS = {  # options of the card, keys of the guest
    "modern": ("transport=modern", ""),
    "legacy": ("transport=legacy", "transport=legacy"),
    "packed": ("packed=on", "packed=1"),
    "flags": ("transport=modern", "event_idx=0 irq=1"),
    "mergeable": ("transport=modern", "merge=1"),
    "asleep": ("poll=off", "irq=1"),
}
TCP_HEADERS = 54
SEGMENT = 1448


@pytest.fixture
def place():
    with namespace() as name:
        yield name


@pytest.fixture
def places():
    with namespace("multi_queue") as name:
        yield name


def stream(place, kind, mode, frames, size):
    card, guest = KINDS[kind]
    append = f"mode={mode} frames={frames} size={size} {guest}"
    return start(place, "virtio_net_peer", f"{NIC},{card}", append)


def to_host(place, kind, frames, size):
    with Peer(place) as peer:
        process = stream(place, kind, "tx", frames, size)
        assert peer.check(frames, size) == list(range(frames))
        passed(process)
        assert peer.quiet()


def to_guest(place, kind, frames, size):
    with Peer(place) as peer:
        process = stream(place, kind, "rx", frames, size)
        ready(process)
        peer.send(frames, lambda number: numbered(number, size), process)
        assert f"{frames} of {frames} frames, {WHOLE}" in passed(process)


def test_a_million_frames_reach_the_host_once_in_order_and_unchanged(place):
    to_host(place, "modern", MANY, 60)


def test_a_million_frames_reach_the_guest_once_in_order_and_unchanged(place):
    to_guest(place, "modern", MANY, 60)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_ring_carries_full_frames_to_the_host(place, kind):
    to_host(place, kind, SOME, 1514)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_ring_carries_full_frames_to_the_guest(place, kind):
    to_guest(place, kind, SOME, 1514)


def test_pairs_of_queues_send_side_by_side_and_each_in_order(places):
    with Peer(places) as peer:
        process = start(places, "virtio_net_peer", f"{NIC},queues=2",
                        f"mode=tx frames={SOME} pairs=2")  # fmt: skip
        numbers = peer.check(SOME, 60)
        passed(process)
        assert peer.quiet()
    for pair in range(2):
        assert [n for n in numbers if n % 2 == pair] == list(range(pair, SOME, 2))


def test_pairs_of_queues_receive_what_the_kernel_deals_them(places):
    with Peer(places) as peer:
        process = start(places, "virtio_net_peer", f"{NIC},queues=2",
                        f"mode=rx frames={SOME} pairs=2")  # fmt: skip
        ready(process)
        peer.send(SOME, lambda number: numbered(number, 60), process)
        assert f"{SOME} of {SOME} frames, 0 lost, 0 corrupt, 0 repeated" in passed(process)


def test_a_card_with_more_pairs_than_its_driver_uses_receives_on_the_first(places):
    with Peer(places) as peer:
        process = start(places, "virtio_net_peer", f"{NIC},queues=2", f"mode=rx frames={SOME}")
        ready(process)
        peer.send(SOME, lambda number: numbered(number, 60), process)
        assert f"{SOME} of {SOME} frames, {WHOLE}" in passed(process)


def segment(number):
    """A TCP segment of up to 64 KiB behind a header that leaves it to be cut."""
    size = 2_000 + number * 7919 % 62_000
    payload = struct.pack("<I", number) + bytes(size - 8)
    payload += struct.pack("<I", zlib.crc32(payload))
    source, to = b"\x0a\0\0\1", b"\x0a\0\0\2"
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 40 + size, number & 0xFFFF, 0x4000, 64, 6, 0)
    value = ~ones_sum(ip + source + to) & 0xFFFF
    ip = ip[:10] + value.to_bytes(2, "big") + source + to
    pseudo = ones_sum(source + to, 6 + 20 + size)
    tcp = struct.pack(">HHIIBBHHH", 80, 81, number * 65536 & 0xFFFF_FFFF, 0, 0x50, 0x10, 999,
                      pseudo, 0)  # fmt: skip
    header = VnetHeader(NEEDS_CSUM, GSO_TCPV4, TCP_HEADERS, SEGMENT, 34, 16)
    ethernet = b"\xff" * 6 + b"\2\0\0\0\0\1" + b"\x08\x00"
    return header.pack() + ethernet + ip + tcp + payload


@pytest.mark.parametrize("card", ["transport=modern", "transport=legacy", "packed=on"])
def test_segments_come_uncut_in_mergeable_buffers(place, card):
    """Each as one frame over many buffers, as the guest negotiated."""
    frames = min(SOME, 5000)
    keys = {"transport=legacy": "transport=legacy", "packed=on": "packed=1"}.get(card, "")
    with Peer(place, kind=0x0800, offload=True) as peer:
        append = f"mode=rx frames={frames} merge=1 tso=1 body={TCP_HEADERS} {keys}"
        process = start(place, "virtio_net_peer", f"{NIC},{card}", append)
        ready(process)
        peer.send(frames, segment, process, queue=500)
        out = passed(process)
    assert f"{frames} of {frames} frames, {WHOLE}" in out
    assert f"MERGED {frames}" in out  # none fits into one


def test_what_a_driver_negotiates_after_the_interface_was_deleted_ends_nothing(place):
    tap = inside(place, lambda: TapNet("tap0", NoLoop(), print))
    subprocess.run(["ip", "-n", place, "link", "del", "tap0"], check=True)
    tap.tune(12, Offload.CSUM, 1)
    tap.send([memoryview(bytes(60))])
    tap.close()


CYCLES = {"modern": 10_000, "legacy": 2_500, "packed": 2_500, "flags": 2_500, "asleep": 2_500}


@pytest.mark.parametrize("kind", CYCLES)
def test_a_guest_that_starts_and_stops_misses_no_interrupt_and_the_card_no_kick(place, kind):
    """Each pass sends a few frames, sleeps until they are used, and prints a line: a pause."""
    card, guest = KINDS[kind]
    append = f"mode=tx kind=tx-60-64 frames=70 passes={CYCLES[kind]} {guest.replace('irq=1', '')}"
    process = start(place, "virtio_nic", f"{NIC},{card}", f"{append} irq=1")
    assert passed(process).count("BENCH tx-60-64 70 ") == CYCLES[kind]
