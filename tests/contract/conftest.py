"""The event loop that backends work with, and the lock that their callbacks hold."""

import threading

import pytest

from pykvm.eventloop import EpollLoop


@pytest.fixture
def lock():
    return threading.Lock()


@pytest.fixture
def loop(lock):
    errors = []
    loop = EpollLoop(lock, on_error=errors.append)
    yield loop
    loop.stop()
    assert not errors
