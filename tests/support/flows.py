"""Frames as a card would send them one by one: TCP flows and what disturbs them."""

from hypothesis import strategies as st

from pykvm.net.checksum import checksum, fold, ones_sum
from pykvm.net.segment import Layout, segments
from pykvm.net.vnet import GSO_NONE, NEEDS_CSUM, VnetHeader

MACS = bytes.fromhex("020000000001525400123456")
DISTURBANCES = (
    "short long push fin gap again id ttl tos ack window urgent options port destination reserved"
    " bad-sum bad-ip-sum zero-sum ones-sum fragment no-df padding udp tiny empty tagged ip-options"
    " partial bad-partial odd-partial"
).split()


def put(frame, at, value, size=2):
    frame[at : at + size] = (value & (1 << size * 8) - 1).to_bytes(size, "big")


def finish(header, frame):
    """The checksum that ``header`` asks for, made."""
    out = bytearray(frame)
    if header.flags & NEEDS_CSUM:
        put(out, header.csum_start + header.csum_offset, checksum(out[header.csum_start :]))
    return bytes(out)


def cut(header, frame):
    """What the kernel makes of a frame behind its virtio-net header."""
    if header.gso_type == GSO_NONE:
        return [finish(header, frame)]
    ipv4 = frame[12:14] == b"\x08\x00"
    at = header.csum_start + header.csum_offset
    whole = bytearray(frame)
    # segments() wants the pseudo header's sum without the length
    partial = int.from_bytes(whole[at : at + 2], "big")
    put(whole, at, fold(partial + (len(frame) - header.csum_start ^ 0xFFFF)))
    layout = Layout(
        14, header.csum_start, at, header.hdr_len, header.gso_size, ipv4, True, ipv4, 24
    )
    return list(segments(bytes(whole), layout))


class Flow:
    """One TCP connection's sending side; ``next`` makes frames."""

    def __init__(self, *, ipv4=True, payload=100, options=b"", sequence=1, ident=1, port=80):
        self.ipv4, self.payload, self.options = ipv4, payload, options
        self.sequence, self.ident, self.port = sequence, ident, port
        self.count = 0

    def next(self, what=""):
        """(header, frame); ``what`` names the disturbance."""
        self.count += 1
        size = {"short": self.payload - 1, "long": self.payload + 1, "tiny": 1, "empty": 0}
        data = bytearray((self.count * 31 + n) & 0xFF for n in range(size.get(what, self.payload)))
        flags = 0x10 | {"push": 0x08, "fin": 0x01}.get(what, 0)
        options = bytes(12) if what == "options" else self.options
        self.sequence += {"gap": 7, "again": -self.payload}.get(what, 0)
        tcp = bytearray(20) + options + data
        put(tcp, 0, self.port + (what == "port"))
        put(tcp, 2, 2000)
        put(tcp, 4, self.sequence, 4)
        put(tcp, 8, 1 + (what == "ack"), 4)
        tcp[12] = (20 + len(options)) // 4 << 4 | (what == "reserved")
        tcp[13] = flags
        put(tcp, 14, 500 + (what == "window"))
        put(tcp, 18, what == "urgent")
        self.sequence += len(data)
        ip = self._ip(len(tcp), what)
        return self._sums(ip, tcp, what)

    def _ip(self, length, what):
        target = 1 + (what == "destination")
        if not self.ipv4:
            ip = bytearray(40)
            put(ip, 0, 0x60000000 | (what == "tos") << 20, 4)
            put(ip, 4, length)
            ip[6], ip[7] = 17 if what == "udp" else 6, 64 - (what == "ttl")
            ip[23], ip[39] = 1, target + 1
            return ip
        ip = bytearray(24 if what == "ip-options" else 20)
        self.ident += what == "id"
        ip[0], ip[1] = 0x40 | len(ip) // 4, what == "tos"
        put(ip, 2, len(ip) + length)
        put(ip, 4, self.ident)
        self.ident += 1
        put(ip, 6, {"fragment": 0x2000, "no-df": 0}.get(what, 0x4000))
        ip[8], ip[9] = 64 - (what == "ttl"), 17 if what == "udp" else 6
        put(ip, 12, 0x0A000001, 4)
        put(ip, 16, 0x0A000001 + target, 4)
        put(ip, 10, checksum(ip) + (what == "bad-ip-sum"))
        return ip

    def _sums(self, ip, tcp, what):
        pseudo = fold(
            ones_sum(ip[12:20] if self.ipv4 else ip[8:40]) + ip[9 if self.ipv4 else 6] + len(tcp)
        )
        at = 14 + len(ip)
        header = VnetHeader()
        if what.endswith("partial"):
            put(tcp, 16, pseudo + (what == "bad-partial"))
            header = VnetHeader(NEEDS_CSUM, csum_start=at, csum_offset=16)
            if what == "odd-partial":
                header = header._replace(csum_offset=18)
        else:
            if what in ("zero-sum", "ones-sum"):
                put(tcp, len(tcp) - len(tcp) % 2 - 2, 0)
                put(tcp, len(tcp) - len(tcp) % 2 - 2, checksum(tcp, pseudo))
            put(tcp, 16, checksum(tcp, pseudo) + (what == "bad-sum"))
            if what == "ones-sum":
                put(tcp, 16, 0xFFFF)
        frame = MACS + (b"\x08\x00" if self.ipv4 else b"\x86\xdd") + ip + tcp
        if what == "padding":
            frame += b"\0\0"
        if what == "tagged":
            frame = frame[:12] + b"\x81\0\0\5" + frame[12:]
        return header, bytes(frame)


@st.composite
def traffic(draw, most=40):
    """Frames of up to two flows, in order and disturbed."""
    flows = [
        Flow(
            ipv4=draw(st.booleans()),
            payload=draw(st.sampled_from([6, 7, 100, 101, 536, 1448, 1460, 9000])),
            options=draw(st.sampled_from([b"", b"", b"\1\1\x08\x0a" + bytes(range(8))])),
            sequence=draw(st.sampled_from([1, 0xFFFFFF00])),
            ident=draw(st.sampled_from([1, 0xFFFE])),
            port=80 + n,
        )
        for n in range(2)
    ]
    step = st.tuples(
        st.sampled_from([0, 0, 0, 0, 0, 0, 0, 1]),
        st.one_of(st.just(""), st.just(""), st.just(""), st.sampled_from(DISTURBANCES)),
    )
    steps = draw(st.lists(step, min_size=1, max_size=most))
    return [flows[which].next(what) for which, what in steps]
