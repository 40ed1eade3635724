"""virtio-net's feature bits (VIRTIO 1.2, 5.1.3), and what they mean for headers and offloads."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntFlag

from pykvm.devices.virtio.features import Ring
from pykvm.net.vnet import (
    GSO_ECN,
    GSO_NONE,
    GSO_TCPV4,
    GSO_TCPV6,
    GSO_UDP,
    GSO_UDP_L4,
    MERGEABLE_SIZE,
    SIZE,
    Offload,
)


class Feature(IntFlag):
    CSUM = 1 << 0
    GUEST_CSUM = 1 << 1
    CTRL_GUEST_OFFLOADS = 1 << 2
    MTU = 1 << 3
    MAC = 1 << 5
    GUEST_TSO4 = 1 << 7
    GUEST_TSO6 = 1 << 8
    HOST_TSO4 = 1 << 11
    HOST_TSO6 = 1 << 12
    HOST_ECN = 1 << 13
    HOST_UFO = 1 << 14
    MRG_RXBUF = 1 << 15
    STATUS = 1 << 16
    CTRL_VQ = 1 << 17
    CTRL_RX = 1 << 18
    CTRL_VLAN = 1 << 19
    CTRL_RX_EXTRA = 1 << 20
    GUEST_ANNOUNCE = 1 << 21
    MQ = 1 << 22
    CTRL_MAC_ADDR = 1 << 23
    GUEST_USO4 = 1 << 54
    GUEST_USO6 = 1 << 55
    HOST_USO = 1 << 56


RECEIVE = {
    Feature.GUEST_CSUM: Offload.CSUM,
    Feature.GUEST_TSO4: Offload.TSO4,
    Feature.GUEST_TSO6: Offload.TSO6,
    Feature.GUEST_USO4: Offload.USO4,
    Feature.GUEST_USO6: Offload.USO6,
}
"""What the driver takes unfinished, and what the backend may leave so."""

REQUESTS = {
    Feature.CSUM: 1 << GSO_NONE,
    Feature.HOST_TSO4: 1 << GSO_TCPV4,
    Feature.HOST_TSO6: 1 << GSO_TCPV6,
    Feature.HOST_ECN: GSO_ECN,
    Feature.HOST_UFO: 1 << GSO_UDP,
    Feature.HOST_USO: 1 << GSO_UDP_L4,
}
"""What the headers of a driver with these may ask for: see ``VnetHeader.admitted``."""

ALWAYS = (
    Feature.CSUM | Feature.GUEST_CSUM | Feature.CTRL_GUEST_OFFLOADS | Feature.MTU | Feature.MAC
    | Feature.GUEST_TSO4 | Feature.GUEST_TSO6 | Feature.HOST_TSO4 | Feature.HOST_TSO6
    | Feature.MRG_RXBUF | Feature.STATUS | Feature.CTRL_VQ | Feature.CTRL_RX | Feature.CTRL_VLAN
    | Feature.CTRL_RX_EXTRA | Feature.GUEST_ANNOUNCE | Feature.CTRL_MAC_ADDR
)  # fmt: skip

# What a feature makes sense with only (5.1.3.1).
NEEDS: Mapping[int, int] = {
    Feature.GUEST_TSO4: Feature.GUEST_CSUM,
    Feature.GUEST_TSO6: Feature.GUEST_CSUM,
    Feature.GUEST_USO4: Feature.GUEST_CSUM,
    Feature.GUEST_USO6: Feature.GUEST_CSUM,
    Feature.HOST_TSO4: Feature.CSUM,
    Feature.HOST_TSO6: Feature.CSUM,
    Feature.HOST_USO: Feature.CSUM,
    Feature.CTRL_RX: Feature.CTRL_VQ,
    Feature.CTRL_VLAN: Feature.CTRL_VQ,
    Feature.CTRL_RX_EXTRA: Feature.CTRL_VQ,
    Feature.GUEST_ANNOUNCE: Feature.CTRL_VQ,
    Feature.MQ: Feature.CTRL_VQ,
    Feature.CTRL_MAC_ADDR: Feature.CTRL_VQ,
}


def header_size(features: int) -> int:
    """Bytes in front of each frame: with VERSION_1 or mergeable buffers there is num_buffers."""
    return MERGEABLE_SIZE if features & (Ring.VERSION_1 | Feature.MRG_RXBUF) else SIZE


def receive_offloads(features: int) -> Offload:
    """What may come to the driver unfinished."""
    wanted = Offload.NONE
    for feature, offload in RECEIVE.items():
        if features & feature and features & Feature.GUEST_CSUM:
            wanted |= offload
    return wanted


def requests(features: int) -> int:
    """What the driver may leave unfinished."""
    return sum(bit for feature, bit in REQUESTS.items() if features & feature)
