"""The seam inside the card: registers on one side (``device.py``), what moves frames on the other.

There are two engines: ``native.py`` drives the C code and its I/O thread, ``reference.py`` does the
same in Python, on the thread that touches the registers. They share the register file's cells, and
one suite runs over both (``tests/contract/test_e1000_engines.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol

from pykvm.devices.e1000 import registers as r
from pykvm.devices.e1000.phy import Phy
from pykvm.devices.netcounts import NetCounts
from pykvm.devices.pci.config import ConfigSpace
from pykvm.devices.pci.dma import BusMaster
from pykvm.errors import DeviceError
from pykvm.interfaces import EventLoop, IrqLine, NetBackend
from pykvm.record import Record

Trace = Callable[[str, dict[str, Any]], None]
"""Receives what happens inside: a name and its details."""


class Surroundings(Record):
    """What an engine works with. ``report`` takes what the guest did wrong when no access of the
    guest is there to raise it from."""

    config: ConfigSpace
    dma: BusMaster
    phy: Phy
    irq: IrqLine
    loop: EventLoop
    backend: NetBackend
    trace: Trace | None = None
    report: Callable[[DeviceError], None] = lambda error: None
    doorbells: Any = None

    def tell(self, what: str, details: dict[str, Any]) -> None:
        """Something for the trace."""
        if self.trace is not None:
            self.trace(what, details)


class Engine(Protocol):
    """Rings, causes, timers. Used as a context manager around every access: whatever works the
    rings in another thread stands still meanwhile. Methods raise DeviceError for what the guest did
    wrong."""

    cells: memoryview
    """The register window, 32 bits each; ICR, IMS and the statistics included."""

    answer: tuple[Any, Any] | None
    """C's own answer for the window (``bus.Range.native``), if there is one."""

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...  # fmt: skip

    def start(self) -> None:
        """The guest switched the card on; idempotent."""

    def reset(self) -> None:
        """The cells were set anew: forget frames and timers."""

    def kick(self) -> None:
        """TDT or TCTL was written: send what is between TDH and TDT."""

    def resume(self) -> None:
        """RDT or RCTL was written: there may be room."""

    def flush(self) -> None:
        """RDTR's FPD: what the receive timers hold back comes now."""

    def receive(self, frame: bytes) -> None:
        """A frame from the wire."""

    def refresh(self) -> None:
        """The link, the PHY's loopback or COMMAND changed."""

    def place(self, address: int | None) -> None:
        """The register window is at ``address`` now, or nowhere."""

    def cause(self, bits: int) -> None:
        """Record causes."""

    def read_icr(self) -> int:
        """Reading clears."""

    def clear(self, bits: int) -> None:
        """Writing 1 to ICR clears."""

    def set_mask(self, bits: int) -> None:
        """IMS."""

    def clear_mask(self, bits: int) -> None:
        """IMC."""

    def state(self) -> dict[str, Any]:
        """The context and the unfinished frame; everything else is in the cells, which are read
        after this call: what has left the ring is sent first."""

    def restore(self, state: Any) -> None:
        """The inverse; the cells have been restored before. What was rung is sent."""

    def counts(self) -> list[NetCounts]:
        """What C has done, in one row; empty where C does not move the frames."""

    def close(self) -> None:
        """Stop what runs by itself; idempotent."""


class Cells:
    """The register file by name, over an engine's cells."""

    def __init__(self, cells: memoryview) -> None:
        self.cells = cells

    def get(self, name: str, n: int = 0) -> int:
        """A register's value, or an array's element, without side effects."""
        register = r.REGISTERS[name]
        return int(self.cells[(register.offset + n * register.stride) >> 2])

    def put(self, name: str, value: int, n: int = 0) -> None:
        """The same, to set it."""
        register = r.REGISTERS[name]
        self.cells[(register.offset + n * register.stride) >> 2] = value & 0xFFFF_FFFF
