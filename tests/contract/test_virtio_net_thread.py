"""virtio-net's threads beside a driver and a peer that live their own lives: nothing lost, no race.

KVM's part (kicks and messages by eventfd) is played with real eventfds.
"""

import os
import random
import select
import struct
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from pykvm._native import ffi
from pykvm.devices.virtio import registers as r
from pykvm.devices.virtio.net.features import Feature
from tests.support.eventfds import Kicks, Messages, NativeLine, signalled
from tests.support.virtio_driver import BUFFERS, EVENT_IDX, PACKED, VERSION_1
from tests.support.virtio_net import CONTROLS, MAC, OK, RX, TX, Bench
from tests.support.virtqueue import PackedDriver

IO, MEM = 0xC000, 0xE000_0000
PATIENCE = 30
RING, ROOM = 64, 2048
OTHER = b"\x02\0\0\0\0\x77"
HEADER = 12
CONFIG_VECTOR = 3
MODES = [VERSION_1, VERSION_1 | EVENT_IDX, VERSION_1 | PACKED, VERSION_1 | PACKED | EVENT_IDX]

# Who does the work: a thread that looks for it, one that sleeps until kicked, the vCPU that kicks.
WHO = ["looks", "sleeps", "vcpu"]


def frame(number, to=MAC):
    return to + OTHER + b"\x88\xb5" + struct.pack("<I", number) + bytes(42)


def number_of(data):
    return struct.unpack_from("<I", data, len(data) - 46)[0]


def eventually(condition):
    """Wait for what another thread does."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.0005)


def threads():
    """The states of the threads that move frames: R running, S asleep."""
    states = []
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            name, _, rest = (task / "stat").read_text().partition(")")
            if name.endswith("(virtio-net"):
                states.append(rest.split()[0])
    return states


class Wired(Bench):
    """A card with its threads, and a driver that has a buffer for each descriptor, kicks where the
    card asks for it and can sleep on its interrupts."""

    def __init__(self, *, msix=True, who="looks", **options):
        self.kicks = Kicks()
        self.exits = who == "vcpu"
        engine = {"poll": who == "looks", "by_vcpu": self.exits}
        super().__init__(
            native=True, engine=engine, kicks=self.kicks, messages=Messages(),
            line=NativeLine(), **options,
        )  # fmt: skip
        self.rig.function.placed({0: IO, 4: MEM})
        if msix:
            self.rig.enable_msix()
        self.calls, self.free, self.held = {}, {}, {}
        self.far = [far for _, far in self.cable.ends]
        for far in self.far:
            far.settimeout(PATIENCE)

    def start(self, features, **options):
        self.features = int(features)
        super().start(features, size=RING, **options)
        self.held.clear()
        for index in self.driver.rings:
            self.free[index] = [BUFFERS + (index * RING + n) * ROOM for n in range(RING)]
            if self.rig.function.msix.enabled:
                self.driver.put("QUEUE_SELECT", index)
                self.driver.put("QUEUE_VECTOR", index)
                self.calls[index] = self.rig.device.wires.call(index)
        self.driver.put("CONFIG_VECTOR", CONFIG_VECTOR)
        return self

    def net(self, pair=0):
        """What the thread counts."""
        return self.card.engine.pairs[pair].net

    def kick(self, queue):
        """A write of the notification register."""
        if self.exits:
            answer, window = self.rig.function.answers[4]
            value = ffi.new("uint64_t *", queue)
            assert answer(window, True, r.NOTIFY + queue * r.NOTIFY_STEP, 2, value)
        elif not self.kicks.write(MEM + r.NOTIFY + queue * r.NOTIFY_STEP, queue):
            self.driver.kick(queue)  # it exits

    def kick_wanted(self, ring, before, count):
        """Whether the card asks for a kick after ``count`` chains of one descriptor each."""
        if not isinstance(ring, PackedDriver):
            return ring.kick_wanted(before, self.features & EVENT_IDX)
        where, mode = struct.unpack("<HH", self.memory.read(ring.device, 4))
        if mode != 2:
            return mode == 0
        at = (where & 0x7FFF) - (0 if bool(where >> 15) == ring.wrap else ring.size)
        return (ring.at - at - 1) & 0xFFFF < count

    def put(self, queue, buffers, write, kick=None):
        """Offer one-piece chains, all at once; a kick if that is wanted or as ``kick`` says."""
        ring = self.driver.rings[queue]
        before = None if isinstance(ring, PackedDriver) else ring.idx
        for at, length in buffers:
            self.held[queue, ring.add([(at, length, write)])] = at
        ring.publish()
        if self.kick_wanted(ring, before, len(buffers)) if kick is None else kick:
            self.kick(queue)

    def reap(self, queue):
        """Take used chains back; [(buffer, written)]."""
        got = []
        for token, written in self.driver.rings[queue].used():
            at = self.held.pop((queue, token))
            self.free[queue].append(at)
            got.append((at, written))
        return got

    def transmit(self, *frames, queue=TX, kick=None):
        """Send frames in one batch, once there is room."""
        eventually(lambda: self.reap(queue) is not None and len(self.free[queue]) >= len(frames))
        buffers = []
        for data in frames:
            at = self.free[queue].pop(0)
            self.memory.write(at, bytes(HEADER) + data)
            buffers.append((at, HEADER + len(data)))
        self.put(queue, buffers, False, kick)

    def refill(self, queue=RX):
        """Offer every receive buffer that the driver has."""
        buffers = [(at, ROOM) for at in self.free[queue]]
        if buffers:
            self.free[queue].clear()
            self.put(queue, buffers, True)

    def receive(self, queue=RX):
        """Frames that have come, their buffers offered again."""
        got = [self.memory.read(at, written)[HEADER:] for at, written in self.reap(queue)]
        self.refill(queue)
        return got

    def nap(self, queue):
        """Sleep until the queue's interrupt comes, unless it has used chains by now."""
        ring = self.driver.rings[queue]
        if self.features & EVENT_IDX:
            ring.want_interrupt_at(0)
        else:
            ring.want_interrupts(True)
        if not self.something_used(ring):
            assert select.select([self.calls[queue]], [], [], PATIENCE)[0], "no interrupt came"
        signalled(self.calls[queue])

    def something_used(self, ring):
        if not isinstance(ring, PackedDriver):
            return ring.seen != self.memory.read_u16(ring.device + 2)
        flags = self.memory.read_u16(ring.descriptors + 16 * ring.seen + 14)
        return bool(flags & 1 << 7) == bool(flags & 1 << 15) == ring.seen_wrap and ring.free < RING


@pytest.fixture
def wired():
    made = []

    def make(**options):
        made.append(Wired(**options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("features", MODES)
def test_every_frame_is_sent_once_and_in_order(wired, features, who):
    card = wired(who=who).start(features)
    for start in range(0, 1000, 20):
        card.transmit(*(frame(start + n) for n in range(20)))
        got = [number_of(card.far[0].recv(4096)) for _ in range(20)]
        assert got == list(range(start, start + 20))


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("features", MODES)
def test_every_frame_is_received_once_and_in_order(wired, features, who):
    card = wired(who=who).start(features)
    card.refill()
    seen = []
    for start in range(0, 1000, 40):
        for n in range(40):
            card.far[0].send(bytes(HEADER) + frame(start + n))
        eventually(lambda start=start: seen.extend(card.receive()) or len(seen) == start + 40)
    assert [number_of(data) for data in seen] == list(range(1000))


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("features", MODES)
def test_no_wake_up_is_lost_whenever_the_sides_fall_asleep(wired, features, who):
    """The driver kicks only when asked, sleeps on interrupts alone, and pauses at odd moments; so
    does the peer, which answers each frame."""
    card = wired(who=who).start(features)
    card.refill()
    dice = random.Random(features)
    ended = threading.Event()

    def peer():
        pause = random.Random(1)
        while not ended.is_set():
            data = card.far[0].recv(4096)
            if pause.random() < 0.5:
                time.sleep(pause.random() * 0.0005)
            card.far[0].send(data)

    thread = threading.Thread(target=peer)
    thread.start()
    sent = came = 0
    try:
        while came < 400:
            for _ in range(min(dice.randrange(1, 6), 400 - sent)):
                card.transmit(frame(sent))
                sent += 1
            if dice.random() < 0.5:
                time.sleep(dice.random() * 0.0005)
            while came < sent:
                card.nap(RX)
                for data in card.receive():
                    assert number_of(data) == came
                    came += 1
    finally:
        ended.set()
        card.far[0].send(bytes(HEADER) + frame(0))
        card.transmit(frame(0), kick=True)
        thread.join(PATIENCE)
    assert not thread.is_alive()


@pytest.mark.parametrize("features", MODES)
def test_a_batch_is_one_kick_and_at_most_one_interrupt(wired, features):
    card = wired(who="sleeps").start(features)
    ring = card.driver.rings[TX]
    eventually(lambda: card.net().kicks == 2)  # by DRIVER_OK
    (before,) = card.card.counts()
    slept = 0
    for start in range(0, 500, 50):
        eventually(lambda slept=slept: card.net().sleeps > slept)
        slept = card.net().sleeps
        if features & EVENT_IDX:
            ring.want_interrupt_at(49)
        else:
            ring.want_interrupts(False)
        card.transmit(*(frame(start + n) for n in range(50)), kick=True)
        for _ in range(50):
            card.far[0].recv(4096)
        eventually(lambda: card.reap(TX) is not None and not card.held)
        if features & EVENT_IDX:
            assert select.select([card.calls[TX]], [], [], PATIENCE)[0]
            assert os.eventfd_read(card.calls[TX]) == 1
        else:
            assert not signalled(card.calls[TX])
    card.card.pause()  # what was used has been pushed, and counted
    (counts,) = card.card.counts()
    done = {name: counts[name] - before[name] for name in counts}
    assert (done["sent"], done["received"], done["kicks"]) == (500, 0, 10)
    assert done["batches"] - done["unrung"] == 10
    assert done["interrupts"] == (10 if features & EVENT_IDX else 0)
    assert done["interrupts"] + done["spared"] == done["batches"]
    assert done["sleeps"] >= 10
    assert done["by_thread"] >= done["batches"]
    assert done["by_vcpu"] == done["naps"] == 0


def test_a_batch_that_is_found_without_a_kick_is_counted(wired):
    card = wired(who="sleeps").start(VERSION_1)
    card.refill()
    eventually(lambda: card.net().kicks >= 2 and threads() == ["S"])  # by DRIVER_OK
    card.transmit(frame(1), kick=True)
    card.far[0].recv(4096)
    eventually(lambda: card.card.counts()[0]["batches"] == 1 and threads() == ["S"])
    (before,) = card.card.counts()
    card.transmit(frame(2), kick=False)
    card.far[0].send(bytes(HEADER) + frame(0))  # which wakes the thread
    card.far[0].recv(4096)
    eventually(lambda: card.card.counts()[0]["received"] == 1)
    card.card.pause()
    (counts,) = card.card.counts()
    assert (counts["kicks"], counts["sent"]) == (before["kicks"], 2)
    assert counts["unrung"] - before["unrung"] == 1


def test_a_thread_that_does_not_look_finds_only_what_it_is_told_of(wired):
    card = wired(who="sleeps").start(VERSION_1)
    # Both queues were kicked by DRIVER_OK.
    eventually(lambda: card.net().kicks == 2 and threads() == ["S"])
    card.transmit(frame(1), kick=False)
    assert not select.select([card.far[0]], [], [], 0.05)[0]
    card.kick(TX)
    assert number_of(card.far[0].recv(4096)) == 1


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("features", MODES)
def test_a_stop_in_the_middle_loses_and_repeats_nothing(wired, features, who):
    """As filters, links and states stop the thread: whatever is under way both ways."""
    card = wired(who=who).start(features)
    card.refill()
    ended = threading.Event()
    numbers = []

    def peer():
        n = 0
        while not ended.is_set():
            card.far[0].send(bytes(HEADER) + frame(n))
            n += 1
            if n % 40 == 0:
                numbers.append(number_of(card.far[0].recv(4096)))
        numbers.append(n)

    thread = threading.Thread(target=peer)
    thread.start()
    sent, seen = 0, []
    for _ in range(60):
        for _ in range(3):
            card.transmit(frame(sent))
            sent += 1
        seen += card.receive()
        card.rig.device.rewired()
    ended.set()
    while thread.is_alive():
        card.transmit(frame(sent))
        sent += 1
        seen += card.receive()
    thread.join()
    total = numbers.pop()
    while len(numbers) < sent:
        numbers.append(number_of(card.far[0].recv(4096)))
    assert numbers == list(range(sent))
    eventually(lambda: seen.extend(card.receive()) or len(seen) == total)
    assert [number_of(data) for data in seen] == list(range(total))


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("features", MODES)
def test_a_frame_that_waits_for_buffers_is_taken_when_they_come(wired, features, who):
    """They come one by one, kicked for when the card asks, and at odd moments."""
    card = wired(who=who, mtu=9000).start(features | Feature.MRG_RXBUF)
    dice = random.Random(features)
    total, parts = 40, 4  # 7,000 bytes over buffers of 2,048
    data = bytes(7000 - 14)
    for n in range(total):
        card.far[0].send(bytes(HEADER) + frame(n)[:14] + struct.pack("<I", n) + data[4:])
    got = []
    for _ in range(total * parts):
        if not card.free[RX]:
            eventually(lambda: got.extend(card.reap(RX)) or card.free[RX])
        if dice.random() < 0.3:
            time.sleep(dice.random() * 0.0004)
        card.put(RX, [(card.free[RX].pop(0), ROOM)], True)
    eventually(lambda: got.extend(card.reap(RX)) or len(got) == total * parts)
    assert [written for _, written in got] == [2048, 2048, 2048, 7012 - 3 * 2048] * total


def test_filters_may_change_while_frames_flow(wired):
    card = wired().start(VERSION_1 | CONTROLS)
    card.refill()
    total = 2000

    def peer():
        for n in range(total):
            card.far[0].send(bytes(HEADER) + frame(n, MAC if n % 2 else OTHER))

    thread = threading.Thread(target=peer)
    thread.start()
    seen = []
    card.next_buffer = BUFFERS + 3 * RING * ROOM
    promiscuous = False
    while sum(number_of(data) % 2 for data in seen) < total // 2:
        assert command(card, 0, 0, bytes((promiscuous,))) == OK
        promiscuous = not promiscuous
        seen += card.receive()
    thread.join()
    mine = [number_of(data) for data in seen if data[:6] == MAC]
    assert mine == list(range(1, total, 2))


def command(card, kind, number, data):
    """A control command, by a kick that exits."""
    at = BUFFERS + 3 * RING * ROOM
    card.memory.write(at, bytes((kind, number)) + data + b"\xee")
    size = 2 + len(data)
    ring = card.driver.rings[2]
    ring.add([(at, size, False), (at + size, 1, True)])
    ring.publish()
    card.driver.kick(2)
    ring.used()
    return card.memory.read_u8(at + size)


@pytest.mark.parametrize("features", MODES)
@pytest.mark.parametrize("queue", [RX, TX])
@pytest.mark.parametrize("msix", [False, True])
def test_a_broken_ring_asks_for_a_reset_and_says_so(wired, features, queue, msix):
    card = wired(msix=msix).start(features)
    ring = card.driver.rings[queue]
    ring.add([(1 << 40, 60, queue == RX)])
    ring.publish()
    card.kick(queue)
    card.rig.loop.until(lambda: card.broken)
    assert card.rig.told == ["a ring, a table or a buffer is not RAM"]
    if msix:
        assert CONFIG_VECTOR in [data - 100 for _, data in card.rig.messages.take()]
    else:
        assert card.rig.line.level
        assert card.driver.get("ISR") & 2
    assert card.kicks.at == {}
    card.start(features)
    card.transmit(frame(5))
    assert number_of(card.far[0].recv(4096)) == 5


def test_without_messages_the_thread_holds_the_pin_until_the_isr_is_read(wired):
    card = wired(msix=False).start(VERSION_1)
    card.transmit(frame(1))
    eventually(lambda: card.rig.line.level)
    assert card.driver.get("ISR") == 1
    assert not card.rig.line.level


def test_interrupts_change_their_way_while_frames_flow(wired):
    card = wired().start(VERSION_1)
    sent = 0
    for on in (False, True) * 10:
        for _ in range(5):
            card.transmit(frame(sent))
            sent += 1
        card.rig.enable_msix(on)
        for n in range(sent - 5, sent):
            assert number_of(card.far[0].recv(4096)) == n
    card.driver.get("ISR")
    card.transmit(frame(sent))
    assert select.select([card.calls[TX]], [], [], PATIENCE)[0]
    assert card.driver.get("ISR") == 0


def test_a_reset_while_frames_flow_leaves_a_card_that_works(wired):
    card = wired()
    for n in range(50):
        card.start(VERSION_1)
        card.refill()
        card.far[0].send(bytes(HEADER) + frame(n))
        card.transmit(frame(n), frame(n))
    card.start(VERSION_1)
    card.transmit(frame(777))
    while number_of(card.far[0].recv(4096)) != 777:
        pass


def test_each_pair_has_a_thread_of_its_own(wired):
    card = wired(pairs=2).start(VERSION_1 | CONTROLS | Feature.MQ)
    assert mq(card, 2) == OK
    for n in range(50):
        card.transmit(frame(n), queue=1)
        card.transmit(frame(n + 100), queue=3)
    for pair in (0, 1):
        got = [number_of(card.far[pair].recv(4096)) for _ in range(50)]
        assert got == [100 * pair + n for n in range(50)]
    assert mq(card, 1) == OK
    card.transmit(frame(7))
    assert number_of(card.far[0].recv(4096)) == 7


def mq(card, pairs):
    ring = card.driver.rings[4]
    at = BUFFERS + 5 * RING * ROOM
    card.memory.write(at, bytes((4, 0, pairs, 0, 0xEE)))
    ring.add([(at, 4, False), (at + 4, 1, True)])
    ring.publish()
    card.driver.kick(4)
    ring.used()
    return card.memory.read_u8(at + 4)


def test_starting_and_stopping_leaves_nothing_behind(wired):
    card = wired().start(VERSION_1)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(100):
        card.rig.device.rewired()
    assert len(os.listdir("/proc/self/fd")) == before
    eventually(lambda: len(threads()) == 1)  # one that ended may be seen for a moment
    card.driver.status = 0
    eventually(lambda: threads() == [])
    assert len(os.listdir("/proc/self/fd")) == before - 2
    assert card.kicks.at == {}


def test_a_pulled_cable_loses_frames_and_the_thread_goes_on(wired):
    card = wired().start(VERSION_1 | Feature.STATUS)
    card.refill()
    card.card.set_link(False)
    card.transmit(frame(1))
    card.far[0].send(bytes(HEADER) + frame(2))
    eventually(lambda: card.net().dropped == 2)
    card.card.set_link(True)
    card.transmit(frame(3))
    assert number_of(card.far[0].recv(4096)) == 3
    card.far[0].send(bytes(HEADER) + frame(4))
    seen = []
    eventually(lambda: seen.extend(card.receive()) or seen)
    assert [number_of(data) for data in seen] == [4]
