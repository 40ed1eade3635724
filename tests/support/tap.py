"""A TAP in a network namespace of the test's, and a peer on it: numbered frames both ways."""

import socket
import struct
import subprocess
import sys
import time
import zlib
from contextlib import contextmanager
from pathlib import Path

from tests.support import netns

GUESTS = Path(__file__).parents[2] / "guest" / "build"
PYKVM = str(Path(sys.executable).parent / "pykvm")
KIND = 0x88B5
QUEUE = 10_000
HEADER = b"\xff" * 6 + b"\2\0\0\0\0\1" + b"\x88\xb5"
_PATTERN = bytes(range(256)) * 7
_SO_RCVBUFFORCE, _SO_SNDBUFFORCE = 33, 32
_SOL_PACKET, _PACKET_VNET_HDR = 263, 15


@contextmanager
def namespace(options=""):
    """A network namespace with a TAP called tap0; it goes away with its last user."""
    with netns.namespace("test") as name:
        for command in (
            f"tuntap add tap0 mode tap {options}",
            # the host's own chatter (IPv6 discovery) would mix with what is counted
            "link set tap0 addrgenmode none",
            f"link set tap0 txqueuelen {QUEUE} up",
        ):
            netns.ip(name, command)
        yield name


class Peer:
    """Whoever is on the other side of the TAP: a raw socket, and the interface's counters. With
    ``offload`` each frame goes behind a virtio-net header."""

    def __init__(self, namespace, *, kind=KIND, offload=False):
        def open_both():
            wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(kind))
            wire.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 28)
            wire.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, 1 << 26)
            if offload:
                wire.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
            wire.bind(("tap0", kind))
            return wire, open("/proc/thread-self/net/dev", encoding="ascii")

        self.wire, self._counters = netns.inside(namespace, open_both)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.wire.close()
        self._counters.close()

    def taken(self):
        """Frames that pykvm has read from the TAP so far."""
        return self._count(9)

    def given(self):
        """Frames that pykvm has written to the TAP so far; one that the kernel shall cut is one."""
        return self._count(1)

    def _count(self, column):
        self._counters.seek(0)
        line = next(line for line in self._counters if "tap0:" in line)
        return int(line.split(":")[1].split()[column])

    def send(self, count, make, process, queue=QUEUE):
        """Frames ``make(number)``; the TAP's queue drops what it has no room for, so stay below."""
        send = self.wire.send
        for number in range(count):
            send(make(number))
            while number % 500 == 0 and number - self.taken() > queue // 2:
                assert process.poll() is None, "pykvm ended before it had taken every frame"
                time.sleep(0.0005)

    def check(self, count, size):
        """The next ``count`` frames' numbers, each frame whole."""
        self.wire.settimeout(30)
        receive, crc32 = self.wire.recv, zlib.crc32
        numbers = []
        for _ in range(count):
            frame = receive(2048)
            assert len(frame) == size
            assert crc32(frame[14:]) == _RESIDUE, "not what was sent"
            numbers.append(int.from_bytes(frame[14:18], "little"))
        return numbers

    def quiet(self):
        """Nothing more comes."""
        self.wire.settimeout(0.2)
        try:
            return not self.wire.recv(2048)
        except TimeoutError:
            return True


_RESIDUE = 0x2144DF1C  # of data with its own CRC-32 behind it


def body(number, size, start=18):
    """``size`` bytes with a number, a pattern and the CRC-32 of both, as ``guest/lib/numbered.h``
    makes them; ``start`` is where the pattern lies in the frame."""
    first = start + number & 0xFF
    data = struct.pack("<I", number) + _PATTERN[first : first + size - 8]
    return data + struct.pack("<I", zlib.crc32(data))


def numbered(number, size):
    """A frame as the guest's program makes and checks it."""
    return HEADER + body(number, size - 14)


def start(namespace, guest, nic, append):
    """pykvm with a guest on tap0."""
    return subprocess.Popen(
        ["ip", "netns", "exec", namespace, PYKVM, "run", str(GUESTS / f"{guest}.elf"), "--nic",
         nic, "--append", append, "--timeout", "600"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def ready(process):
    """Wait until the guest receives."""
    for line in process.stdout:
        if line.strip() == "READY":
            return
    raise AssertionError(process.communicate()[1])


def passed(process):
    """What the guest said; its checks have passed."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1, out + err
    return out
