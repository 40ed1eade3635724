"""Frames between a guest and the host's own network, over a TAP in a namespace of the test's."""

import ctypes
import os
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import pytest

pytestmark = [pytest.mark.kvm, pytest.mark.tap]

GUEST = Path(__file__).parents[2] / "guest" / "build" / "e1000_stream.elf"
PYKVM = str(Path(sys.executable).parent / "pykvm")
FRAMES = int(os.environ.get("PYKVM_TAP_FRAMES", "20000"))
KIND = 0x88B5
QUEUE = 10_000
_CLONE_NEWNET = 0x40000000
_SO_RCVBUFFORCE = 33


@pytest.fixture
def namespace():
    """A network namespace with a TAP; it goes away with its last user."""
    name = f"pykvm-test-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        for command in (
            "tuntap add tap0 mode tap",
            # the host's own chatter (IPv6 discovery) would mix with what is counted
            "link set tap0 addrgenmode none",
            f"link set tap0 txqueuelen {QUEUE} up",
        ):
            subprocess.run(["ip", "-n", name, *command.split()], check=True)
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def packet_socket(namespace):
    """A raw socket on the TAP, and the namespace's interface counters; both made by a thread that
    visits the namespace."""
    made = []

    def visit():
        libc = ctypes.CDLL(None, use_errno=True)
        fd = os.open(f"/run/netns/{namespace}", os.O_RDONLY | os.O_CLOEXEC)
        assert libc.setns(fd, _CLONE_NEWNET) == 0
        os.close(fd)
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(KIND))
        wire.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 28)
        wire.bind(("tap0", KIND))
        made.append((wire, open("/proc/thread-self/net/dev", encoding="ascii")))  # noqa: SIM115

    thread = threading.Thread(target=visit)
    thread.start()
    thread.join()
    return made[0]


def taken(counters):
    """Frames that pykvm has read from the TAP so far."""
    counters.seek(0)
    line = next(line for line in counters if "tap0:" in line)
    return int(line.split(":")[1].split()[9])


def start(namespace, append):
    return subprocess.Popen(
        ["ip", "netns", "exec", namespace, PYKVM, "run", str(GUEST), "--nic",
         "e1000,backend=tap:tap0", "--append", append, "--timeout", "600"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def numbered(number, size):
    """A frame as the guest's program makes and checks it."""
    body = struct.pack("<I", number) + bytes((n + number) & 0xFF for n in range(18, size - 4))
    return b"\xff" * 6 + b"\2\0\0\0\0\1" + b"\x88\xb5" + body + struct.pack("<I", zlib.crc32(body))


@pytest.mark.parametrize("size", [60, 1514])
def test_every_frame_reaches_the_host_once_in_order_and_unchanged(namespace, size):
    wire, counters = packet_socket(namespace)
    with wire, counters:
        wire.settimeout(30)
        process = start(namespace, f"mode=tx frames={FRAMES} size={size}")
        for number in range(FRAMES):
            frame = wire.recv(2048)
            assert len(frame) == size
            assert struct.unpack_from("<I", frame, 14) == (number,)
            assert struct.unpack("<I", frame[-4:]) == (zlib.crc32(frame[14:-4]),)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 1, out + err
        wire.settimeout(0.2)
        with pytest.raises(TimeoutError):
            wire.recv(2048)  # not one too many


@pytest.mark.parametrize("size", [60, 1514])
def test_every_frame_reaches_the_guest_once_in_order_and_unchanged(namespace, size):
    wire, counters = packet_socket(namespace)
    with wire, counters:
        process = start(namespace, f"mode=rx frames={FRAMES} size={size}")
        for line in process.stdout:
            if line.strip() == "READY":
                break
        for number in range(FRAMES):
            wire.send(numbered(number, size))
            # The TAP's queue drops what it has no room for: stay well below its length.
            while number % 1000 == 0 and number - taken(counters) > QUEUE // 2:
                assert process.poll() is None, "pykvm ended before it had taken every frame"
                time.sleep(0.001)
        out, err = process.communicate(timeout=120)
        assert process.returncode == 1, out + err
        assert f"{FRAMES} of {FRAMES} frames, 0 lost, 0 corrupt, 0 out of order" in out
