"""From finished descriptors to the backend: tags, padding, offloads, loopback."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pykvm.devices.e1000 import registers as r
from pykvm.devices.e1000.tx import Result, TransmitRing
from pykvm.devices.turns import Turn
from pykvm.net.checksum import fold
from pykvm.net.segment import Layout, segments, set_lengths
from pykvm.net.vnet import GSO_TCPV4, GSO_TCPV6, NEEDS_CSUM, Offload, VnetHeader

if TYPE_CHECKING:
    from pykvm.devices.e1000.reference import ReferenceEngine

_MIN_FRAME = 60
_MAX_GSO = 65535


class Transmitter:
    """Drives the ring walk with the card's registers and sends what it yields, a turn at a time.

    A segmentation request that a turn does not get to the end of has left the ring already: the
    rest of its frames leaves before the next descriptor is read.
    """

    def __init__(self, card: ReferenceEngine) -> None:
        self._card = card
        self._leaving: Iterator[bytes] = iter(())
        self.left = False  # whether there are more of those
        self._ring = TransmitRing(card.around.dma, card.around.tell if card.around.trace else None)

    def run(self) -> Result:
        """A turn's worth of what is between TDH and TDT."""
        card, turn = self._card, Turn(self._card.around.loop)
        result = Result(head=card.get("TDH"))
        self._leave(turn)
        if self.left:
            result.more = True
            return result
        base = card.get("TDBAH") << 32 | card.get("TDBAL")
        walk = self._ring.walk(base, card.get("TDLEN"), card.get("TDT"), turn, result)
        for data, layout, tag in walk:
            card.put("TDH", result.head)
            if layout is None:
                self._send(self._tagged(data, tag))
                turn.spend(len(data))
            else:
                self._send_segments(data, layout, tag, turn)
        card.put("TDH", result.head)
        result.more = self.left or (turn.over and result.head != card.get("TDT"))
        return result

    def settle(self) -> None:
        """What has left the ring leaves the card."""
        self._leave(None)

    def _leave(self, turn: Turn | None) -> None:
        """Send what a request was cut into; all of it without a turn that ends."""
        while turn is None or not turn.over:
            frame = next(self._leaving, None)
            if frame is None:
                self.left = False
                return
            self._send(frame)
            if turn is not None:
                turn.spend(len(frame))

    def _send_segments(self, data: bytes, layout: Layout, tag: int | None, turn: Turn) -> None:
        card = self._card
        card.counters.add("TSCTC")
        if not card.connected:
            return
        header = None if card.looped or tag is not None else self._offloaded(data, layout)
        if header is None:
            self._leaving = (self._tagged(frame, tag) for frame in segments(data, layout))
            self.left = True
            self._leave(turn)
            return
        turn.spend(len(data))
        whole = bytearray(data)
        set_lengths(whole, layout, len(whole))
        # The kernel wants the pseudo header's sum with the whole length in it.
        at = layout.checksum_at
        partial = int.from_bytes(whole[at : at + 2], "big") + len(whole) - layout.transport
        whole[at : at + 2] = fold(partial).to_bytes(2, "big")
        card.around.tell("sent", {"frame": bytes(whole), "mss": layout.mss})
        for size in self._sizes(len(data) - layout.header, layout):
            card.counters.sent(bytes(whole[:size]))
        card.around.backend.send([memoryview(whole)], header)

    def _sizes(self, payload: int, layout: Layout) -> Iterator[int]:
        """Bytes of each frame that the segment becomes."""
        for at in range(0, payload, layout.mss):
            yield layout.header + min(layout.mss, payload - at)

    def _offloaded(self, data: bytes, layout: Layout) -> VnetHeader | None:
        """The header that hands segmentation to the backend, if it is one that the backend does."""
        needed = Offload.TSO4 if layout.ipv4 else Offload.TSO6
        payload = len(data) - layout.header
        possible = (
            needed in self._card.around.backend.offloads
            and layout.tcp
            and layout.transport_checksum
            and layout.ip_checksum == layout.ipv4
            and layout.checksum_at >= layout.transport
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
        if len(frame) < 14 or not card.connected:
            return
        if len(frame) < _MIN_FRAME and card.get("TCTL") & r.TCTL["PSP"].mask:
            frame = frame.ljust(_MIN_FRAME, b"\0")
        card.counters.sent(frame)
        card.around.tell("sent", {"frame": frame})
        if card.looped:
            card.receive(frame)
        else:
            card.around.backend.send([memoryview(frame)])

    def reset(self) -> None:
        """Forget the context, an unfinished frame, and what was about to leave."""
        self._forget()
        self._ring.reset()

    def _forget(self) -> None:
        self._leaving, self.left = iter(()), False

    def state(self) -> dict[str, Any]:
        return self._ring.state()

    def restore(self, state: Any) -> None:
        self._forget()
        self._ring.restore(state)
