"""The e1000's I/O thread beside threads that touch the registers: nothing lost, nothing races."""

import socket
import struct
import threading
import time
from functools import partial

import pytest

from pykvm._native import ffi
from pykvm.devices.e1000.native import NativeEngine
from pykvm.memory import GuestMemory
from pykvm.net.vnet import SIZE
from tests.unit.e1000.conftest import RX_RING, TX_BUFFERS, TX_RING, Bench, Cable, frame

RING, PATIENCE = 64, 30
RXT0, TXDW = 0x80, 0x1


def eventually(condition):
    """Wait for what another thread does."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.001)


@pytest.fixture(params=["thread", "vcpu"])
def wired(request):
    """A card with its thread, and the other end of its cable. Doorbells are whoever's has time, or
    always the vCPU's."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    near.setblocking(False)
    far.settimeout(PATIENCE)
    cable = Cable()
    cable.native_fd = near.fileno()
    with GuestMemory(4 << 20) as memory:
        engine = partial(NativeEngine, inline_tx=request.param == "vcpu")
        bench = Bench(memory, engine=engine, cable=cable)
        bench.start(tx=RING, rx=RING)
        yield bench, far
        bench.card.close()
        far.close()
        near.close()
        del bench.card


def ring(bench, tail):
    """The doorbell as a vCPU rings it in C."""
    answer, card = bench.card.answers[0]
    value = ffi.new("uint64_t *", tail)
    assert answer(card, True, 0x3818, 4, value)


def reading(bench, offset):
    answer, card = bench.card.answers[0]
    value = ffi.new("uint64_t *")
    assert answer(card, False, offset, 4, value)
    return value[0]


def row(length, address=TX_BUFFERS):
    return struct.pack("<QHBBBBH", address, length, 0, 0x0B, 0, 0, 0)


def test_every_frame_is_sent_once_and_in_order(wired):
    bench, far = wired
    for n in range(RING):
        bench.memory.write(TX_BUFFERS + n * 2048, frame(60) + bytes((n,)))
        bench.memory.write(TX_RING + n * 16, row(61, TX_BUFFERS + n * 2048))
    tail, seen = 0, []
    for _ in range(40):
        tail = (tail + 37) % RING
        ring(bench, tail)
        seen += [far.recv(4096)[SIZE + 60] for _ in range(37)]
        eventually(lambda tail=tail: reading(bench, 0x3810) == tail)
    assert seen == [n % RING for n in range(40 * 37)]


def test_registers_may_be_used_while_frames_go_both_ways(wired):
    bench, far = wired
    bench.memory.write(TX_RING, row(60) * RING)
    bench.memory.write(TX_BUFFERS, frame(60))
    done, wrong = threading.Event(), []

    def peer():
        while not done.is_set():
            far.send(bytes(SIZE) + frame(80))
            far.recv(4096)

    def vcpu():
        while not done.is_set():
            reading(bench, 0xC0)
            bench.read("GPTC")
            bench.write("IMS", RXT0 | TXDW)
            bench.write("IMC", RXT0)
            if bench.read("CTRL") & 1 << 26:
                wrong.append("still in reset")

    threads = [threading.Thread(target=peer), threading.Thread(target=vcpu)]
    for thread in threads:
        thread.start()
    tail = head = 0
    for _ in range(500):
        tail = (tail + 1) % RING
        ring(bench, tail)
        eventually(lambda tail=tail: reading(bench, 0x3810) == tail)
        while reading(bench, 0x2810) != head:  # give back what was received
            bench.memory.write(RX_RING + head * 16 + 12, b"\0")
            head = (head + 1) % RING
            bench.write("RDT", (head - 1) % RING)
    done.set()
    far.send(bytes(SIZE) + frame(80))
    ring(bench, (tail + 1) % RING)
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert not wrong


def test_what_the_card_has_done_is_counted(wired):
    bench, far = wired
    bench.memory.write(TX_BUFFERS, frame(60))
    bench.memory.write(TX_RING, row(60) * RING)

    def counts():
        return bench.card.counts()[0]

    before = counts()
    for tail in range(1, 11):
        ring(bench, tail)
        far.recv(4096)
        eventually(lambda tail=tail: reading(bench, 0x3810) == tail)
    eventually(lambda: counts()["batches"] - before["batches"] == 10)
    assert counts()["kicks"] - before["kicks"] == counts()["sent"] == 10
    eventually(lambda: counts()["by_vcpu"] + counts()["by_thread"] >= 10)
    assert counts()["unrung"] == 0
    bench.read("ICR")
    bench.write("IMS", RXT0)
    far.send(bytes(SIZE) + frame(80))
    eventually(lambda: counts()["interrupts"] - before["interrupts"] == 1)
    spared = counts()["spared"]
    far.send(bytes(SIZE) + frame(80))  # the line is up
    eventually(lambda: counts()["spared"] - spared == 1)
    assert counts()["received"] == 2
    assert counts()["interrupts"] - before["interrupts"] == 1


def test_a_reset_while_frames_are_on_their_way_leaves_a_card_that_works(wired):
    bench, far = wired
    bench.memory.write(TX_BUFFERS, frame(60))
    far.setblocking(False)
    for _ in range(30):
        bench.memory.write(TX_RING, row(60) * RING)
        bench.start(tx=RING, rx=RING)
        ring(bench, RING - 1)
        bench.write("CTRL", 1 << 26)
        assert bench.read("TDH") == bench.read("TDT") == bench.read("ICR") == 0
        while True:
            try:
                far.recv(4096)
            except BlockingIOError:
                break
    far.settimeout(PATIENCE)
    bench.start(tx=RING, rx=RING)
    ring(bench, 1)
    assert far.recv(4096)[SIZE:] == frame(60)


def test_frames_wait_while_there_is_no_descriptor_and_come_when_there_is(wired):
    bench, far = wired
    for n in range(RING + 20):
        far.send(bytes(SIZE) + frame(60 + n))
    eventually(lambda: reading(bench, 0x2810) == RING - 1)
    bench.write("RDT", 30)
    eventually(lambda: reading(bench, 0x2810) == 20)
    assert bench.received(19)[0] == 60 + RING + 18 + 1
    assert bench.read("MPC") == 0


def test_a_delayed_cause_comes_when_its_time_is_over(wired):
    bench, far = wired
    bench.write("RDTR", 1000)  # 1.024 ms
    bench.write("IMS", RXT0)
    far.send(bytes(SIZE) + frame(60))
    eventually(bench.card.engine.line_level)
    assert reading(bench, 0xC0) & RXT0
    assert not bench.card.engine.line_level()


def test_an_interrupt_that_itr_holds_back_comes_when_its_time_is_over(wired):
    bench, _ = wired
    bench.write("ITR", 0xFFFF)  # 16.8 ms
    bench.write("IMS", 0x4)
    bench.write("ICS", 0x4)
    assert bench.card.engine.line_level()
    bench.read("ICR")
    bench.write("ICS", 0x4)
    eventually(bench.card.engine.line_level)


def test_a_guest_that_is_slow_to_answer_still_hears_of_every_frame(wired):
    """The card paces its interrupts by the answers; none that is due may stay away."""
    bench, far = wired
    bench.memory.write(TX_RING, row(60) * RING)
    bench.memory.write(TX_BUFFERS, frame(60))
    bench.write("IMS", TXDW | RXT0)
    for turn in range(60):
        if turn % 2:
            far.send(bytes(SIZE) + frame(60))
        else:
            ring(bench, (turn // 2 + 1) % RING)
            far.recv(4096)
        eventually(bench.card.engine.line_level)
        if turn % 10 < 5:
            time.sleep(0.002)
        causes = reading(bench, 0xC0)
        while not causes & (RXT0 if turn % 2 else TXDW):  # the other one may come twice
            eventually(bench.card.engine.line_level)
            causes = reading(bench, 0xC0)


def test_what_the_guest_does_wrong_is_told_once_the_thread_met_it(wired):
    bench, _ = wired
    bench.memory.write(TX_RING, row(60, 1 << 40))
    ring(bench, 1)
    eventually(lambda: reading(bench, 0x3810) == 1)
    bench.card.engine._noticed()
    assert [str(error) for error in bench.reported] == ["a ring or a buffer is not RAM"]


def test_a_tail_outside_the_ring_does_not_keep_the_thread_busy(wired):
    bench, _ = wired
    ring(bench, 0xFFFF)
    time.sleep(0.01)
    before = time.process_time()
    time.sleep(0.2)
    assert time.process_time() - before < 0.15
    assert bench.card.get("TDH") == 0


def test_closing_twice_is_harmless(wired):
    bench, _ = wired
    bench.card.close()
    bench.card.close()
