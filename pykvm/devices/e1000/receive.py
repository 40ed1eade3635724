"""From the wire to the receive ring: filters, tags, room, statistics, causes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykvm.devices.e1000 import registers as r
from pykvm.devices.e1000 import rx
from pykvm.devices.e1000.filters import accepts, accepts_vlan
from pykvm.devices.e1000.registers import Cause
from pykvm.errors import DeviceError

if TYPE_CHECKING:
    from pykvm.devices.e1000.reference import ReferenceEngine

_VLAN_TAG = 4
_SHORTEST = 60
_MAX_STANDARD = 1518  # without FCS, with a tag; more needs LPE


class Receiver:
    """The card's end of the cable (``NetReceiver``)."""

    def __init__(self, card: ReferenceEngine) -> None:
        self._card = card
        self._starved = False  # the backend was told that there is no room

    def resume(self) -> None:
        """There may be room again."""
        if self._starved and self.can_receive():
            self._starved = False
            self._card.around.backend.resume()

    def _room(self) -> int:
        get = self._card.get
        return rx.room(get("RDLEN"), get("RDH"), get("RDT"))

    def can_receive(self) -> bool:
        """With the receiver off frames are taken, and lost: a cable does not wait. With it on, they
        are held back for as long as there is no descriptor."""
        enabled = bool(self._card.get("RCTL") & r.RCTL["EN"].mask)
        self._starved = enabled and self._room() == 0
        return not self._starved

    def receive(self, frame: bytes) -> None:
        """A frame from the backend, or from our own transmitter in loopback."""
        card = self._card
        rctl = card.get("RCTL")
        if not rctl & r.RCTL["EN"].mask or len(frame) < 14 or not card.connected:
            return
        if len(frame) < _SHORTEST:
            frame = frame.ljust(_SHORTEST, b"\0")  # the sender's card would have padded it
        card.counters.seen(frame)
        if not accepts(frame, rctl, card.get):
            card.around.tell("filtered", {"frame": frame})
            return
        longest = rx.MAX_FRAME - 4 if rctl & r.RCTL["LPE"].mask else _MAX_STANDARD
        if len(frame) > longest:
            card.counters.add("ROC")
            return
        packet, vlan = frame, None
        if int.from_bytes(frame[12:14], "big") == card.get("VET") & 0xFFFF:
            tag = int.from_bytes(frame[14:16], "big")
            if not accepts_vlan(tag, rctl, card.get):
                return
            if card.get("CTRL") & r.CTRL["VME"].mask:
                vlan, frame = tag, frame[:12] + frame[12 + _VLAN_TAG :]
        self._store(packet, frame, vlan, rctl)

    def _store(self, packet: bytes, frame: bytes, vlan: int | None, rctl: int) -> None:
        card = self._card
        fcs = 0 if rctl & r.RCTL["SECRC"].mask else 4
        needed = -(-(len(frame) + fcs) // rx.buffer_size(rctl))
        free = self._room()
        if needed > free:
            card.around.tell("no room", {"frame": packet})
            card.counters.add("MPC")
            card.counters.add("RNBC")
            card.cause(Cause.RXO)
            return
        base = card.get("RDBAH") << 32 | card.get("RDBAL")
        try:
            received = rx.store(
                card.around.dma, frame, vlan, base=base, length=card.get("RDLEN"),
                head=card.get("RDH"), rctl=rctl, rxcsum=card.get("RXCSUM"), packet=packet,
            )  # fmt: skip
        except DeviceError as error:
            card.counters.add("MPC")
            card.around.report(error)
            return
        card.put("RDH", received.head)
        card.counters.received(packet)
        for row in received.rows:
            card.around.tell("rx descriptor", row)
        card.around.tell("received", {"frame": packet})
        self._announce(free - len(received.rows), rctl)

    def _announce(self, free: int, rctl: int) -> None:
        card = self._card
        causes = 0
        threshold = card.get("RDLEN") // rx.DESCRIPTOR >> r.RCTL["RDMTS"].get(rctl) + 1
        if free <= threshold:
            causes |= Cause.RXDMT0
        if card.get("RDTR"):
            card.rx_delay.start(card.get("RDTR"), card.get("RADV"))
        else:
            causes |= Cause.RXT0
        if causes:
            card.cause(causes)
