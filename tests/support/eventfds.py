"""What KVM does with eventfds, for a function on a bench: kicks in, messages and INTx out."""

import os
import threading

from pykvm._native import ffi


def signalled(fd):
    """Whether an eventfd was signalled since the last call."""
    try:
        return os.eventfd_read(fd) > 0
    except BlockingIOError:
        return False


class Kicks:
    """``interfaces.Kicks``. As in KVM an address and value is one eventfd's at a time."""

    def __init__(self):
        self.at = {}

    def listen(self, fd, address, *, io, value=None):
        assert (address, io, value) not in self.at, "KVM says EEXIST"
        self.at[address, io, value] = fd

    def ignore(self, fd):
        self.at = {where: other for where, other in self.at.items() if other != fd}

    def native(self, fd):
        return None

    def write(self, address, value, *, io=False):
        """The guest writes 16 bits; False where that exits."""
        fd = self.at.get((address, io, value), self.at.get((address, io, None)))
        if fd is None:
            return False
        os.eventfd_write(fd, 1)
        return True


class Messages:
    """``interfaces.Messages``. ``take`` tells what has been delivered since the last call, eventfds
    that are connected included."""

    def __init__(self):
        self.sent = []
        self.connected = {}
        self.lock = threading.Lock()

    def send(self, address, data):
        self.sent.append((address, data))

    def connect(self, fd, address, data):
        self.connected[fd] = (address, data)

    def disconnect(self, fd):
        if fd in self.connected and signalled(fd):
            self.sent.append(self.connected[fd])
        self.connected.pop(fd, None)

    def take(self):
        for fd, message in self.connected.items():
            if signalled(fd):
                self.sent.append(message)
        came, self.sent = self.sent, []
        return came


class NativeLine:
    """INTA# that leads nowhere, for C."""

    def __init__(self):
        self.native = ffi.new("struct pk_line *")

    @property
    def level(self):
        return bool(self.native.level)

    def set(self, level):
        self.native.level = level
