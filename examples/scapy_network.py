"""A network in scapy: one host at 10.0.2.2 that answers ARP and ping.

    cd examples
    ../.venv/bin/pykvm run ../guest/build/net_ping.elf \\
        --nic e1000,backend=python:scapy_network:answer

``answer`` is called with each frame that the guest sends, without its FCS, and returns the frames
that come back. scapy is not among pykvm's own requirements: pip install scapy.
"""

from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

MAC, ADDRESS = "02:00:00:00:00:fe", "10.0.2.2"


def answer(frame: bytes) -> list[bytes]:
    """The frames that answer ``frame``: one, or none."""
    asked = Ether(frame)
    reply = Ether(src=MAC, dst=asked.src)
    if ARP in asked and asked[ARP].op == 1 and asked[ARP].pdst == ADDRESS:
        arp = asked[ARP]
        reply /= ARP(op="is-at", hwsrc=MAC, psrc=ADDRESS, hwdst=arp.hwsrc, pdst=arp.psrc)
    elif ICMP in asked and asked[ICMP].type == 8 and asked[IP].dst == ADDRESS:
        ping = asked[ICMP]
        data = ping[Raw].load if Raw in ping else b""  # what follows is Ethernet's padding
        reply /= IP(src=ADDRESS, dst=asked[IP].src)
        reply /= ICMP(type="echo-reply", id=ping.id, seq=ping.seq) / data
    else:
        return []
    return [bytes(reply)]
