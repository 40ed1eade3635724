"""Which frames the driver wants to receive (VIRTIO 1.2, 5.1.6.5.1 to 5.1.6.5.3)."""

from __future__ import annotations

import copy
from typing import Any

TABLE = 64
"""Addresses that each of the two tables holds; a longer one accepts everything of its kind."""

_VLAN_TYPE = b"\x81\x00"


class Filters:
    """Promiscuous until the driver says otherwise. ``vlans`` has a bit for each VLAN ID."""

    def __init__(self, mac: bytes) -> None:
        self.mac = mac
        self.promiscuous = True
        self.all_multicast = False
        self.all_unicast = False
        self.no_multicast = False
        self.no_unicast = False
        self.no_broadcast = False
        self.unicast: list[bytes] = []
        self.multicast: list[bytes] = []
        self.unicast_overflow = False
        self.multicast_overflow = False
        self.by_vlan = False
        self.vlans = 0

    def accepts(self, frame: bytes) -> bool:
        """``frame`` from the Ethernet header on; at least 14 bytes."""
        if self.by_vlan and frame[12:14] == _VLAN_TYPE and len(frame) >= 16:
            vlan = int.from_bytes(frame[14:16], "big") & 0xFFF
            if not self.vlans >> vlan & 1:
                return False
        if self.promiscuous:
            return True
        to = frame[:6]
        if to == b"\xff" * 6:
            return not self.no_broadcast
        if to[0] & 1:
            everything = self.all_multicast or self.multicast_overflow
            return not self.no_multicast and (everything or to in self.multicast)
        everything = self.all_unicast or self.unicast_overflow
        return not self.no_unicast and (everything or to == self.mac or to in self.unicast)

    def state(self) -> dict[str, Any]:
        return copy.deepcopy(vars(self))

    def restore(self, state: Any) -> None:
        for name, value in state.items():
            setattr(self, name, value)
