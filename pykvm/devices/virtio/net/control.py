"""The control queue's commands (VIRTIO 1.2, 5.1.6.5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pykvm.devices.turns import Turn
from pykvm.devices.virtio.net.features import RECEIVE, Feature
from pykvm.devices.virtio.net.filters import TABLE, Filters
from pykvm.devices.virtio.ring import Chain, RingError

if TYPE_CHECKING:
    from pykvm.devices.virtio.net.device import Net

OK, ERR = 0, 1
_RX, _MAC, _VLAN, _ANNOUNCE, _MQ, _GUEST_OFFLOADS = range(6)
_MOST = 64 << 10  # bytes of a command that are looked at
_RX_MODES = (
    ("promiscuous", Feature.CTRL_RX), ("all_multicast", Feature.CTRL_RX),
    ("all_unicast", Feature.CTRL_RX_EXTRA), ("no_multicast", Feature.CTRL_RX_EXTRA),
    ("no_unicast", Feature.CTRL_RX_EXTRA), ("no_broadcast", Feature.CTRL_RX_EXTRA),
)  # fmt: skip


class Control:
    """Answers the commands of ``net``'s driver."""

    def __init__(self, net: Net) -> None:
        self._net = net
        self._classes: dict[int, Callable[[int, bytes], bool]] = {
            _RX: self._rx, _MAC: self._mac, _VLAN: self._vlan, _ANNOUNCE: self._announce,
            _MQ: self._mq, _GUEST_OFFLOADS: self._guest_offloads,
        }  # fmt: skip

    def answer(self, chain: Chain, turn: Turn) -> int:
        """Do what the chain says; returns the bytes written: the acknowledgement. Raises RingError
        when there is no room for that."""
        if not chain.writable:
            raise RingError("a control command without room for its acknowledgement")
        command = chain.read(0, _MOST)
        turn.spend(len(command))
        done = len(command) >= 2 and self._run(command[0], command[1], command[2:])
        self._net.device.tell(
            "control", {"command": command[:2].hex(), "ack": "OK" if done else "ERR"}
        )
        return chain.write(bytes((OK if done else ERR,)))

    def _run(self, kind: int, command: int, data: bytes) -> bool:
        run = self._classes.get(kind)
        return run is not None and run(command, data)

    def _has(self, feature: Feature) -> bool:
        return self._net.device.has(feature)

    @property
    def _filters(self) -> Filters:
        return self._net.filters

    def _rx(self, command: int, data: bytes) -> bool:
        """Modes of the receive filter."""
        if command >= len(_RX_MODES) or len(data) < 1:
            return False
        name, feature = _RX_MODES[command]
        if not self._has(feature):
            return False
        setattr(self._filters, name, bool(data[0]))
        return self._net.filters_changed()

    def _mac(self, command: int, data: bytes) -> bool:
        """0: the tables; 1: the address."""
        if command == 1 and self._has(Feature.CTRL_MAC_ADDR) and len(data) >= 6:
            self._filters.mac = data[:6]
            return self._net.filters_changed()
        if command == 0 and self._has(Feature.CTRL_RX):
            return self._tables(data)
        return False

    def _tables(self, data: bytes) -> bool:
        """Two tables, each behind the number of its entries. None changes unless both are whole."""
        tables = []
        for _ in range(2):
            if len(data) < 4:
                return False
            count = int.from_bytes(data[:4], "little")
            if count * 6 > len(data) - 4:
                return False
            tables.append([data[4 + 6 * n : 10 + 6 * n] for n in range(count)])
            data = data[4 + 6 * count :]
        filters = self._filters
        (unicast, multicast) = tables
        filters.unicast_overflow, filters.multicast_overflow = (len(t) > TABLE for t in tables)
        filters.unicast, filters.multicast = unicast[:TABLE], multicast[:TABLE]
        return self._net.filters_changed()

    def _vlan(self, command: int, data: bytes) -> bool:
        """0: let a VLAN in; 1: no more."""
        if command > 1 or not self._has(Feature.CTRL_VLAN) or len(data) < 2:
            return False
        vlan = int.from_bytes(data[:2], "little")
        if vlan > 0xFFF:
            return False
        filters = self._filters
        filters.vlans = filters.vlans & ~(1 << vlan) | (0 if command else 1 << vlan)
        return self._net.filters_changed()

    def _announce(self, command: int, data: bytes) -> bool:
        """The driver has announced itself."""
        if command or not self._has(Feature.GUEST_ANNOUNCE):
            return False
        self._net.announced()
        return True

    def _mq(self, command: int, data: bytes) -> bool:
        """0: how many pairs are used."""
        if command or not self._has(Feature.MQ) or len(data) < 2:
            return False
        pairs = int.from_bytes(data[:2], "little")
        if not 1 <= pairs <= self._net.pairs:
            return False
        self._net.use_pairs(pairs)
        return True

    def _guest_offloads(self, command: int, data: bytes) -> bool:
        """0: what may come unfinished from now on."""
        if command or not self._has(Feature.CTRL_GUEST_OFFLOADS) or len(data) < 8:
            return False
        wanted = int.from_bytes(data[:8], "little")
        known = sum(int(feature) for feature in RECEIVE)
        if wanted & ~(known & self._net.device.features):
            return False
        self._net.use_offloads(wanted)
        return True
