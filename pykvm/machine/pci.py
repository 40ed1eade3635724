"""The PCI bus of the board: slots, address windows that move, interrupt routing.

As firmware would, it gives every BAR an address and every INTx pin a line before the guest starts.
When the guest moves a BAR or switches decoding, all windows are laid anew, in slot order: one that
would overlap another, or leave its space, answers nothing until it is moved again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pykvm.bus import Range
from pykvm.devices.pci import registers as r
from pykvm.devices.pci.config import ROM_INDEX, Bar, ConfigSpace
from pykvm.devices.pci.host import SLOTS, HostBridge
from pykvm.devices.pci.rom import OptionRom
from pykvm.errors import PlugError, RangeError
from pykvm.hints import Any, Protocol
from pykvm.interfaces import Device
from pykvm.machine.board import Board
from pykvm.machine.plugging import check_device, check_function

CONFIG_PORTS = 0xCF8
FIRST_SLOT = 3
MEMORY_WINDOW = (0xE000_0000, 0xFEC0_0000)
IO_WINDOW = (0xC000, 0x1_0000)
# Two inputs that a PC keeps free, level-triggered; functions share them by slot.
INTX_GSIS = (10, 11)


class Function(Protocol):
    """A PCI function as the bus sees it."""

    name: str
    config: ConfigSpace
    windows: Mapping[int, Device]
    """By BAR index: what answers there."""
    answers: Mapping[int, tuple[Any, Any]]
    """By BAR index: C's own answer (``bus.Range.native``), where there is one."""

    def config_changed(self) -> None:
        """The guest wrote the configuration space."""

    def placed(self, addresses: Mapping[int, int]) -> None:
        """Where the windows answer now, by BAR index; those that answer nowhere are left out."""


def gsi_of(slot: int) -> int:
    """The input that INTA# of a slot reaches."""
    return INTX_GSIS[slot % len(INTX_GSIS)]


class PciBus:
    """Bus 0. ``publish`` is called after every change of the map."""

    def __init__(self, board: Board, bridge: HostBridge, publish: Callable[[], None]) -> None:
        self._board = board
        self._bridge = bridge
        self._publish = publish
        self._windows: list[tuple[Function, Bar, Range]] = []
        self._mapped: list[tuple[Bar, Range]] = []
        self._next_memory, self._next_io = MEMORY_WINDOW[0], IO_WINDOW[0]
        self._functions: list[tuple[int, Function]] = []
        self._laid: list[int | None] = []
        board.plug(board.pio, CONFIG_PORTS, 8, bridge)

    def plug(self, slot: int, function: Function, rom: bytes = b"") -> None:
        """Put ``function`` into ``slot``, with its option ROM if it has one. Raises PlugError when
        the slot is taken, a name is, or something lacks.
        """
        check_function(function)
        windows = dict(function.windows)
        if rom:
            windows[ROM_INDEX] = option = OptionRom(f"{function.name}-rom", rom)
            function.config.add_rom(option.size)
        self._check_windows(function, windows)
        self._bridge.plug(slot, function)
        self._functions.append((slot, function))
        for bar in function.config.bars:
            window = Range(
                0, bar.size, windows[bar.index], number=len(self._board.ranges),
                native=function.answers.get(bar.index),
            )  # fmt: skip
            self._board.ranges.append(window)
            self._windows.append((function, bar, window))
            self._board.list(window.device)

        def changed(offset: int, size: int) -> None:
            self._lay()
            function.config_changed()

        function.config.on_change = changed

    @property
    def functions(self) -> list[Function]:
        """What is plugged in, in the order of plugging."""
        return [function for _, function in self._functions]

    def _check_windows(self, function: Function, windows: Mapping[int, Device]) -> None:
        if any(other.name == function.name for _, other in self._functions):
            raise PlugError(f"{function.name}: another PCI function has this name")
        seen = list(self._board.devices)
        for bar in function.config.bars:
            if bar.index not in windows:
                raise PlugError(f"{function.name}: no window answers BAR {bar.index}")
            check_device(windows[bar.index], seen)
            seen.append(windows[bar.index])

    def free_slot(self) -> int:
        """The lowest slot that is free, after those that a PC's chipset uses. Raises PlugError."""
        taken = {slot for slot, _ in self._functions}
        for slot in range(FIRST_SLOT, SLOTS):
            if slot not in taken:
                return slot
        raise PlugError("no PCI slot is left")

    def assign(self) -> None:
        """What firmware does: addresses, interrupt lines, decoding on, but option ROMs off."""
        for slot, function in self._functions:
            config = function.config
            for bar in config.bars:
                config.write(bar.offset, 8 if bar.wide else 4, self._allocate(bar))
            if config.identity.interrupt_pin:
                config.write(r.INT_LINE, 1, gsi_of(slot))
            config.write(r.COMMAND.offset, 2, r.COMMAND["IO"].mask | r.COMMAND["MEM"].mask)

    def _allocate(self, bar: Bar) -> int:
        cursor, end = (
            (self._next_io, IO_WINDOW[1]) if bar.io else (self._next_memory, MEMORY_WINDOW[1])
        )
        base = cursor + bar.size - 1 & ~(bar.size - 1)
        if base + bar.size > end:
            raise RangeError(f"no room left for a PCI window of {bar.size:#x} bytes")
        if bar.io:
            self._next_io = base + bar.size
        else:
            self._next_memory = base + bar.size
        return base

    def _lay(self) -> None:
        wanted = [function.config.address(bar) for function, bar, _ in self._windows]
        if wanted == self._laid:
            return
        self._laid = wanted
        for bar, window in self._mapped:
            (self._board.pio if bar.io else self._board.mmio).remove(window)
        self._mapped.clear()
        for (_, bar, window), base in zip(self._windows, wanted, strict=True):
            if base is None:
                continue
            window.base = base
            try:
                (self._board.pio if bar.io else self._board.mmio).add(window)
            except RangeError:
                continue  # the guest's doing: the window that came first keeps the addresses
            self._mapped.append((bar, window))
        self._publish()
        for _, function in self._functions:  # who moved away lets go before another moves in
            function.placed({})
        for _, function in self._functions:
            mine = [(bar, window) for f, bar, window in self._windows if f is function]
            function.placed({b.index: w.base for b, w in mine if (b, w) in self._mapped})
