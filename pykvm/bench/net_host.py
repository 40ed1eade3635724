"""The host's side of a stream: what counts the guest's frames, sends it some, or takes its TCP.

Each is a context manager made before the guest starts, in the namespace of the TAP. ``begin`` is
called when the guest has been told to start, ``end`` when it has reported; then ``seen`` is final.
"""

from __future__ import annotations

import math
import socket
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from pykvm.bench import network
from pykvm.errors import PykvmError
from pykvm.kvm.abi import ffi, lib
from pykvm.net.frames import MSS, SOURCE, plain_frame, tcp_request
from pykvm.net.vnet import VnetHeader

ADDRESS, GUEST, PORT = "10.77.0.1", "10.77.0.2", 5001
LAST = b"\x88\xb6"  # the Ethernet type of a frame that ends a stream
_NUMBER_AT = {"mtu": 14, "big": 54}  # in each frame, 64 bits little endian
_PORT_AT = 34  # TCP's source port
_ETH_P_ALL = 3
_SOL_PACKET, _PACKET_STATISTICS, _PACKET_VNET_HDR, _PACKET_QDISC_BYPASS = 263, 6, 15, 20
_PACKET_IGNORE_OUTGOING = 23
_SO_RCVBUFFORCE, _WINDOW = 33, 8 << 20
_PATIENCE = 10.0
_PAUSE = 0.0002


@dataclass
class Seen:
    """``frames`` that came from the guest or went to it, ``data`` bytes of TCP that came, of which
    the first ``right`` are what they should be; None where the stream has no such thing."""

    frames: int | None = None
    data: int | None = None
    right: int | None = None


class Host(Protocol):
    """See the module."""

    seen: Seen

    def __enter__(self) -> Host: ...

    def __exit__(self, *exc: object) -> None: ...

    def begin(self) -> None: ...

    def end(self) -> None: ...


class Sink:
    """Counts every frame that comes from the guest, and reads none: the kernel counts for a packet
    socket what it has no room for, too (packet(7), PACKET_STATISTICS)."""

    def __init__(self, tap: str = network.NAME) -> None:
        self.seen = Seen()
        self._wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        self._wire.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        self._wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
        self._wire.bind((tap, _ETH_P_ALL))

    def __enter__(self) -> Sink:
        return self

    def __exit__(self, *exc: object) -> None:
        self._wire.close()

    def begin(self) -> None:
        """The guest sends."""

    def end(self) -> None:
        packed = self._wire.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        self.seen.frames = struct.unpack("II", packed)[0]


class Source:
    """Sends frames for ``seconds`` from when the card takes the first ones, never more at once than
    the TAP's queue has room for, and then one of type ``LAST``, which says how many there were,
    again and again. For a card with several ``pairs`` they are of many flows of TCP, which the
    kernel spreads over the TAP's queues by their ports."""

    def __init__(self, unit: str, seconds: float, pairs: int = 1) -> None:
        self.seen = Seen(0)
        self._seconds = seconds
        self._tap = network.tap(pairs)
        frame, self._header = _frame(unit, tcp=pairs > 1)
        self._at = _NUMBER_AT["big" if pairs > 1 else unit]
        frame = frame[: self._at] + bytes(8) + frame[self._at + 8 :]
        self._size = len(frame)
        self._window = network.QUEUE // 4 if unit == "mtu" else 256
        self._buffers = 64 if unit == "mtu" else 32 if pairs > 1 else 8
        self._frames = bytearray(frame * self._buffers)
        for n in range(self._buffers if pairs > 1 else 0):
            struct.pack_into(">H", self._frames, n * self._size + _PORT_AT, PORT + n)
        self._stop = threading.Event()
        self._failed: BaseException | None = None
        self._wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._wire.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
        # Straight to the TAP: a qdisc would lose frames while the interface's link comes up.
        self._wire.setsockopt(_SOL_PACKET, _PACKET_QDISC_BYPASS, 1)
        self._wire.bind((self._tap, 0))
        self._thread = threading.Thread(target=self._main, daemon=True)

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._wire.close()

    def begin(self) -> None:
        self._before = self._taken()
        self._thread.start()

    def end(self) -> None:
        self._stop.set()
        self._thread.join()
        if self._failed is not None:
            raise self._failed

    def _taken(self) -> int:
        return network.traffic(self._tap).taken

    def _main(self) -> None:
        try:
            self._send()
        except BaseException as error:
            self._failed = error

    def _send(self) -> None:
        sent, until = 0, math.inf
        while not self._stop.is_set() and time.monotonic() < until:
            taken = self._taken() - self._before
            # QEMU's e1000 takes a frame and then none in its first second.
            if taken > self._window // 8 and until == math.inf:
                until = time.monotonic() + self._seconds
            room = self._window - (sent - taken)
            if room < self._window // 4:
                time.sleep(_PAUSE)
                continue
            sent += self._flood(sent, room)
        self.seen.frames = sent
        last = plain_frame(60)
        last = SOURCE + last[6:12] + LAST + struct.pack("<Q", sent) + last[22:]
        last = VnetHeader().pack() + last
        while not self._stop.wait(0.001):
            if self._taken() - self._before >= sent:
                self._wire.send(last)

    def _flood(self, first: int, count: int) -> int:
        header = self._header.pack()
        done = lib.pk_floor_flood(
            self._wire.fileno(), header, len(header), ffi.from_buffer(self._frames), self._size,
            self._size, self._buffers, self._at, first, count,
        )  # fmt: skip
        if done < 0:
            raise PykvmError(f"the TAP takes no frames: errno {-done}")
        return int(done)


def _frame(unit: str, *, tcp: bool) -> tuple[bytes, VnetHeader]:
    """To the card's own address."""
    if unit == "big":
        frame, header = tcp_request()
        return SOURCE + frame[6:], header
    if tcp:
        return SOURCE + tcp_request(MSS)[0][6:], VnetHeader()
    return SOURCE + plain_frame(1514)[6:], VnetHeader()


class Server:
    """Takes one TCP connection's data to its end, and checks every byte of it. ``started`` is set
    when it has come."""

    def __init__(self) -> None:
        self.seen = Seen(data=0, right=0)
        self.started = threading.Event()
        self.done = threading.Event()
        self._listener = socket.create_server((ADDRESS, PORT))
        # A window that no card has to wait for: the kernel would come to it by and by.
        self._listener.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _WINDOW)
        self._connection: socket.socket | None = None
        self._thread = threading.Thread(target=self._main, daemon=True)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exc: object) -> None:
        for each in (self._listener, self._connection):
            with suppress(OSError):  # a thread that waits is woken
                if each is not None:
                    each.shutdown(socket.SHUT_RDWR)
        if self._thread.ident is not None:
            self._thread.join()
        self._listener.close()

    def begin(self, patience: float = _PATIENCE) -> None:
        self._listener.settimeout(patience)
        self._thread.start()

    def end(self) -> None:
        """The guest reports when it has seen our end of the connection close."""
        self.done.wait(1)

    def _main(self) -> None:
        data = bytearray(1 << 20)
        view = memoryview(data)
        try:
            self._connection, _ = self._listener.accept()
            self.started.set()
            self._connection.settimeout(_PATIENCE)
            with self._connection as connection:
                while size := connection.recv_into(view):
                    self._check(ffi.from_buffer(data), size)
        except OSError:
            return  # what has come until then is told
        self.done.set()

    def _check(self, data: object, size: int) -> None:
        seen = self.seen
        assert seen.data is not None
        assert seen.right is not None
        if seen.right == seen.data:
            seen.right += lib.pk_floor_counted(data, size, seen.data)
        seen.data += size
