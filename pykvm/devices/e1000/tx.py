"""The transmit ring, in Python: the reference of what transmitting means (manual, 3.3 to 3.5).

Three kinds of descriptor, 16 bytes each, little endian::

    legacy    address 8 | length 2, CSO 1, command 1 | status 1, CSS 1, special 2
    context   IPCSS 1, IPCSO 1, IPCSE 2, TUCSS 1, TUCSO 1, TUCSE 2
              | PAYLEN 20 bits, type 4 bits, TUCMD 1 | status 1, HDRLEN 1, MSS 2
    data      address 8 | length 20 bits, type 4 bits, DCMD 1 | status 1, POPTS 1, special 2

Everything that the guest sizes is bounded: a walk ends with its turn, a frame has at most
``MAX_FRAME`` bytes (what is longer is dropped whole), a segmentation request becomes about
``MOST_SEGMENTS`` frames at most. A frame leaves the walk before the next descriptor is read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pykvm.devices.e1000.engine import Trace
from pykvm.devices.pci.dma import BusMaster
from pykvm.devices.turns import Turn
from pykvm.errors import DeviceError
from pykvm.net.checksum import checksum
from pykvm.net.segment import Layout
from pykvm.registers import Register, fields

DESCRIPTOR = 16
MAX_FRAME = 0x40000 + 256
MOST_SEGMENTS = 2048
_LEGACY = struct.Struct("<QHBBBBH")
_CONTEXT = struct.Struct("<BBHBBHIBBH")
_DATA = struct.Struct("<QIBBH")

EOP, IC, TSE, RS, RPS, DEXT, VLE, IDE = 0x01, 0x04, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80
_TCP, _IP = 0x01, 0x02
_IXSM, _TXSM = 0x01, 0x02
_DD = 0x01
_TYPE_DATA = 1
_COMMAND = Register("CMD", 0, fields=fields("EOP:0 IFCS:1 IC_TSE:2 RS:3 RPS:4 DEXT:5 VLE:6 IDE:7"))
_TUCMD = Register("TUCMD", 0, fields=fields("TCP:0 IP:1 TSE:2 RS:3 SNAP:4 DEXT:5 IDE:7"))


@dataclass
class Context:
    """What the last context descriptor said."""

    ipcss: int = 0
    ipcso: int = 0
    ipcse: int = 0
    tucss: int = 0
    tucso: int = 0
    tucse: int = 0
    paylen: int = 0
    tucmd: int = 0
    hdrlen: int = 0
    mss: int = 0


@dataclass
class Packet:
    """A frame in the making: it may span descriptors, and kicks."""

    data: bytearray = field(default_factory=bytearray)
    started: bool = False
    bad: bool = False  # too long, or its data is not in RAM: dropped at its end
    segment: bool = False
    popts: int = 0
    vlan: int | None = None
    cso: int | None = None  # of a legacy descriptor with IC
    css: int = 0


class Finished(NamedTuple):
    """A complete frame, and what is still to be done with it."""

    data: bytes
    layout: Layout | None  # of the frames that it is to be cut into
    tag: int | None


@dataclass
class Result:
    """What one walk has done so far."""

    head: int = 0
    reported: bool = False  # a descriptor with RS was written back
    delayed: bool = True  # ... and all of those allowed a delay (IDE)
    more: bool = False  # the turn ended before the work did
    errors: list[str] = field(default_factory=list)


class TransmitRing:
    """Context and unfinished frame; the ring's registers are passed in for each walk. ``tell`` is
    shown every descriptor, for the trace."""

    def __init__(self, dma: BusMaster, tell: Trace | None = None) -> None:
        self._dma = dma
        self._tell = tell
        self.reset()

    def reset(self) -> None:
        self.context = Context()
        self.packet = Packet()

    def walk(
        self, base: int, length: int, tail: int, turn: Turn, result: Result
    ) -> Iterator[Finished]:
        """Consume descriptors from ``result.head`` up to ``tail`` while the turn lasts, and yield
        the frames; ``length`` is the ring's size in bytes.

        Registers that make no ring (a head or tail beyond it) leave everything as it is.
        """
        head, count = result.head, length // DESCRIPTOR
        if head >= count or tail >= count:
            if head != tail:
                result.errors.append(f"TDH {head} or TDT {tail} is outside a ring of {count}")
            return
        while result.head != tail and not turn.over:
            at = base + result.head * DESCRIPTOR
            try:
                raw = self._dma.read(at, DESCRIPTOR)
                if self._tell is not None:
                    self._tell("tx descriptor", {"index": result.head, **described(raw)})
                command, finished = self._consume(raw, turn, result)
                if command & (RS | RPS):
                    self._dma.write(at + 12, bytes((raw[12] | _DD,)))
                    result.reported = True
                    result.delayed = result.delayed and bool(command & IDE)
            except DeviceError as error:  # the ring itself is not in RAM: nothing can go on
                result.errors.append(str(error))
                return
            result.head = (result.head + 1) % count
            if finished is not None:
                yield finished

    def _consume(self, raw: bytes, turn: Turn, result: Result) -> tuple[int, Finished | None]:
        """One descriptor; returns its command byte, and the frame if it finishes one."""
        turn.spend()
        command = raw[11]
        if not command & DEXT:
            self._legacy(raw, turn, result)
            return command, self._finish(result) if command & EOP else None
        if not _is_context(raw):
            self._data(raw, turn, result)
            return command, self._finish(result) if command & EOP else None
        *offsets, word, _, hdrlen, mss = _CONTEXT.unpack(raw)
        self.context = Context(*offsets)
        self.context.paylen, self.context.tucmd = word & 0xFFFFF, word >> 24
        self.context.hdrlen, self.context.mss = hdrlen, mss
        return command, None

    def _legacy(self, raw: bytes, turn: Turn, result: Result) -> None:
        address, length, cso, command, _, css, special = _LEGACY.unpack(raw)
        packet = self.packet
        packet.started = True
        self._gather(address, length, turn, result)
        if command & EOP:
            packet.cso, packet.css = (cso, css) if command & IC else (None, 0)
            packet.vlan = special if command & VLE else None

    def _data(self, raw: bytes, turn: Turn, result: Result) -> None:
        address, word, _, popts, special = _DATA.unpack(raw)
        command = word >> 24
        packet = self.packet
        if not packet.started:  # these hold in the first descriptor of a frame only (3.3.7)
            packet.started = True
            packet.segment = bool(command & TSE)
            packet.popts = popts
            if packet.segment and command & VLE:
                packet.vlan = special
        self._gather(address, word & 0xFFFFF, turn, result)
        if command & EOP and not packet.segment:
            packet.vlan = special if command & VLE else None

    def _gather(self, address: int, length: int, turn: Turn, result: Result) -> None:
        packet = self.packet
        if packet.bad or not length:
            return
        if len(packet.data) + length > MAX_FRAME:
            packet.bad = True
            packet.data.clear()
            result.errors.append(f"a frame of more than {MAX_FRAME} bytes")
            return
        try:
            packet.data += self._dma.read(address, length)
            turn.spend(length)
        except DeviceError as error:
            packet.bad = True
            packet.data.clear()
            result.errors.append(str(error))

    def _finish(self, result: Result) -> Finished | None:
        packet, self.packet = self.packet, Packet()
        if packet.bad or not packet.data:
            return None
        if packet.segment:
            layout = self._layout(packet)
            payload = len(packet.data) - layout.header
            if not layout.fits() or payload < 0 or payload // layout.mss > MOST_SEGMENTS:
                result.errors.append("a TSO request whose headers make no sense")
                return None
            return Finished(bytes(packet.data), layout, packet.vlan)
        context = self.context
        if packet.cso is not None:
            insert(packet.data, packet.css, 0, packet.cso)
        if packet.popts & _IXSM:
            insert(packet.data, context.ipcss, context.ipcse, context.ipcso)
        if packet.popts & _TXSM:
            insert(packet.data, context.tucss, context.tucse, context.tucso)
        return Finished(bytes(packet.data), None, packet.vlan)

    def _layout(self, packet: Packet) -> Layout:
        c = self.context
        return Layout(
            ip=c.ipcss,
            transport=c.tucss,
            checksum_at=c.tucso,
            header=c.hdrlen,
            mss=c.mss,
            ipv4=bool(c.tucmd & _IP),
            tcp=bool(c.tucmd & _TCP),
            ip_checksum=bool(packet.popts & _IXSM),
            ip_checksum_at=c.ipcso,
            transport_checksum=bool(packet.popts & _TXSM),
        )

    def state(self) -> dict[str, Any]:
        left = self.packet
        names = ("started", "bad", "segment", "popts", "vlan")
        kept = {name: getattr(left, name) for name in names}
        return {
            "context": vars(self.context).copy(),
            "packet": {"data": bytes(left.data), **kept},
        }

    def restore(self, state: Any) -> None:
        self.context = Context(**state["context"])
        self.packet = Packet(**state["packet"])
        self.packet.data = bytearray(self.packet.data)


def _bits(register: Register, value: int) -> str:
    return register.decode(value).replace(" ", "|")


def described(raw: bytes) -> dict[str, Any]:
    """A descriptor's fields by name, for the trace."""
    command = _bits(_COMMAND, raw[11])
    if not raw[11] & DEXT:
        address, length, cso, _, _, css, special = _LEGACY.unpack(raw)
        shown = {"address": address, "length": length, "command": command}
        if raw[11] & IC:
            shown |= {"cso": cso, "css": css}
        return {"kind": "legacy", **shown, **({"special": special} if raw[11] & VLE else {})}
    if _is_context(raw):
        ipcss, ipcso, ipcse, tucss, tucso, tucse, word, _, hdrlen, mss = _CONTEXT.unpack(raw)
        names = "ipcss ipcso ipcse tucss tucso tucse".split()
        offsets = zip(names, (ipcss, ipcso, ipcse, tucss, tucso, tucse), strict=True)
        rest = {"paylen": word & 0xFFFFF, "tucmd": _bits(_TUCMD, raw[11]), "hdrlen": hdrlen}
        return {"kind": "context", **dict(offsets), **rest, "mss": mss}
    address, word, _, popts, special = _DATA.unpack(raw)
    shown = {"address": address, "length": word & 0xFFFFF, "command": command, "popts": popts}
    return {"kind": "data", **shown, **({"special": special} if raw[11] & VLE else {})}


def _is_context(raw: bytes) -> bool:
    return bool(raw[11] & DEXT) and raw[10] >> 4 != _TYPE_DATA


def insert(frame: bytearray, start: int, end: int, at: int) -> None:
    """The checksum of ``[start, end]`` (0: to the frame's end) into ``at``; what is already there
    counts in, as the field lies inside the range. Offsets past the frame do nothing."""
    stop = end + 1 if end else len(frame)
    if start >= len(frame) or at + 2 > len(frame):
        return
    value = checksum(memoryview(frame)[start : min(stop, len(frame))])
    frame[at : at + 2] = value.to_bytes(2, "big")
