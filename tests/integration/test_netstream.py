"""The guest of ``pykvm bench net``: streams through both cards, as Linux's driver moves them."""

import contextlib
import fcntl
import os
import select
import socket
import struct
import subprocess
import threading

import pytest

from pykvm.net.checksum import ones_sum
from pykvm.net.vnet import GSO_TCPV4, NEEDS_CSUM, VnetHeader
from tests.support import netns
from tests.support.tap import GUESTS, KIND, PYKVM, Peer, namespace

pytestmark = [pytest.mark.kvm, pytest.mark.tap]

CARDS = ["e1000", "virtio-net"]
HOST, PORT, NETWORK = "10.77.0.1", 5001, "10.77.0.1/24"
MTU, HEADERS, MSS, SEGMENTS = 1514, 54, 1460, 44
BIG = HEADERS + SEGMENTS * MSS
END = b"\xff" * 6 + b"\2\0\0\0\0\1" + b"\x88\xb6" + bytes(46)
ODD = 3_000_003  # not a whole number of words, segments or requests
FIN, PSH = 1, 8
_TUNSETIFF, _IFF_TAP, _IFF_NO_PI = 0x400454CA, 2, 0x1000


@pytest.fixture
def place():
    with namespace() as name:
        netns.ip(name, f"addr add {NETWORK} dev tap0")
        yield name


@pytest.fixture
def places():
    with namespace("multi_queue") as name:
        yield name


class Stream:
    """pykvm with the guest; it starts when it is told to, and waits for its end again."""

    def __init__(self, place, nic, append, *more):
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", place, PYKVM, "run", str(GUESTS / "netstream.elf"), "--nic",
             nic, "--append", append, "--timeout", "60", *more],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def line(self):
        text = self.process.stdout.readline().strip()
        return text or self.process.communicate()[1]

    def go(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def start(self):
        assert self.line() == "READY"
        self.go()

    def figures(self):
        """What the guest counted; it has passed, too."""
        text = self.line()
        assert text.startswith("STREAM ")
        words = dict(word.split("=") for word in text.split()[1:])
        out, err = self.process.communicate("\n", timeout=30)
        assert self.process.returncode == 1, out + err
        return {key: int(value) if value.isdigit() else value for key, value in words.items()}


def collect(peer, count, largest):
    peer.wire.settimeout(30)
    return [peer.wire.recv(largest) for _ in range(count)]


def number_of(frame, at):
    return int.from_bytes(frame[at : at + 8], "little")


@pytest.mark.parametrize("driver", ["linux", "poll"])
@pytest.mark.parametrize("card", CARDS)
def test_frames_are_sent_in_order(place, card, driver):
    append = f"count=600 batch=4 driver={driver}"
    with Peer(place) as peer, Stream(place, f"{card},backend=tap:tap0", append) as guest:
        guest.start()
        frames = collect(peer, 600, 2048)
        said = guest.figures()
        assert peer.quiet()
    assert [number_of(frame, 14) for frame in frames] == list(range(600))
    assert {len(frame) for frame in frames} == {MTU}
    assert (said["card"], said["frames"], said["segments"]) == (card, 600, 600)
    assert said["bytes"] == 600 * MTU
    if driver == "poll":  # the other one has no need of any where everything is sent at once
        assert said["interrupts"] == 0


@pytest.mark.parametrize("card", CARDS)
def test_a_stream_by_the_clock_ends(place, card):
    with Stream(place, f"{card},backend=null", "seconds=1") as guest:
        guest.start()
        assert guest.figures()["frames"] > 0


@pytest.mark.parametrize("card", CARDS)
def test_large_requests_leave_whole(place, card):
    with (
        Peer(place, kind=0x0800) as peer,
        Stream(place, f"{card},backend=tap:tap0", "unit=big count=300") as guest,
    ):
        guest.start()
        frames = collect(peer, 300, 1 << 17)
        said = guest.figures()
    assert [number_of(frame, HEADERS) for frame in frames] == list(range(300))
    assert {len(frame) for frame in frames} == {BIG}
    assert (said["frames"], said["segments"], said["bytes"]) == (300, 300 * SEGMENTS, 300 * BIG)


@pytest.mark.parametrize("packed", ["off", "on"])
def test_a_longer_ring_takes_all_requests_before_anybody_has_to_wait(place, packed):
    """The only interrupt that is asked for is the one that says all are sent, maybe twice."""
    nic = f"virtio-net,backend=tap:tap0,ring=4096,packed={packed}"
    with (
        Peer(place, kind=0x0800) as peer,
        Stream(place, nic, "unit=big count=3500") as guest,
    ):
        guest.start()
        numbers = [number_of(frame, HEADERS) for frame in collect(peer, 3500, 1 << 17)]
        said = guest.figures()
    assert numbers == list(range(3500))
    assert said["segments"] == 3500 * SEGMENTS
    assert said["interrupts"] <= 2


@pytest.mark.parametrize("packed", ["off", "on"])
def test_a_longer_ring_goes_around(place, packed):
    nic = f"virtio-net,backend=tap:tap0,ring=4096,packed={packed}"
    with Peer(place) as peer, Stream(place, nic, "count=9000 batch=16") as guest:
        guest.start()
        numbers = [number_of(frame, 14) for frame in collect(peer, 9000, 2048)]
        guest.figures()
    assert numbers == list(range(9000))


@pytest.mark.parametrize("driver", ["linux", "poll"])
def test_processors_send_at_once_each_by_a_pair_of_its_own(places, driver):
    nic = "virtio-net,backend=tap:tap0,queues=3"
    append = f"queues=3 vcpus=3 count=6000 driver={driver}"
    with (
        Peer(places) as peer,
        Stream(places, nic, append, "--cpus", "3") as guest,
    ):
        guest.start()
        numbers = [number_of(frame, 14) for frame in collect(peer, 6000, 2048)]
        said = guest.figures()
        assert peer.quiet()
    for cpu in range(3):
        assert [n for n in numbers if n % 3 == cpu] == list(range(cpu, 6000, 3))
        assert said[f"pair{cpu}"] == 2000
    assert said["frames"] == 6000
    assert (said["interrupts"] == 0) == (driver == "poll")


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("driver", ["linux", "poll"])
def test_pairs_of_queues_take_turns_by_doorbell_and_lose_nothing(places, driver, batch):
    nic = "virtio-net,backend=tap:tap0,queues=3"
    append = f"queues=3 count=2400 batch={batch} driver={driver}"
    with Peer(places) as peer, Stream(places, nic, append) as guest:
        guest.start()
        numbers = [number_of(frame, 14) for frame in collect(peer, 2400, 2048)]
        said = guest.figures()
        assert peer.quiet()
    assert sorted(numbers) == list(range(2400))
    assert said["frames"] == sum(said[f"pair{n}"] for n in range(3)) == 2400
    assert all(said[f"pair{n}"] % batch == 0 < said[f"pair{n}"] for n in range(3))


def test_frames_are_received_from_every_pair_to_the_last_one(places):
    """The last one may come by a pair that is ahead of the others; it says how many there were."""
    nic = "virtio-net,backend=tap:tap0,queues=4"
    with (
        Peer(places, kind=0x0800) as peer,
        Stream(places, nic, "queues=4 dir=rx") as guest,
    ):
        guest.start()
        for number in range(640):
            peer.wire.send(of_a_flow(number))
        peer.wire.send(END[:14] + struct.pack("<Q", 640) + END[22:])
        said = guest.figures()
    assert (said["frames"], said["lost"]) == (640, 0)
    assert sum(said[f"pair{n}"] for n in range(4)) >= 640
    assert sum(said[f"pair{n}"] > 1 for n in range(4)) > 1


@pytest.mark.parametrize(
    ("numbers", "last", "said"),
    [
        ([0, 1, 3], 0, "lost=1"),
        ([0, 1, 2], 5, "lost=2"),
        ([2, 0, 1], 3, "lost=0"),
        ([0, 1, 1, 3], 0, "FAIL: a frame came twice"),
    ],
)
def test_what_is_missing_in_any_order_is_told(place, numbers, last, said):
    with (
        Peer(place, kind=KIND) as peer,
        Stream(place, "virtio-net,backend=tap:tap0", "dir=rx") as guest,
    ):
        guest.start()
        for number in numbers:
            peer.wire.send(numbered(number))
        peer.wire.send(END[:14] + struct.pack("<Q", last) + END[22:])
        assert said in guest.line()


def of_a_flow(number):
    """TCP over IPv4 from a port for each number, so that the host's hash spreads them."""
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, MTU - 14, 0, 0, 64, 6, 0, bytes(4), bytes(4))
    tcp = struct.pack(">HHIIBBHHH", 1024 + number, 81, 0, 0, 0x50, 0x10, 999, 0, 0)
    head = b"\xff" * 6 + b"\2\0\0\0\0\1\x08\x00" + ip + tcp + struct.pack("<Q", number)
    return head.ljust(MTU, b"\0")


def numbered(number):
    return b"\xff" * 6 + b"\2\0\0\0\0\1\x88\xb5" + struct.pack("<Q", number) + bytes(MTU - 22)


def segments_of(number):
    """A large TCP segment, behind a header that says how it could be cut."""
    size = BIG - HEADERS
    addresses = socket.inet_aton(HOST) + socket.inet_aton("10.77.0.2")
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 40 + size, 0, 0x4000, 64, 6, 0)
    ip = ip[:10] + (~ones_sum(ip + addresses) & 0xFFFF).to_bytes(2, "big") + addresses
    tcp = struct.pack(">HHIIBBHHH", 80, 81, number * size & 0xFFFFFFFF, 0, 0x50, 0x10, 999,
                      ones_sum(addresses, 26 + size), 0)  # fmt: skip
    header = VnetHeader(NEEDS_CSUM, GSO_TCPV4, HEADERS, MSS, 34, 16).pack()
    ethernet = b"\xff" * 6 + b"\2\0\0\0\0\1\x08\x00"
    return header + ethernet + ip + tcp + struct.pack("<Q", number) + bytes(size - 8)


@pytest.mark.parametrize("driver", ["linux", "poll"])
@pytest.mark.parametrize("card", CARDS)
def test_frames_are_received_until_the_last_one_and_the_missing_are_counted(place, card, driver):
    with (
        Peer(place, kind=KIND) as peer,
        Stream(place, f"{card},backend=tap:tap0", f"dir=rx driver={driver}") as guest,
    ):
        guest.start()
        for number in range(600):
            if number not in (5, 77):
                peer.wire.send(numbered(number))
        peer.wire.send(END)
        said = guest.figures()
    assert (said["frames"], said["bytes"], said["lost"]) == (598, 598 * MTU, 2)


def test_large_segments_are_received_whole(place):
    with (
        Peer(place, kind=0x0800, offload=True) as peer,
        Stream(place, "virtio-net,backend=tap:tap0", "dir=rx unit=big count=300") as guest,
    ):
        guest.start()
        peer.send(300, segments_of, guest.process)
        said = guest.figures()
    assert (said["frames"], said["segments"], said["lost"]) == (300, 300 * SEGMENTS, 0)
    assert said["bytes"] == 300 * BIG


@pytest.mark.parametrize(
    ("nic", "append"),
    [
        ("e1000", "dir=rx unit=big"),
        ("virtio-net", "stream=tcp dir=rx"),
        ("virtio-net", "queues=2"),
        ("virtio-net,queues=2", "queues=3"),
        ("virtio-net,queues=2", "queues=2 stream=tcp"),
        ("virtio-net,queues=2", "queues=2 vcpus=2"),
        ("virtio-net,queues=2", "queues=2 vcpus=2 dir=rx"),
        ("e1000", "queues=2"),
    ],
)
def test_what_is_not_there_is_said_to_be_unsupported(place, nic, append):
    with Stream(place, f"{nic},backend=null", append) as guest:
        assert guest.line().startswith(f"UNSUPPORTED card={nic.split(',')[0]} ")
        guest.process.communicate(timeout=30)
        assert guest.process.returncode == 1


@pytest.mark.parametrize(
    ("append", "why"),
    [
        ("card=ne2k", "there is no such card="),
        ("card=virtio-net", "no card: virtio-net"),
        ("batch=0", "there is no such batch="),
        ("queues=5", "there is no such queues="),
        ("queues=2 vcpus=3", "there is no such vcpus="),
    ],
)
def test_what_cannot_be_done_fails_with_its_reason(place, append, why):
    with Stream(place, "e1000,backend=null", append) as guest:
        assert guest.line() == f"FAIL: {why}"
        guest.process.communicate(timeout=30)
        assert guest.process.returncode == 3


def accept(place, check, received):
    """A thread that takes one connection, and hands what came to ``check``."""
    server = netns.inside(place, lambda: socket.create_server((HOST, PORT)))
    server.settimeout(30)

    def serve():
        with server, server.accept()[0] as peer:
            peer.settimeout(30)
            received.append(check(peer))

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def the_pattern(peer):
    """How many bytes came until the other side closed; every word of them is right."""
    data = bytearray()
    while part := peer.recv(1 << 20):
        data += part
    wanted = b"".join(k.to_bytes(8, "little") for k in range(len(data) // 8 + 1))
    assert data == wanted[: len(data)]
    return len(data)


@pytest.mark.parametrize("unit", ["mtu", "big"])
@pytest.mark.parametrize("card", CARDS)
def test_a_tcp_stream_arrives_as_it_was_made(place, card, unit):
    received = []
    thread = accept(place, the_pattern, received)
    append = f"stream=tcp unit={unit} bytes={ODD}"
    with Stream(place, f"{card},backend=tap:tap0", append) as guest:
        guest.start()
        said = guest.figures()
    thread.join()
    assert received == [ODD]
    assert said["segments"] >= -(-ODD // MSS)
    assert said["frames"] < said["segments"] / 10 or unit == "mtu"


def test_a_peer_that_stops_reading_is_waited_for(place):
    """Its window closes; what is sent then is one byte now and then."""

    def slow(peer):
        first = peer.recv(1000, socket.MSG_PEEK)
        threading.Event().wait(1)
        assert first
        return the_pattern(peer)

    received = []
    thread = accept(place, slow, received)
    with Stream(place, "virtio-net,backend=tap:tap0", "stream=tcp unit=big bytes=9000000") as guest:
        guest.start()
        guest.figures()
    thread.join()
    assert received == [9_000_000]


def test_a_refused_connection_says_so(place):
    with Stream(place, "e1000,backend=tap:tap0", "stream=tcp") as guest:
        guest.start()
        assert guest.line() == "FAIL: the peer refuses the connection"


class LossyWire:
    """Between a guest and tap0: what the guest sends passes ``lose``, which eats frames."""

    def __init__(self, place, path, lose):
        self._lose = lose
        self._tap = netns.inside(place, self._open)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen(1)

    @staticmethod
    def _open():
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", b"tap0", _IFF_TAP | _IFF_NO_PI))
        return fd

    def __enter__(self):
        self._thread = threading.Thread(target=self._carry)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._thread.join()
        self._listener.close()
        os.close(self._tap)

    def _carry(self):
        """Until the guest hangs up."""
        peer, _ = self._listener.accept()
        came = bytearray()
        with peer, contextlib.suppress(ConnectionError):
            while True:
                for ready in select.select([peer, self._tap], [], [])[0]:
                    if ready is self._tap:
                        frame = os.read(self._tap, 1 << 17)
                        peer.sendall(len(frame).to_bytes(4, "big") + frame)
                        continue
                    part = peer.recv(1 << 20)
                    if not part:
                        return
                    came += part
                    self._pass_on(came)

    def _pass_on(self, came):
        """Every whole frame of what the guest has sent."""
        while len(came) >= 4 and len(came) >= 4 + (size := int.from_bytes(came[:4], "big")):
            frame = bytes(came[4 : 4 + size])
            del came[: 4 + size]
            if not self._lose(frame):
                os.write(self._tap, frame)


class LoseData:
    """Eats some of the data segments, and the first copy of the last one and of FIN."""

    def __init__(self, *numbers):
        self._numbers, self._seen, self._last = set(numbers), 0, {PSH, FIN}

    def __call__(self, frame):
        if frame[12:14] != b"\x08\0" or len(frame) < 60:
            return False
        for flag in [flag for flag in self._last if frame[47] & flag]:
            self._last.remove(flag)
            return True
        if len(frame) == MTU:
            self._seen += 1
        return len(frame) == MTU and self._seen in self._numbers


@pytest.mark.parametrize("unit", ["mtu", "big"])
@pytest.mark.parametrize("card", CARDS)
def test_what_the_network_loses_is_sent_again(place, card, unit, tmp_path):
    """One segment, several in a row, and the last ones, which nothing but the timer notices."""
    received = []
    path = str(tmp_path / "wire")
    thread = accept(place, the_pattern, received)
    lose = LoseData(30, 200, 201, 202, 230, 700)
    append = f"stream=tcp unit={unit} bytes={ODD}"
    with (
        LossyWire(place, path, lose),
        Stream(place, f"{card},backend=socket:{path}", append) as guest,
    ):
        guest.start()
        said = guest.figures()
    thread.join()
    assert received == [ODD]
    assert said["retransmits"] >= 6
