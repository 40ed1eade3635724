"""What pykvm says on behalf of a guest is bounded, and nobody waits for who reads it."""

import os
import threading
import time
import tracemalloc

from pykvm.errors import DeviceError
from pykvm.machine.complaints import Complaints
from tests.support.fakes import Clock

PATIENCE = 20


class Ear:
    """Hears lines; with ``deaf`` it never comes back from the first one until ``wake``."""

    def __init__(self, deaf=False):
        self.lines = []
        self.woken = threading.Event()
        if not deaf:
            self.woken.set()

    def __call__(self, line):
        assert self.woken.wait(PATIENCE)
        self.lines.append(line)


def complaints(ear, now=lambda: 0.0):
    return Complaints(ear, clock=now)


def test_each_device_is_told_of_once_and_the_rest_is_counted():
    ear = Ear()
    some = complaints(ear)
    for who in ("uart0", "uart0", "e1000-0", "uart0"):
        some.add(who, DeviceError("no such thing"))
    some.close()
    assert ear.lines == [
        "uart0: no such thing", "e1000-0: no such thing",
        "2 more complaints of devices about the guest",
    ]  # fmt: skip


def test_without_anything_left_out_nothing_is_said_of_it():
    ear = Ear()
    some = complaints(ear)
    some.add("rtc", "late")
    some.close()
    some.close()
    assert ear.lines == ["rtc: late"]
    quiet = complaints(ear)
    quiet.close()
    assert quiet._thread is None, "no thread for who says nothing"


def test_new_names_pass_ten_at_once_and_then_one_a_second():
    ear, clock = Ear(), Clock()
    some = complaints(ear, lambda: clock.now / 1e9)
    for number in range(100):
        some.add(f"port {number:#x}", "nothing there")
    clock.now = 3_500_000_000
    for number in range(100, 200):
        some.add(f"port {number:#x}", "nothing there")
    some.close()
    assert ear.lines == [
        *(f"port {number:#x}: nothing there" for number in (*range(10), 100, 101, 102)),
        f"{200 - 13} more complaints of devices about the guest",
    ]


def test_names_are_not_kept_without_end():
    ear, clock = Ear(), Clock()
    some = complaints(ear, lambda: clock.now / 1e9)
    tracemalloc.start()
    for number in range(20_000):
        clock.now += 1_000_000_000
        some.add(f"address {number:#018x}" + "x" * 1000, "not RAM")
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    some.close()
    assert len(ear.lines) == 65
    assert grown < 1 << 20


def test_a_line_is_one_line_and_short():
    ear = Ear()
    some = complaints(ear)
    some.add("console", "x" * 100_000)
    some.add("disk", "a\nb\x1b[31m" + "\xad" * 500)
    some.close()
    assert all(len(line) <= 240 and line.isprintable() for line in ear.lines)
    assert ear.lines[0].endswith("xxx...")


def test_nobody_waits_for_who_does_not_read():
    ear = Ear(deaf=True)
    some = Complaints(ear)
    lock = threading.Lock()
    done = threading.Event()

    def guest():
        for number in range(10_000):
            with lock:
                some.add(f"device {number}", "again")
                some.tell("cables are pulled")
        done.set()

    threading.Thread(target=guest, daemon=True).start()
    assert done.wait(PATIENCE)
    assert len(some._lines) <= 32
    some.close()  # comes back, too
    ear.woken.set()
    end = time.monotonic() + PATIENCE
    while len(ear.lines) < 33 and time.monotonic() < end:
        time.sleep(0.01)
    assert "more complaints" in ear.lines[-1]


def test_a_stalled_pipe_is_left_behind_and_a_closed_one_ends_it():
    read, write = os.pipe()
    os.set_blocking(write, False)
    try:
        while True:
            os.write(write, bytes(4096))
    except BlockingIOError:
        os.set_blocking(write, True)
    some = complaints(lambda line: os.write(write, line.encode()))
    some.add("rtc", "x")
    some.add("uart0", "x")
    some.close()
    assert some._thread.is_alive(), "it waits for the pipe, and nobody for it"
    os.close(read)  # EPIPE: it gives up
    some._thread.join(PATIENCE)
    assert not some._thread.is_alive()
    os.close(write)


def test_after_the_end_the_caller_says_it_himself():
    ear = Ear()
    some = complaints(ear)
    some.close()
    some.add("rtc", "too late")
    some.tell("trace: a sink could not finish")
    assert ear.lines == ["trace: a sink could not finish"]
