"""Frames over a stream socket, each behind its length (32 bits, big endian): QEMU's framing, which
passt speaks, too."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence

from pykvm.interfaces import EventLoop, Frame, NetReceiver, Timer
from pykvm.net.vnet import Offload, VnetHeader

_HEADER = 4
_LARGEST = 65536 + 64
_UNSENT_MAX = 1 << 20
_RETRY_NS = 1_000_000
_LAST_WORDS = 0.2


class StreamNet:
    """A connected peer. When it is slow, frames are dropped whole; when it is gone, all are."""

    offloads = Offload.NONE
    native_fd: int | None = None
    native_fds: Sequence[int] = ()

    def __init__(self, loop: EventLoop, peer: socket.socket | None = None) -> None:
        self._loop = loop
        self._peer: socket.socket | None = None
        self._receiver: NetReceiver | None = None
        self._incoming = bytearray()
        self._unsent = bytearray()
        self._retry: Timer | None = None
        if peer is not None:
            self.attach(peer)

    def attach(self, peer: socket.socket) -> None:
        """Talk to ``peer`` from now on; it becomes ours."""
        peer.setblocking(False)
        self._peer = peer
        self._incoming.clear()
        self._unsent.clear()
        self.resume()

    def tune(self, header: int, receive: Offload, pairs: int) -> None:
        """No descriptor is C's."""

    def connect(self, receiver: NetReceiver) -> None:
        self._receiver = receiver
        self.resume()

    def send(self, frame: Frame, header: VnetHeader | None = None) -> None:
        if self._peer is None:
            return
        self._flush()
        if len(self._unsent) > _UNSENT_MAX:
            return
        self._unsent += sum(map(len, frame)).to_bytes(_HEADER, "big")
        for piece in frame:
            self._unsent += piece
        self._flush()

    def _flush(self) -> None:
        try:
            while self._unsent and self._peer is not None:
                del self._unsent[: self._peer.send(self._unsent)]
        except BlockingIOError:
            self._flush_later()
        except OSError:
            self._lost()

    def _flush_later(self) -> None:
        """The peer is slow: try again soon, whether or not the guest sends more."""
        if self._retry is None:
            self._retry = self._loop.call_at(self._loop.now_ns() + _RETRY_NS, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        self._flush()

    def resume(self) -> None:
        if self._peer is not None and self._receiver is not None:
            self._deliver()
            if self._peer is not None:
                self._loop.add_reader(self._peer.fileno(), self._readable)

    def _readable(self) -> None:
        if self._peer is None or self._receiver is None:
            return
        if not self._receiver.can_receive():
            self._loop.remove_reader(self._peer.fileno())
            return
        try:
            data = self._peer.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lost()
            return
        self._incoming += data
        self._deliver()
        self._flush()

    def _deliver(self) -> None:
        """Hand over every whole frame for which there is room."""
        while self._receiver is not None and len(self._incoming) >= _HEADER:
            size = int.from_bytes(self._incoming[:_HEADER], "big")
            if size > _LARGEST:  # not our framing: nothing after it can be trusted
                self._lost()
                return
            if len(self._incoming) < _HEADER + size or not self._receiver.can_receive():
                return
            frame = bytes(self._incoming[_HEADER : _HEADER + size])
            del self._incoming[: _HEADER + size]
            self._receiver.receive(frame)

    def _lost(self) -> None:
        """The peer hung up."""
        if self._peer is not None:
            self._loop.remove_reader(self._peer.fileno())
            self._peer.close()
            self._peer = None

    def close(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._peer is not None and self._unsent:
            # What the guest sent before it ended is still owed, to a peer that takes it.
            with contextlib.suppress(OSError):
                self._peer.settimeout(_LAST_WORDS)
                self._peer.sendall(self._unsent)
        self._lost()
