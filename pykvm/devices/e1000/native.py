"""The engine in C (``native/e1000.h``): rings, causes and timers, with a thread of its own.

The GIL is not held in any of it; frames never pass through Python.
"""

from __future__ import annotations

import errno
from functools import partial
from typing import Any

from pykvm._native import ffi, lib
from pykvm.devices import netcounts
from pykvm.devices.e1000 import registers as r
from pykvm.devices.e1000.engine import Surroundings
from pykvm.devices.netcounts import NetCounts
from pykvm.errors import DeviceError
from pykvm.net.vnet import Offload

_CONTEXT = "ipcss ipcso ipcse tucss tucso tucse paylen tucmd hdrlen mss".split()
_OFFLOADS = (
    (Offload.CSUM, lib.PK_E1000_CSUM),
    (Offload.TSO4, lib.PK_E1000_TSO4),
    (Offload.TSO6, lib.PK_E1000_TSO6),
)
_WRONGS = {
    lib.PK_E1000_BAD_RING: "a head or tail outside its ring",
    lib.PK_E1000_NO_RAM: "a ring or a buffer is not RAM",
    lib.PK_E1000_TOO_LONG: "a frame longer than any",
    lib.PK_E1000_BAD_SEGMENT: "a TSO request whose headers make no sense",
    lib.PK_E1000_NO_MASTER: "DMA while COMMAND forbids the function to master the bus",
}


class NativeEngine:
    """See ``engine.Engine``. The backend must have a ``native_fd``.

    With ``inline_tx`` the vCPU that rings the doorbell sends, else the card's own thread does;
    without ``threaded`` there is none, nothing is received and no timer fires (for tests). With
    ``coalesce`` successive frames of one TCP flow leave in one write (``native/coalesce.h``), for
    which the backend must have every offload."""

    def __init__(
        self, around: Surroundings, *, inline_tx: bool = False, threaded: bool = True,
        coalesce: bool = False,
    ) -> None:  # fmt: skip
        fd = around.backend.native_fd
        if fd is None:
            raise ValueError("the backend has no descriptor for C")
        self._around = around
        self._inline_tx = inline_tx
        # A line of the board's is C's already; one of a test's follows what C's says.
        self._line: Any = getattr(around.irq, "native", None) or ffi.new("struct pk_line *")
        self._memory = around.dma.native()
        offloads = sum(bit for offload, bit in _OFFLOADS if offload in around.backend.offloads)
        if coalesce:
            offloads |= lib.PK_E1000_COALESCE
        card = lib.pk_e1000_new(self._memory, fd, offloads, self._line)
        if card == ffi.NULL:
            raise MemoryError("no memory for a network card")
        self._card: Any = ffi.gc(card, lib.pk_e1000_free)
        self._running = False
        self._threaded = threaded
        self.cells = memoryview(ffi.buffer(lib.pk_e1000_cells(card), r.WINDOW)).cast("I")
        self.answer: tuple[Any, Any] | None = (ffi.addressof(lib, "pk_e1000_answer"), self._card)
        around.config.pending = lambda: bool(lib.pk_e1000_pending(self._card))
        self.refresh()

    def __enter__(self) -> None:
        lib.pk_e1000_acquire(self._card)

    def __exit__(self, *exc: object) -> None:
        lib.pk_e1000_release(self._card)

    # -- frames -------------------------------------------------------------------------------

    def start(self) -> None:
        """Let the thread run; until then whoever touches the registers does everything."""
        if self._running or not self._threaded:
            return
        error = lib.pk_e1000_start(self._card, self._inline_tx)
        if error:
            raise OSError(error, f"a network card's thread: {errno.errorcode[error]}")
        self._running = True
        self._around.loop.add_reader(lib.pk_e1000_notice(self._card), self._noticed)

    def _noticed(self) -> None:
        """The thread, or a vCPU in C, met what the guest did wrong."""
        with self:
            errors = self._errors()
        for error in errors:
            self._around.report(error)

    def _errors(self) -> list[DeviceError]:
        """What the guest did wrong since the last call."""
        errors = lib.pk_e1000_errors(self._card)
        return [DeviceError(text) for bit, text in _WRONGS.items() if errors & bit]

    def kick(self) -> None:
        lib.pk_e1000_kick(self._card)
        if self._running:
            return  # the thread sends, or a vCPU in C, and each has its own way to tell
        for error in self._errors():
            raise error

    def resume(self) -> None:
        lib.pk_e1000_resume(self._card)

    def flush(self) -> None:
        lib.pk_e1000_flush(self._card)

    def receive(self, frame: bytes) -> None:
        lib.pk_e1000_receive(self._card, ffi.from_buffer(frame), len(frame))
        for error in self._errors():
            self._around.report(error)

    def refresh(self) -> None:
        around = self._around
        flags = 0
        for wanted, bit in (
            (around.dma.allowed, lib.PK_E1000_MASTER),
            (around.phy.link, lib.PK_E1000_LINK),
            (around.phy.looped, lib.PK_E1000_PHY_LOOP),
            (around.config.may("INTX_DIS"), lib.PK_E1000_NO_INTX),
        ):
            flags |= bit if wanted else 0
        lib.pk_e1000_set_flags(self._card, flags)

    def place(self, address: int | None) -> None:
        doorbells = self._around.doorbells
        lib.pk_e1000_place(self._card, doorbells or ffi.NULL, address or 0)

    # -- causes -------------------------------------------------------------------------------

    def cause(self, bits: int) -> None:
        lib.pk_e1000_cause(self._card, bits, 0)

    def read_icr(self) -> int:
        return int(lib.pk_e1000_read_icr(self._card))

    def clear(self, bits: int) -> None:
        lib.pk_e1000_cause(self._card, 0, bits)

    def set_mask(self, bits: int) -> None:
        lib.pk_e1000_mask(self._card, bits, 0)

    def clear_mask(self, bits: int) -> None:
        lib.pk_e1000_mask(self._card, 0, bits)

    def line_level(self) -> bool:
        """Whether INTA# is up."""
        return bool(self._line.level)

    # -- life ---------------------------------------------------------------------------------

    def reset(self) -> None:
        lib.pk_e1000_reset(self._card)

    def state(self) -> dict[str, Any]:
        context, left = lib.pk_e1000_context(self._card), lib.pk_e1000_unfinished(self._card)
        return {
            "context": {name: getattr(context, name) for name in _CONTEXT},
            "packet": {
                "data": bytes(ffi.buffer(left.data, left.length)),
                "started": bool(left.started),
                "bad": bool(left.bad),
                "segment": bool(left.segment),
                "popts": left.popts,
                "vlan": None if left.vlan < 0 else left.vlan,
            },
        }

    def restore(self, state: Any) -> None:
        context, left = lib.pk_e1000_context(self._card), lib.pk_e1000_unfinished(self._card)
        for name in _CONTEXT:
            setattr(context, name, state["context"][name])
        packet = state["packet"]
        for name in ("started", "bad", "segment", "popts"):
            setattr(left, name, int(packet[name]))
        left.vlan = -1 if packet["vlan"] is None else packet["vlan"]
        left.length = len(packet["data"])
        ffi.memmove(left.data, bytes(packet["data"]), left.length)
        self.cause(0)

    def counts(self) -> list[NetCounts]:
        return [netcounts.read(partial(lib.pk_e1000_counts, self._card))]

    def close(self) -> None:
        if self._running:
            self._running = False
            self._around.loop.remove_reader(lib.pk_e1000_notice(self._card))
            lib.pk_e1000_stop(self._card)
