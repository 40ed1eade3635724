"""Host events: readiness and timers, delivered with the lock held."""

import os
import threading
import time

import pytest

from pykvm.eventloop import EpollLoop


@pytest.fixture
def lock():
    return threading.Lock()


@pytest.fixture
def errors():
    return []


@pytest.fixture
def loop(lock, errors):
    loop = EpollLoop(lock, on_error=errors.append)
    yield loop
    loop.stop()


@pytest.fixture
def pipe():
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_no_thread_runs_before_there_is_something_to_wait_for(lock):
    before = threading.active_count()
    loop = EpollLoop(lock, on_error=print)
    assert threading.active_count() == before
    loop.stop()


def test_readable_descriptors_are_told_with_the_lock_held(loop, lock, pipe):
    seen, done = [], threading.Event()

    def readable():
        seen.append((os.read(pipe[0], 10), lock.locked()))
        done.set()

    loop.add_reader(pipe[0], readable)
    os.write(pipe[1], b"x")
    assert done.wait(20)
    assert seen == [(b"x", True)]


def test_a_removed_descriptor_is_not_told(loop, pipe):
    seen = []
    loop.add_reader(pipe[0], lambda: seen.append(1))
    loop.remove_reader(pipe[0])
    loop.remove_reader(pipe[0])
    os.write(pipe[1], b"x")
    done = threading.Event()
    loop.call_at(loop.now_ns() + 20_000_000, done.set)
    assert done.wait(20)
    assert not seen


def test_a_second_callback_takes_the_place_of_the_first(loop, pipe):
    done = threading.Event()
    loop.add_reader(pipe[0], lambda: None)
    loop.add_reader(pipe[0], lambda: (os.read(pipe[0], 1), done.set()))
    os.write(pipe[1], b"x")
    assert done.wait(20)


def test_timers_fire_in_order_of_time_not_of_asking(loop):
    seen, done = [], threading.Event()
    now = loop.now_ns()
    loop.call_at(now + 60_000_000, lambda: (seen.append("late"), done.set()))
    loop.call_at(now + 20_000_000, lambda: seen.append("early"))
    loop.call_at(now - 1, lambda: seen.append("past"))
    assert done.wait(20)
    assert seen == ["past", "early", "late"]


def test_a_cancelled_timer_does_not_fire(loop):
    seen, done = [], threading.Event()
    timer = loop.call_at(loop.now_ns() + 10_000_000, lambda: seen.append(1))
    timer.cancel()
    timer.cancel()
    loop.call_at(loop.now_ns() + 30_000_000, done.set)
    assert done.wait(20)
    assert not seen


def test_callbacks_may_ask_for_more(loop):
    done, count = threading.Event(), []

    def again():
        count.append(1)
        if len(count) == 5:
            done.set()
        else:
            loop.call_at(loop.now_ns(), again)

    loop.call_at(loop.now_ns(), again)
    assert done.wait(20)


def test_a_failing_callback_is_reported_and_the_loop_goes_on(loop, errors):
    done = threading.Event()
    loop.call_at(loop.now_ns(), lambda: 1 // 0)
    loop.call_at(loop.now_ns() + 10_000_000, done.set)
    assert done.wait(20)
    assert [type(error) for error in errors] == [ZeroDivisionError]


def test_stopping_ends_the_thread_and_closes_everything(lock, pipe):
    descriptors, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    loop = EpollLoop(lock, on_error=print)
    loop.add_reader(pipe[0], lambda: None)
    loop.stop()
    loop.stop()
    loop.add_reader(pipe[0], lambda: None)
    loop.remove_reader(pipe[0])
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert threading.active_count() == threads
    time.sleep(0)


def test_a_loop_at_rest_fires_no_timer_but_tells_of_descriptors(loop, pipe):
    fired, told = [], threading.Event()
    loop.rest()
    loop.call_at(loop.now_ns(), lambda: fired.append(1))
    loop.add_reader(pipe[0], lambda: (os.read(pipe[0], 10), told.set()))
    os.write(pipe[1], b"x")
    assert told.wait(20)
    os.write(pipe[1], b"x")
    assert fired == []


def test_work_that_asks_for_ever_more_turns_lets_others_have_the_lock(loop, lock):
    """A lock in Python goes to whoever is awake: without a pause the loop would keep it."""
    going = True

    def turn():
        end = time.monotonic() + 0.005
        while time.monotonic() < end:
            pass
        if going:
            loop.call_at(loop.now_ns(), turn)

    loop.call_at(loop.now_ns(), turn)
    for _ in range(20):
        assert lock.acquire(timeout=20)
        lock.release()
    going = False


def test_a_stopped_loop_takes_no_timers_and_signals_no_descriptor(lock):
    loop = EpollLoop(lock, on_error=print)
    loop.stop()
    loop.stop()
    stranger = os.eventfd(0, os.EFD_NONBLOCK)  # with the number of the loop's own, most likely
    others = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(2)]
    loop.call_at(0, lambda: None)
    for fd in (stranger, *others):
        with pytest.raises(BlockingIOError):
            os.eventfd_read(fd)
        os.close(fd)
