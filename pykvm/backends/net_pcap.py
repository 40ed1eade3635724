"""Records the frames of any backend, both directions, for Wireshark (pcapng, draft-ietf-opsawg).

Every packet is flushed, so that a reader can follow the file while the guest runs.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from typing import Any

from pykvm.errors import HostError
from pykvm.interfaces import Frame, NetBackend, NetReceiver
from pykvm.net.vnet import Offload, VnetHeader

_EPB_FLAGS = 2
_INBOUND, _OUTBOUND = 1, 2


class PcapBackend:
    """Stands between a card and ``inner``; in the file, "inbound" is what the guest receives.

    Offloads are refused, so that the file shows the frames as they are on the wire. Raises
    HostError when the file cannot be written.
    """

    offloads = Offload.NONE
    native_fd: int | None = None
    native_fds: Sequence[int] = ()

    def __init__(self, inner: NetBackend, path: str) -> None:
        from dpkt import pcapng

        self._inner = inner
        self._pcapng: Any = pcapng
        self._receiver: NetReceiver | None = None
        try:
            self._file = open(path, "wb")  # noqa: SIM115  (closed in close)
        except OSError as error:
            raise HostError(f"--nic: pcap={path}: {error.strerror}") from error
        section = pcapng.SectionHeaderBlockLE()
        interface = pcapng.InterfaceDescriptionBlockLE(snaplen=0x40000)
        self._file.write(bytes(section) + bytes(interface))
        self._file.flush()

    def tune(self, header: int, receive: Offload, pairs: int) -> None:
        """No descriptor is C's."""

    def connect(self, receiver: NetReceiver) -> None:
        self._receiver = receiver
        self._inner.connect(self)

    def can_receive(self) -> bool:
        return self._receiver is not None and self._receiver.can_receive()

    def receive(self, frame: bytes) -> None:
        """From the backend to the card."""
        self._record(frame, _INBOUND)
        if self._receiver is not None:
            self._receiver.receive(frame)

    def send(self, frame: Frame, header: VnetHeader | None = None) -> None:
        """From the card to the backend."""
        self._record(b"".join(frame), _OUTBOUND)
        self._inner.send(frame, header)

    def _record(self, frame: bytes, direction: int) -> None:
        if self._file.closed:
            return
        now = time.time_ns() // 1000
        flags = self._pcapng.PcapngOptionLE(code=_EPB_FLAGS, data=struct.pack("<I", direction))
        block = self._pcapng.EnhancedPacketBlockLE(
            ts_high=now >> 32, ts_low=now & 0xFFFF_FFFF, caplen=len(frame), pkt_len=len(frame),
            pkt_data=frame, opts=[flags, self._pcapng.PcapngOptionLE(code=0)],
        )  # fmt: skip
        self._file.write(bytes(block))
        self._file.flush()

    def resume(self) -> None:
        self._inner.resume()

    def close(self) -> None:
        self._inner.close()
        self._file.close()
