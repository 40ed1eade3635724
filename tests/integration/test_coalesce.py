"""Merged frames through the kernel: what leaves the host are the frames that the card was given.

The TAP and one end of a cable are ports of a bridge; the cable does no segmentation, so the kernel
cuts what it sends there.
"""

import ctypes
import fcntl
import json
import socket
import struct
import time
from functools import partial

import pytest

from pykvm.backends.net_tap import TapNet
from pykvm.bench.harness import NoLoop
from pykvm.devices.e1000.native import NativeEngine
from pykvm.memory import GuestMemory
from tests.support.flows import Flow, finish
from tests.support.netns import inside, ip, namespace
from tests.unit.e1000.conftest import EOP, RS, TX_BUFFERS, Bench

pytestmark = pytest.mark.tap

RING, STRIDE, PATIENCE = 512, 2048, 10
MERGING = partial(NativeEngine, threaded=False, coalesce=True)
DISTURBED = ",short,,,push,,bad-sum,,,partial,partial,,again,,gap,,ttl,,zero-sum,,ones-sum,,window"
_SIOCETHTOOL = 0x8946
_STXCSUM, _SSG, _STSO, _SGSO = 0x17, 0x19, 0x1F, 0x24
_SO_RCVBUFFORCE = 33


@pytest.fixture
def network():
    """A TAP, a bridge, and a cable behind it that has nothing of a card's offloads."""
    with namespace("cut") as name:
        for command in (
            "link add br0 type bridge mcast_snooping 0",
            "link add near type veth peer name far",
            "tuntap add tap0 mode tap",
            *(f"link set {each} addrgenmode none" for each in ("br0", "near", "far", "tap0")),
            "link set tap0 master br0 up",
            "link set near master br0 up",
            "link set far promisc on up",
            "link set br0 up",
        ):
            done = ip(name, command, check=False)
            if done.returncode:
                pytest.skip(f"ip {command}: {done.stderr.strip()}")
        yield name


def switch_off(name, command):
    """One of ethtool's feature switches."""
    value = ctypes.create_string_buffer(struct.pack("II", command, 0))
    request = struct.pack("16sQ16x", name.encode(), ctypes.addressof(value))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCETHTOOL, request)


def set_up():
    """The cable's end to listen on, and the card's TAP."""
    for command in (_STSO, _SGSO, _STXCSUM, _SSG):
        switch_off("near", command)
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    wire.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 26)
    wire.bind(("far", 3))
    wire.settimeout(PATIENCE)
    return wire, TapNet("tap0", NoLoop(), lambda line: None)


def wait_for_bridge(network):
    """Ports start to forward some time after their links came up."""
    end = time.monotonic() + PATIENCE
    for port in ("tap0", "near"):
        state = ""
        while state != "forwarding":
            assert time.monotonic() < end, f"{port} is {state}"
            shown = json.loads(ip(network, f"-d -j link show {port}").stdout)[0]
            state = shown["linkinfo"]["info_slave_data"]["state"]


def flows(ipv4):
    for payload, options in ((1460, b""), (1448, b"\1\1\x08\x0a" + bytes(8)), (101, b"")):
        flow = Flow(
            ipv4=ipv4, payload=payload if ipv4 else payload - 20, options=options, ident=0xFFF0,
            sequence=0xFFFF_FF00,
        )  # fmt: skip
        for _ in range(12):
            yield flow.next()
        for what in DISTURBED.split(","):
            yield flow.next(what)


@pytest.mark.parametrize("ipv4", [True, False], ids=["IPv4", "IPv6"])
def test_the_kernel_gives_back_every_frame_byte_for_byte(network, ipv4):
    wire, tap = inside(network, set_up)
    wait_for_bridge(network)
    frames = list(flows(ipv4))
    received = []
    with wire, GuestMemory(4 << 20) as memory:
        bench = Bench(memory, cable=tap, engine=MERGING)
        try:
            bench.start(tx=RING)
            for n, (header, data) in enumerate(frames):
                at = TX_BUFFERS + n * STRIDE
                popts = 0
                if header.flags:
                    start = header.csum_start
                    bench.context(tucss=start, tucso=start + header.csum_offset)
                    popts = 2
                bench.data(data, EOP | RS, popts=popts, address=at)
            bench.write("TDT", bench.read("TDT"))
            while len(received) < len(frames):
                received.append(wire.recv(1 << 17))
        finally:
            bench.card.close()
            tap.close()
            del bench
    link = json.loads(ip(network, "-s -j link show tap0").stdout)[0]
    assert link["stats64"]["rx"]["packets"] < len(frames) // 2  # they did come in fewer writes
    assert received == [finish(*sent) for sent in frames]
