"""The size of the user's terminal, on its way to a console."""

import fcntl
import os
import pty
import struct
import termios
from contextlib import ExitStack
from types import SimpleNamespace

from pykvm.machine import console
from tests.support.virtio_driver import Loop


class Resizes:
    """Stands for a console and counts what it is told."""

    def __init__(self):
        self.count = 0

    def resized(self):
        self.count += 1


def test_a_signal_reaches_the_console_through_the_loop():
    machine = SimpleNamespace(loop=Loop(), resized=None)
    told = Resizes()
    with ExitStack() as stack:
        console._watch_size(machine, stack, told)
        machine.resized()
        machine.resized()
        assert told.count == 0, "nothing happens in the signal handler itself"
        machine.loop.until(lambda: told.count)
        assert told.count == 1
    machine.resized()  # a late signal
    assert machine.loop.readers == {}


def test_the_size_is_the_terminals_and_0_when_it_has_gone(monkeypatch):
    near, far = pty.openpty()
    monkeypatch.setattr(console, "_STDOUT", far)
    fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("4H", 40, 100, 0, 0))
    assert console._size() == (100, 40)
    os.close(near)
    os.close(far)
    assert console._size() == (0, 0)
