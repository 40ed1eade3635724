"""A network to boot from, ``python:tests.support.netboot:answer``: ARP, DHCP, a file by TFTP.

Just enough of RFC 826, 2131 and 1350 for a client that asks in the usual order; the file fits in
one block of TFTP's, so the client's acknowledgement ends the transfer.
"""

import struct

from pykvm.net.checksum import checksum

SERVER_MAC, SERVER, CLIENT = b"\x52\x54\0\xff\xff\1", bytes((10, 0, 2, 2)), bytes((10, 0, 2, 15))
FILE = "boot"
PROGRAM = bytes.fromhex("b005 e6f4").ljust(64, b"\xf4")  # exits with 5
_IP, _ARP, _UDP = 0x0800, 0x0806, 17
_IPV6, _ICMPV6, _SOLICITATION, _ADVERTISEMENT = 0x86DD, 58, 133, 134
_ALL_NODES = bytes.fromhex("333300000001")
_DHCP_SERVER, _DHCP_CLIENT, _TFTP, _TFTP_DATA = 67, 68, 69, 4069
_DISCOVER, _OFFER, _REQUEST, _ACK = 1, 2, 3, 5
_COOKIE = bytes((99, 130, 83, 99))


def answer(frame):
    """The frames that answer ``frame``."""
    source, kind = frame[6:12], int.from_bytes(frame[12:14], "big")
    if kind == _ARP and frame[20:22] == b"\0\1" and frame[38:42] == SERVER:
        arp = frame[14:20] + b"\0\2" + SERVER_MAC + SERVER + frame[22:32]
        return [source + SERVER_MAC + frame[12:14] + arp]
    if kind == _IPV6 and frame[20] == _ICMPV6 and frame[54] == _SOLICITATION:
        return [_advertisement()]
    if kind != _IP or frame[23] != _UDP:
        return []
    header = 14 + (frame[14] & 0xF) * 4
    port, to = struct.unpack_from(">HH", frame, header)
    data = frame[header + 8 :]
    if to == _DHCP_SERVER:
        reply = _dhcp(data)
        return [_udp(source, b"\xff" * 4, _DHCP_SERVER, _DHCP_CLIENT, reply)] if reply else []
    if to == _TFTP and data.startswith(b"\0\1" + FILE.encode() + b"\0"):
        return [_udp(source, CLIENT, _TFTP_DATA, port, b"\0\3\0\1" + PROGRAM)]
    return []


def _dhcp(request):
    options, at = {}, request.index(_COOKIE) + 4
    while request[at] != 0xFF:
        options[request[at]] = request[at + 2 : at + 2 + request[at + 1]]
        at += 2 + request[at + 1]
    kind = {_DISCOVER: _OFFER, _REQUEST: _ACK}.get(options[53][0])
    if kind is None:
        return b""
    head = b"\2" + request[1:12] + bytes(4) + CLIENT + SERVER + bytes(4) + request[28:44]
    told = {53: bytes((kind,)), 54: SERVER, 1: bytes((255, 255, 255, 0)), 51: bytes((0, 0, 14, 16))}
    listed = b"".join(bytes((code, len(value))) + value for code, value in told.items())
    return head + bytes(64) + FILE.encode().ljust(128, b"\0") + _COOKIE + listed + b"\xff"


def _advertisement():
    """There is no IPv6 here (RFC 4861, 4.2): a client that is told does not wait for it."""
    addresses = (
        bytes.fromhex("fe80") + bytes(13) + b"\2" + bytes.fromhex("ff02") + bytes(13) + b"\1"
    )
    body = bytes((_ADVERTISEMENT, 0, 0, 0, 64)) + bytes(11)
    pseudo = addresses + struct.pack(">II", len(body), _ICMPV6)
    body = body[:2] + checksum(pseudo + body).to_bytes(2, "big") + body[4:]
    header = struct.pack(">IHBB", 6 << 28, len(body), _ICMPV6, 255)
    return (
        bytes.fromhex("333300000001")
        + SERVER_MAC
        + _IPV6.to_bytes(2, "big")
        + header
        + addresses
        + body
    )


def _udp(mac, address, port, to, data):
    udp = struct.pack(">HHHH", port, to, 8 + len(data), 0) + data  # without a checksum
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, _UDP, 0) + SERVER + address
    ip = ip[:10] + checksum(ip).to_bytes(2, "big") + ip[12:]
    return mac + SERVER_MAC + _IP.to_bytes(2, "big") + ip + udp
