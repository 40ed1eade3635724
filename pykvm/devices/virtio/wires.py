"""Kicks and interrupts of queues that C works: by eventfds, without Python and without exits.

A queue's *kick* is an eventfd that KVM signals when the driver writes the queue's number to a
notification register. Its *call* is one that KVM turns into the queue's MSI-X message, for as long
as the vector is there and not masked; what is signalled meanwhile is pending.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterable
from typing import Any

from pykvm._native import ffi, lib
from pykvm.devices.pci.msi import Msix
from pykvm.devices.virtio.queue import NO_VECTOR
from pykvm.interfaces import Kicks, Messages

Address = Callable[[int], list[tuple[int, bool, int | None]]]
"""Where the driver kicks a queue now: (address, whether it is a port, the value that means it)."""


class Wires:
    """``isr`` is the ``struct pk_isr *`` of the function, ``vector_of`` tells a queue's vector."""

    def __init__(
        self, kicks: Kicks, messages: Messages, msix: Msix, isr: Any,
        vector_of: Callable[[int], int], where: Address,
    ) -> None:  # fmt: skip
        self._kicks, self._messages, self._msix = kicks, messages, msix
        self._vector_of, self._where = vector_of, where
        self.isr = isr
        self.pairs: Any = ffi.new("struct pk_virtio_pairs *")
        self._listening: dict[int, list[int]] = {}  # queues by kick eventfd
        self._calls: dict[int, int] = {}  # eventfds by queue
        self._connected: dict[int, tuple[int, int]] = {}  # messages by eventfd
        self._vectors: dict[int, int] = {}  # by queue, at the last update

    # -- kicks --------------------------------------------------------------------------------

    def listen(self, fd: int, queues: Iterable[int]) -> None:
        """Signal ``fd`` for each of these queues."""
        self._listening[fd] = list(queues)
        self._place(fd)

    def ignore(self, fd: int) -> None:
        """No more."""
        if self._listening.pop(fd, None) is not None:
            self._kicks.ignore(fd)

    def kicks_of(self, fd: int) -> Any:
        """C's handle on where ``fd`` is signalled from, or NULL."""
        return self._kicks.native(fd) or ffi.NULL

    def answer(self, isr_at: int, notify: int, step: int, queues: int) -> tuple[Any, Any]:
        """C's own answer for a window (``bus.Range.native``): see ``native/virtio_window.h``."""
        window = ffi.new(
            "struct pk_virtio_window *",
            {"isr": self.isr, "pairs": self.pairs, "isr_at": isr_at, "notify": notify, "step": step,
             "queues": queues},
        )  # fmt: skip
        return ffi.addressof(lib, "pk_virtio_answer"), window

    def _place(self, fd: int) -> None:
        for queue in self._listening[fd]:
            for address, io, value in self._where(queue):
                self._kicks.listen(fd, address, io=io, value=value)

    def moved(self) -> None:
        """The windows are elsewhere."""
        for fd in self._listening:
            self._kicks.ignore(fd)
            self._place(fd)

    # -- interrupts ---------------------------------------------------------------------------

    def call(self, queue: int) -> int:
        """The eventfd for the queue's interrupts; -1 while they go by the ISR."""
        if not self._msix.enabled:
            return -1
        if queue not in self._calls:
            self._calls[queue] = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.update()
        return self._calls[queue]

    def update(self) -> None:
        """A vector, a mask or the whole capability changed."""
        for queue, fd in self._calls.items():
            vector = self._vector_of(queue)
            if self._vectors.get(queue) == NO_VECTOR != vector:
                self._drain(fd)  # what was signalled meanwhile was to go nowhere
            self._vectors[queue] = vector
            message = self._msix.deliverable(vector)
            if self._connected.get(fd) == message:
                continue
            if message is None:
                self._messages.disconnect(fd)
                del self._connected[fd]
                continue
            waited = self._drain(fd)
            self._messages.connect(fd, *message)
            self._connected[fd] = message
            if waited:
                self._messages.send(*message)

    @staticmethod
    def _drain(fd: int) -> bool:
        try:
            os.eventfd_read(fd)
        except BlockingIOError:
            return False
        return True

    @staticmethod
    def _signalled(fd: int) -> bool:
        poll = select.poll()  # select() takes no descriptors above 1,023
        poll.register(fd, select.POLLIN)
        return bool(poll.poll(0))

    def pending(self) -> int:
        """Vectors whose queues have signalled behind a mask, as bits."""
        bits = 0
        for queue, fd in self._calls.items():
            vector = self._vector_of(queue)
            if fd not in self._connected and vector < self._msix.table.vectors:
                bits |= self._signalled(fd) << vector
        return bits

    def forget(self) -> None:
        """A reset: what was signalled and not delivered is gone."""
        for fd in self._calls.values():
            if fd not in self._connected:
                self._drain(fd)

    def close(self) -> None:
        """Let go of everything; idempotent."""
        for fd in list(self._listening):
            self.ignore(fd)
        for fd in self._calls.values():
            if fd in self._connected:
                self._messages.disconnect(fd)
            os.close(fd)
        self._calls.clear()
        self._connected.clear()
