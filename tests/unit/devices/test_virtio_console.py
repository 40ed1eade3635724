"""virtio-console as its driver sees it, over a host that the test plays."""

import pytest

from pykvm.devices.virtio.console import RECEIVE, TRANSMIT, Console, Feature
from tests.support.virtio_driver import (
    BUFFERS,
    DRIVER_OK,
    MEMORY,
    NEEDS_RESET,
    NOWHERE,
    PACKED,
    Legacy,
    Modern,
    Rig,
)  # fmt: skip


class Host:
    """A CharBackend: what the guest wrote, and input that waits until there is room."""

    def __init__(self):
        self.written = b""
        self.waiting = b""
        self.resumed = 0

    def connect(self, receiver):
        self.receiver = receiver

    def write(self, data):
        self.written += data

    def type(self, data):
        self.waiting += data
        self.deliver()

    def deliver(self):
        while self.waiting and (room := self.receiver.room()):
            now, self.waiting = self.waiting[:room], self.waiting[room:]
            self.receiver.receive(now)

    def resume(self):
        self.resumed += 1
        self.deliver()

    def close(self):
        """Nothing is open."""


class Terminal:
    """A console in a rig, its driver, and its host."""

    def __init__(self, *, legacy=False, start=True, size=None, **options):
        self.host = Host()
        self.size = size
        self.console = Console(self.host, (lambda: self.size) if size else None)
        self.rig = Rig(self.console, **options)
        self.driver = (Legacy if legacy else Modern)(self.rig)
        if start:
            self.start()

    def start(self):
        if isinstance(self.driver, Legacy):
            self.driver.start(queues=(0, 1))
        else:
            self.driver.start()

    def print(self, *texts):
        pieces, at = [], BUFFERS
        for text in texts:
            self.rig.memory.write(at, text)
            pieces.append((at, len(text), False))
            at += len(text)
        token = self.driver.offer(TRANSMIT, *pieces)
        assert self.driver.used(TRANSMIT) == [(token, 0)]

    def listen(self, *sizes):
        """Offer a receive buffer of these pieces; its token."""
        return self.driver.offer(RECEIVE, *[(BUFFERS + 0x1000 * n, size, True)
                                            for n, size in enumerate(sizes, 1)])  # fmt: skip

    def heard(self, size=64):
        """The used receive buffers, and what lies in the first piece."""
        return self.driver.used(RECEIVE), self.rig.memory.read(BUFFERS + 0x1000, size).rstrip(b"\0")


@pytest.fixture
def terminal():
    made = []

    def make(**options):
        made.append(Terminal(**options))
        return made[-1]

    yield make
    for one in made:
        one.rig.close()


@pytest.mark.parametrize("options", [{}, {"legacy": True}, {"transport": "legacy", "legacy": True}])
def test_what_the_driver_sends_is_written(terminal, options):
    one = terminal(**options)
    one.print(b"hello ", b"world\n")
    one.print(b"again")
    assert one.host.written == b"hello world\nagain"


def test_what_is_typed_fills_the_buffers_in_order(terminal):
    one = terminal()
    first, second = one.listen(4), one.listen(64)
    one.rig.memory.write(BUFFERS + 0x1000, bytes(64))
    one.host.type(b"abc")
    assert one.heard() == ([(first, 3)], b"abc")
    assert one.rig.line.level
    one.host.type(b"0123456789")
    assert one.heard() == ([(second, 10)], b"0123456789")


def test_more_than_a_buffer_goes_on_in_the_next(terminal):
    one = terminal()
    tokens = [one.listen(2, 2), one.listen(8)]
    one.host.type(b"abcdefg")
    assert one.driver.used(RECEIVE) == [(tokens[0], 4), (tokens[1], 3)]


def test_input_waits_in_the_host_until_there_is_a_buffer_and_none_is_lost(terminal):
    one = terminal(start=False)
    one.host.type(b"early ")
    assert one.console.room() == 0
    one.start()
    one.host.type(b"bird")
    assert one.host.waiting == b"early bird"
    token = one.listen(64)
    assert one.heard() == ([(token, 10)], b"early bird")
    assert one.host.waiting == b""


def test_input_goes_on_through_a_packed_ring(terminal):
    one = terminal(start=False)
    one.driver.start(without=0)
    assert one.driver.features & PACKED
    for n in range(200):
        token = one.listen(64)
        one.rig.memory.write(BUFFERS + 0x1000, bytes(64))
        one.host.type(b"%d" % n)
        assert one.heard() == ([(token, len(str(n)))], b"%d" % n)


def test_a_reset_forgets_the_buffer_but_not_the_input(terminal):
    one = terminal()
    one.listen(64)
    assert one.console.room() == 64
    one.driver.status = 0
    assert one.console.room() == 0
    one.host.type(b"typed meanwhile")
    one.start()
    token = one.listen(64)
    assert one.heard()[0] == [(token, 15)]


def test_a_queue_reset_forgets_its_buffer(terminal):
    one = terminal()
    one.listen(64)
    assert one.console.room() == 64
    one.driver.put("QUEUE_SELECT", RECEIVE)
    one.driver.put("QUEUE_RESET", 1)
    assert one.console.room() == 0
    one.print(b"output goes on")
    one.driver.set_up(RECEIVE)
    token = one.listen(32)
    one.host.type(b"x")
    assert one.driver.used(RECEIVE) == [(token, 1)]


def test_while_bus_mastering_is_off_input_waits(terminal):
    one = terminal()
    token = one.listen(64)
    one.rig.master(False)
    one.host.type(b"patience")
    assert not one.driver.status & NEEDS_RESET
    one.rig.master(True)
    assert one.driver.used(RECEIVE) == [(token, 8)]


# -- configuration space --------------------------------------------------------------------------


def test_without_a_terminal_there_is_no_size(terminal):
    one = terminal()
    assert not one.driver.offered() & Feature.SIZE
    assert one.driver.config(0, 4) == 0
    assert one.driver.config(4, 4) == 1


def test_the_size_of_the_terminal_and_its_changes_reach_the_driver(terminal):
    one = terminal(size=(80, 25))
    assert one.driver.offered() & Feature.SIZE
    assert (one.driver.config(0, 2), one.driver.config(2, 2)) == (80, 25)
    generation = one.driver.get("GENERATION")
    one.console.resized()
    assert one.driver.get("ISR") == 0, "nothing changed"
    one.size = (132, 50)
    one.console.resized()
    assert one.driver.get("ISR") == 2
    assert one.driver.get("GENERATION") != generation
    assert (one.driver.config(0, 2), one.driver.config(2, 2)) == (132, 50)


@pytest.mark.parametrize("legacy", [False, True])
def test_the_emergency_register_writes_a_character_even_before_a_driver(terminal, legacy):
    one = terminal(start=False, legacy=legacy)
    assert one.driver.offered() & Feature.EMERG_WRITE
    for character in b"!?":
        one.driver.set_config(8, 4, 0x1234_5600 | character)
    one.driver.set_config(0, 4, 0xFFFF_FFFF)
    assert one.host.written == b"!?"
    assert one.driver.config(8, 4) == 0


# -- hostile drivers ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("queue", "pieces"),
    [
        (TRANSMIT, [(NOWHERE, 4, False)]),
        (TRANSMIT, [(0, MEMORY, False), (0, 1, False)]),  # a MiB and more
        (TRANSMIT, [(0, MEMORY, False)] * 60),
        (RECEIVE, [(NOWHERE, 4, True)]),
        (RECEIVE, [(BUFFERS, 4, False)]),
        (RECEIVE, [(BUFFERS, 0, True)]),
    ],
)
def test_a_buffer_that_cannot_be_breaks_the_device_and_leaks_nothing(terminal, queue, pieces):
    one = terminal()
    one.host.type(b"input")
    one.driver.offer(queue, *pieces)
    assert one.driver.status & NEEDS_RESET
    assert len(one.rig.told) == 1
    assert one.host.written == b""
    assert one.console.room() == 0
    one.start()
    token = one.listen(64)
    assert one.driver.used(RECEIVE) == [(token, 5)]
    assert one.driver.status & DRIVER_OK


def test_a_transmit_buffer_with_a_writable_end_claims_nothing(terminal):
    one = terminal()
    one.rig.memory.write(BUFFERS, b"text" + b"kept")
    token = one.driver.offer(TRANSMIT, (BUFFERS, 4, False), (BUFFERS + 4, 4, True))
    assert one.driver.used(TRANSMIT) == [(token, 0)]
    assert one.host.written == b"text"
    assert one.rig.memory.read(BUFFERS + 4, 4) == b"kept"


def test_cve_2016_5403_kicks_without_end_take_no_more_than_a_buffer(terminal):
    one = terminal()
    for _ in range(8):
        one.listen(8)
    for _ in range(1000):
        one.driver.kick(RECEIVE)
        one.console.room()
    one.host.type(b"x" * 64)
    assert sum(length for _, length in one.driver.used(RECEIVE)) == 64
    assert one.rig.loop.live() == []


# -- state ----------------------------------------------------------------------------------------


def test_a_state_has_the_waiting_buffer_in_the_ring(terminal):
    first, second = terminal(), terminal(start=False)
    token = first.listen(64)
    assert first.console.room() == 64
    state = first.rig.function.state()
    second.rig.memory.write(0, first.rig.memory.read(0, MEMORY))
    second.rig.function.restore(state)
    for one in (first, second):
        one.host.type(b"both")
        ring = first.driver.rings[RECEIVE]
        ring.memory, ring.seen = one.rig.memory, 0
        ring.chains = {token: []}
        assert ring.used() == [(token, 4)]
