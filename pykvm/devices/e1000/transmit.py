"""From finished descriptors to the backend: tags, padding, offloads, loopback."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pykvm.devices.e1000 import registers as r
from pykvm.devices.e1000.fasttx import FastPath
from pykvm.devices.e1000.tx import Result, TransmitRing
from pykvm.net.checksum import fold
from pykvm.net.segment import Layout, segments, set_lengths
from pykvm.net.vnet import GSO_TCPV4, GSO_TCPV6, NEEDS_CSUM, Offload, VnetHeader

if TYPE_CHECKING:
    from pykvm.devices.e1000.device import E1000

_MIN_FRAME = 60
_MAX_GSO = 65535


class Transmitter:
    """Drives the ring walk with the card's registers and sends what it yields."""

    def __init__(self, card: E1000) -> None:
        self._card = card
        self._ring = TransmitRing(card.dma)
        self._fast: FastPath | None = None

    def run(self) -> Result:
        """Everything between TDH and TDT: by C as far as it goes, the rest by the reference."""
        fast = self._fast_path()
        if fast is None:
            return self._walk(one_frame=False)
        done = Result(head=self._card.get("TDH"))
        while True:
            if not self._ring.packet.started and fast.run(self._ring, done):
                return done
            before = self._card.get("TDH")
            result = self._walk(one_frame=True)
            done.reported = done.reported or result.reported
            done.delayed = done.delayed and result.delayed
            done.errors += result.errors
            done.head = result.head
            if result.head in (before, self._card.get("TDT")):
                return done

    def _walk(self, *, one_frame: bool) -> Result:
        card = self._card
        base = card.get("TDBAH") << 32 | card.get("TDBAL")
        result = self._ring.walk(
            base, card.get("TDLEN"), card.get("TDH"), card.get("TDT"), one_frame=one_frame
        )
        card.put("TDH", result.head)
        for data, layout, tag in result.frames:
            if layout is None:
                self._send(self._tagged(data, tag))
            else:
                self._send_segments(data, layout, tag)
        return result

    def _fast_path(self) -> FastPath | None:
        """C's walk, where it does the same: frames that only go out, to a backend it can write."""
        card = self._card
        if card.trace is not None or card.looped or not card.phy.link:
            return None
        if self._fast is None and card.backend.native_fd is not None:
            self._fast = FastPath(card, card.backend.native_fd)
        return self._fast if self._fast is not None and self._fast.ready() else None

    def _send_segments(self, data: bytes, layout: Layout, tag: int | None) -> None:
        card = self._card
        card.counters.add("TSCTC")
        header = None if card.looped or tag is not None else self._offloaded(data, layout)
        if header is None:
            for frame in segments(data, layout):
                self._send(self._tagged(frame, tag))
            return
        whole = bytearray(data)
        set_lengths(whole, layout, len(whole))
        # The kernel wants the pseudo header's sum with the whole length in it.
        at = layout.checksum_at
        partial = int.from_bytes(whole[at : at + 2], "big") + len(whole) - layout.transport
        whole[at : at + 2] = fold(partial).to_bytes(2, "big")
        for size in self._sizes(len(data) - layout.header, layout):
            card.counters.sent(bytes(whole[:size]))
        card.backend.send([memoryview(whole)], header)

    def _sizes(self, payload: int, layout: Layout) -> Iterator[int]:
        """Bytes of each frame that the segment becomes."""
        for at in range(0, payload, layout.mss):
            yield layout.header + min(layout.mss, payload - at)

    def _offloaded(self, data: bytes, layout: Layout) -> VnetHeader | None:
        """The header that hands segmentation to the backend, if it is one that the backend does."""
        needed = Offload.TSO4 if layout.ipv4 else Offload.TSO6
        payload = len(data) - layout.header
        possible = (
            needed in self._card.backend.offloads
            and layout.tcp
            and layout.transport_checksum
            and (layout.ip_checksum or not layout.ipv4)
            and payload > layout.mss
            and len(data) - layout.ip <= _MAX_GSO
        )
        if not possible:
            return None
        return VnetHeader(
            flags=NEEDS_CSUM,
            gso_type=GSO_TCPV4 if layout.ipv4 else GSO_TCPV6,
            hdr_len=layout.header,
            gso_size=layout.mss,
            csum_start=layout.transport,
            csum_offset=layout.checksum_at - layout.transport,
        )

    def _tagged(self, frame: bytes, tag: int | None) -> bytes:
        card = self._card
        if tag is None or not card.get("CTRL") & r.CTRL["VME"].mask or len(frame) < 12:
            return frame
        kind = (card.get("VET") & 0xFFFF).to_bytes(2, "big")
        return frame[:12] + kind + tag.to_bytes(2, "big") + frame[12:]

    def _send(self, frame: bytes) -> None:
        card = self._card
        if len(frame) < 14 or not (card.phy.link or card.looped):
            return
        if len(frame) < _MIN_FRAME and card.pads:
            frame = frame.ljust(_MIN_FRAME, b"\0")
        card.counters.sent(frame)
        if card.trace is not None:
            card.trace("tx", {"length": len(frame)})
        if card.looped:
            card.receive(frame)
        else:
            card.backend.send([memoryview(frame)])

    def reset(self) -> None:
        """Forget the context and an unfinished frame."""
        self._ring.reset()

    def state(self) -> dict[str, Any]:
        return self._ring.state()

    def restore(self, state: Any) -> None:
        self._ring.restore(state)
