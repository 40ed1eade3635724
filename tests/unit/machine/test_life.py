"""A machine's life where it is cut short: a KeyboardInterrupt comes at any line."""

import threading

import pytest

from pykvm.errors import MachineError
from pykvm.machine.life import Life, Use

PATIENCE = 60


@pytest.fixture
def life():
    life = Life()
    life.user = None  # it is built
    return life


def test_a_close_that_was_cut_short_goes_on_with_the_next_and_is_done_once(life):
    calls = []

    def give_back():
        calls.append(len(calls))
        if len(calls) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        life.close(False, give_back)
    with pytest.raises(MachineError, match="closed"):
        life.begin(Use())
    life.close(False, give_back)
    life.close(False, give_back)
    assert calls == [0, 1]


def test_close_waits_for_the_user_even_if_its_end_is_not_told(life):
    given_back, runs, go_on = threading.Event(), threading.Event(), threading.Event()

    def run():
        use = Use()
        life.begin(use)
        runs.set()
        go_on.wait(PATIENCE)
        life.user = None  # and cut short here, before tell()

    threading.Thread(target=run).start()
    assert runs.wait(PATIENCE)
    closer = threading.Thread(target=life.close, args=(False, given_back.set))
    closer.start()
    assert not given_back.wait(0.1)
    go_on.set()
    assert given_back.wait(PATIENCE)
    closer.join(PATIENCE)


def test_who_uses_it_has_another_thread_close_it(life):
    threads = []
    life.begin(Use())
    life.close(False, lambda: threads.append(threading.current_thread()))
    assert threads == []
    life.user = None
    life.close(False, lambda: threads.append(threading.current_thread()))
    life.close(False, lambda: threads.append(threading.current_thread()))
    assert len(threads) == 1
