"""One suite over every network backend: what any of them owes to a card."""

import select
import shutil
import socket
import sys
import threading

import pytest

from pykvm.backends.net import open_net_backend
from pykvm.backends.net_loopback import LoopbackNet
from pykvm.backends.net_null import NullNet
from pykvm.backends.net_passt import PasstNet
from pykvm.backends.net_pcap import PcapBackend
from pykvm.backends.net_python import PythonNet
from pykvm.backends.net_socket import SocketNet
from pykvm.backends.net_tap import TapNet
from pykvm.errors import HostError, UsageError
from pykvm.net.vnet import Offload
from tests.support.netns import inside


class Card:
    """A receiver with room for ``room`` frames."""

    def __init__(self, room=10**9):
        self.room = room
        self.frames = []
        self.came = threading.Condition()

    def can_receive(self):
        return len(self.frames) < self.room

    def receive(self, frame):
        with self.came:
            self.frames.append(frame)
            self.came.notify_all()

    def wait(self, count):
        with self.came:
            assert self.came.wait_for(lambda: len(self.frames) >= count, timeout=20)


class Held:
    """A backend whose methods are called with the lock held, as a machine does."""

    def __init__(self, inner, lock):
        self.inner, self._lock = inner, lock

    def __getattr__(self, name):
        found = getattr(self.inner, name)

        def held(*args):
            with self._lock:
                return found(*args)

        return held if callable(found) else found


def echo(frame):
    """A network that answers every frame with itself."""
    return [frame]


def silent(frame):
    return None


@pytest.fixture(
    params=[
        "null",
        "loopback",
        "socket",
        "python",
        "pcap over loopback",
        pytest.param("tap", marks=pytest.mark.tap),
        "passt",
    ]
)
def backend(request, lock, loop, tmp_path, monkeypatch):
    """Each backend, connected to what it needs, and closed afterwards."""
    monkeypatch.setitem(sys.modules, "a_network", sys.modules[__name__])
    if request.param == "passt" and shutil.which("passt") is None:
        pytest.skip("passt is not installed: sudo apt-get install passt")
    make = {
        "null": NullNet,
        "loopback": LoopbackNet,
        "socket": lambda: SocketNet(str(tmp_path / "wire"), loop),
        "python": lambda: PythonNet("a_network:echo"),
        "pcap over loopback": lambda: PcapBackend(LoopbackNet(), str(tmp_path / "out.pcapng")),
        "tap": lambda: inside(None, lambda: TapNet("", loop, lambda line: None)),
        "passt": lambda: PasstNet(loop, lambda line: None),
    }[request.param]
    with lock:
        made = make()
    yield Held(made, lock)
    with lock:
        made.close()


FRAMES = [bytes([n]) * (60 + n) for n in range(50)]


def test_sending_never_fails_and_never_blocks(backend):
    backend.connect(Card())
    for frame in FRAMES:
        backend.send([memoryview(frame)])
        backend.send([memoryview(frame[:10]), memoryview(frame[10:])])


def test_sending_before_a_card_is_connected_is_harmless(backend):
    backend.send([memoryview(FRAMES[0])])


def test_close_is_idempotent_and_what_comes_after_it_is_harmless(backend):
    backend.connect(Card())
    backend.close()
    backend.send([memoryview(FRAMES[0])])
    backend.tune(12, Offload.NONE, 1)
    backend.resume()
    backend.close()


@pytest.mark.parametrize("spec", ["loopback", "python"])
def test_what_answers_at_once_answers_in_order_and_whole(spec):
    backend = LoopbackNet() if spec == "loopback" else PythonNet(f"{__name__}:echo")
    card = Card()
    backend.connect(card)
    for frame in FRAMES:
        backend.send([memoryview(frame[:14]), memoryview(frame[14:])])
    assert card.frames == FRAMES


@pytest.fixture
def wires(lock, loop, tmp_path):
    """Makes ends of one wire."""
    made = []

    def end():
        with lock:
            made.append(Held(SocketNet(str(tmp_path / "wire"), loop), lock))
        return made[-1]

    yield end
    for end in made:
        end.close()
    assert not (tmp_path / "wire").exists()


def send(end, frames):
    for frame in frames:
        end.send([memoryview(frame)])


def test_two_sockets_are_a_wire(wires):
    left, right = wires(), wires()
    cards = Card(), Card()
    left.connect(cards[0])
    right.connect(cards[1])
    send(right, FRAMES)
    cards[0].wait(len(FRAMES))
    send(left, FRAMES)
    cards[1].wait(len(FRAMES))
    assert cards[0].frames == cards[1].frames == FRAMES


def test_a_full_card_holds_frames_back_and_loses_none(wires):
    left, right = wires(), wires()
    card = Card(room=5)
    right.connect(Card())
    left.connect(card)
    send(right, FRAMES)
    card.wait(5)
    card.room = 10**9
    left.resume()
    card.wait(len(FRAMES))
    assert card.frames == FRAMES


def test_a_peer_that_hangs_up_or_talks_nonsense_is_let_go(wires, tmp_path):
    wire, card = wires(), Card()
    wire.connect(card)
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(tmp_path / "wire"))
        peer.sendall(b"\xff\xff\xff\xff" + bytes(100))
        assert select.select([peer], [], [], 20)[0]
        assert peer.recv(1) == b""
    with socket.socket(socket.AF_UNIX) as peer:  # the next one is welcome
        peer.connect(str(tmp_path / "wire"))
        peer.sendall((60).to_bytes(4, "big") + bytes(60))
        card.wait(1)


def test_a_peer_that_never_reads_costs_bounded_memory(wires, tmp_path):
    wire = wires()
    wire.connect(Card())
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(tmp_path / "wire"))
        peer.sendall((60).to_bytes(4, "big") + bytes(60))
        wire.inner._receiver.wait(1)  # it is attached
        send(wire, [bytes(1500)] * 5000)
        assert len(wire.inner._unsent) < 2 << 20


def test_a_recording_holds_both_directions(tmp_path):
    from dpkt import pcapng

    path = tmp_path / "out.pcapng"
    backend = PcapBackend(LoopbackNet(), str(path))
    backend.connect(Card())
    for frame in FRAMES[:3]:
        backend.send([memoryview(frame)])
    with path.open("rb") as file:  # readable while it is still open for writing
        packets = [data for _, data in pcapng.Reader(file)]
    assert packets == [frame for frame in FRAMES[:3] for _ in range(2)]
    backend.close()


def test_a_network_that_says_nothing_is_fine():
    backend = PythonNet(f"{__name__}:silent")
    backend.connect(Card())
    backend.send([memoryview(FRAMES[0])])


@pytest.mark.parametrize(
    ("spec", "error", "says"),
    [
        ("carrier-pigeon", UsageError, "it takes null"),
        ("tap:a-name-that-is-too-long", UsageError, "15"),
        ("python:no_such_module:x", UsageError, "no_such_module"),
        ("python:os:no_such_thing", UsageError, "no_such_thing"),
        ("python:os:sep", UsageError, "callable"),
        ("socket:/nonexistent/wire", HostError, "listen"),
    ],
)
def test_a_backend_that_cannot_be_opened_is_one_clear_line(loop, spec, error, says):
    with pytest.raises(error, match=says) as caught:
        open_net_backend(spec, loop, print)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "at", "total", "length"),
    [(b"\x08\x00", 16, 28, 42), (b"\x86\xdd", 18, 3, 57), (b"\x08\x06", 16, 28, 60)],
)
def test_passt_gets_ip_packets_without_ethernets_padding(kind, at, total, length):
    from pykvm.backends.net_passt import unpadded

    frame = bytearray(bytes(12) + kind + bytes(46))
    frame[at : at + 2] = total.to_bytes(2, "big")
    assert len(unpadded(bytes(frame))) == length


def test_a_tap_leaves_udp_uncut_for_both_kinds_of_ip_or_for_none():
    from pykvm.backends.net_tap import _unfinished

    csum, four, six = Offload.CSUM, Offload.USO4, Offload.USO6
    assert _unfinished(csum | four | six) == 0x61
    assert _unfinished(csum | four) == _unfinished(csum | six) == 0x01
