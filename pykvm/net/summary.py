"""A frame in one line, for people."""

from __future__ import annotations

from socket import AF_INET6, inet_ntoa, inet_ntop

_FLAGS = "FSRPAUEC"


def _mac(data: bytes) -> str:
    return ":".join(f"{byte:02x}" for byte in data)


def summary(frame: bytes) -> str:
    """``52:54:00:12:34:56 > ff:ff:ff:ff:ff:ff, ARP who has 10.0.0.2, 60 bytes``."""
    import dpkt  # costs a tenth of a second, so only who looks at frames pays

    text = f"{_mac(frame[6:12])} > {_mac(frame[:6])}"
    kind = f"type 0x{frame[12:14].hex()}"
    try:
        kind = _inside(dpkt.ethernet.Ethernet(frame).data) or kind
    except Exception:  # the frame is the guest's, or the world's, and dpkt stumbles as it likes
        kind += " that cannot be read"
    return f"{text}, {kind}, {len(frame)} bytes"


def _inside(packet: object) -> str:
    """What Ethernet carries; empty when that is nothing known."""
    import dpkt

    if isinstance(packet, dpkt.arp.ARP):
        return (
            f"ARP {inet_ntoa(packet.spa)} is at {_mac(packet.sha)}"
            if packet.op == dpkt.arp.ARP_OP_REPLY
            else f"ARP who has {inet_ntoa(packet.tpa)}"
        )
    if isinstance(packet, dpkt.ip.IP):
        source, target = inet_ntoa(packet.src), inet_ntoa(packet.dst)
    elif isinstance(packet, dpkt.ip6.IP6):
        source, target = inet_ntop(AF_INET6, packet.src), inet_ntop(AF_INET6, packet.dst)
    else:
        return ""
    inner = packet.data
    if isinstance(inner, dpkt.tcp.TCP):
        flags = "".join(name for n, name in enumerate(_FLAGS) if inner.flags >> n & 1)
        return (
            f"{source}.{inner.sport} > {target}.{inner.dport} TCP {flags} seq {inner.seq}"
            f" ack {inner.ack}, {len(inner.data)} of data"
        )
    if isinstance(inner, dpkt.udp.UDP):
        return f"{source}.{inner.sport} > {target}.{inner.dport} UDP, {len(inner.data)} of data"
    if isinstance(inner, dpkt.icmp.ICMP):
        kind = {0: "echo reply", 8: "echo request"}.get(inner.type, f"type {inner.type}")
        return f"{source} > {target} ICMP {kind}"
    protocol = packet.p if isinstance(packet, dpkt.ip.IP) else packet.nxt
    return f"{source} > {target} protocol {protocol}"
