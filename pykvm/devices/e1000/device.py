"""The 82540EM: registers and what writing them starts. Frames move in ``tx.py`` and ``rx.py``."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pykvm.devices.e1000 import registers as r
from pykvm.devices.e1000.eeprom import Eeprom, contents
from pykvm.devices.e1000.engine import Cells, Engine, Surroundings, Trace
from pykvm.devices.e1000.engines import choose
from pykvm.devices.e1000.ioports import IoWindow
from pykvm.devices.e1000.phy import ADDRESS, Phy
from pykvm.devices.e1000.registers import Cause
from pykvm.devices.e1000.statistics import Counters
from pykvm.devices.netcounts import NetCounts
from pykvm.devices.pci.config import Bar, ConfigSpace, Identity
from pykvm.devices.pci.dma import BusMaster
from pykvm.errors import DeviceError
from pykvm.interfaces import Device, EventLoop, IrqLine, NetBackend, State
from pykvm.memory import GuestMemory

IDENTITY = Identity(
    vendor=0x8086, device=0x100E, class_code=0x020000, revision=0x03,
    subsystem_vendor=0x8086, subsystem=0x001E, interrupt_pin=1,
)  # fmt: skip
BARS = (Bar(0, r.WINDOW), Bar(2, 64, io=True))


def _power_on(mac: bytes) -> memoryview:
    """The register window after a reset."""
    window = Cells(memoryview(array("I", bytes(r.WINDOW))))
    for register in r.REGISTERS:
        for n in range(register.count if register.reset else 0):
            window.put(register.name, register.reset, n)
    window.put("RAL", int.from_bytes(mac[:4], "little"))
    window.put("RAH", int.from_bytes(mac[4:], "little") | r.REGISTERS["RAH"]["AV"].mask)
    return window.cells


class E1000(Cells):
    """``irq`` is INTA#'s line, ``mac`` six bytes; frames go to ``backend`` and come from it.

    ``engine`` makes what moves the frames; None takes the fastest that the backend and the trace
    allow. ``report`` is told what the guest did wrong where no access of its can be blamed;
    ``doorbells`` is the VM's ``struct pk_doorbells *``, if it has one.
    """

    registers = r.REGISTERS
    access_width = 4
    bank = 0

    def __init__(
        self, name: str, mac: bytes, *, irq: IrqLine, loop: EventLoop, memory: GuestMemory,
        backend: NetBackend, trace: Trace | None = None,
        engine: Callable[[Surroundings], Engine] | None = None,
        report: Callable[[DeviceError], None] = lambda error: None, doorbells: Any = None,
    ) -> None:  # fmt: skip
        self.name = name
        self.mac = mac
        self.config = ConfigSpace(IDENTITY, BARS)
        self.eeprom = Eeprom(contents(mac, IDENTITY.device, IDENTITY.subsystem))
        self.phy = Phy()
        dma = BusMaster(self.config, memory)
        around = Surroundings(
            self.config, dma, self.phy, irq, loop, backend, trace=trace, report=report,
            doorbells=doorbells,
        )  # fmt: skip
        self.engine = (engine or choose)(around)
        super().__init__(self.engine.cells)
        self.windows: Mapping[int, Device] = {0: self, 2: IoWindow(f"{name}-io", self)}
        answer = self.engine.answer
        self.answers: Mapping[int, tuple[Any, Any]] = {0: answer} if answer else {}
        self._counters = Counters(self.cells)
        self._reset_image = _power_on(mac)
        self._write_handlers = {
            r.REGISTERS[n].offset: handler for n, handler in self._writers().items()
        }
        self._read_handlers = {
            r.REGISTERS[n].offset: handler for n, handler in self._readers().items()
        }
        self.reset()

    def _writers(self) -> dict[str, Callable[[int], None]]:
        engine = self.engine
        return {
            "CTRL": self._write_ctrl,
            "STATUS": lambda value: None,
            "EECD": self.eeprom.write_eecd,
            "EERD": self._write_eerd,
            "MDIC": self._write_mdic,
            "ICR": engine.clear,
            "ICS": lambda value: engine.cause(value & Cause.ALL),
            "IMS": lambda value: engine.set_mask(value & Cause.ALL),
            "IMC": engine.clear_mask,
            "RCTL": self._write_rctl,
            "TCTL": self._write_tctl,
            "RDT": self._write_rdt,
            "RDTR": self._write_rdtr,
            "TDT": self._write_tdt,
        }

    def _readers(self) -> dict[str, Callable[[], int]]:
        return {
            "STATUS": self._status,
            "EECD": self.eeprom.eecd,
            "ICR": self.engine.read_icr,
        }

    # -- registers ----------------------------------------------------------------------------

    def read(self, offset: int, size: int) -> int:
        """Registers are 32 bits wide; narrower reads get their part of them."""
        at = offset & ~3
        with self.engine:
            handler = self._read_handlers.get(at)
            if handler is not None:
                value = handler()
            elif r.STATISTICS_BASE <= at < r.STATISTICS_BASE + 4 * len(r.STATISTICS):
                value = self._counters.read(at)
            else:
                value = self.cells[at >> 2]
        return value >> (offset & 3) * 8 & (1 << size * 8) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        """Raises DeviceError for a write that is no whole register: the card knows none."""
        if size != 4 or offset & 3:
            raise DeviceError(f"a write of {size} bytes at {offset:#x}; registers have 4")
        with self.engine:
            handler = self._write_handlers.get(offset)
            if handler is not None:
                handler(value)
                return
            register = r.REGISTERS.lookup(offset, write=True)
            if register is not None:
                self.cells[offset >> 2] = value & r.MASKS.get(register.name, 0xFFFF_FFFF)

    def _status(self) -> int:
        value = r.STATUS.reset | (self.get("CTRL") & r.CTRL["FD"].mask)
        return value | (r.STATUS["LU"].mask if self.phy.link else 0)

    def _write_ctrl(self, value: int) -> None:
        if value & r.CTRL["RST"].mask:
            self._software_reset()
            return
        if value & r.CTRL["PHY_RST"].mask:
            with self._watching_link():
                self.phy.reset()
        self.put("CTRL", value & ~r.CTRL["PHY_RST"].mask)

    def _write_eerd(self, value: int) -> None:
        if value & r.EERD["START"].mask:
            address = r.EERD["ADDR"].get(value)
            word = self.eeprom.read_word(address)
            value = r.EERD["DONE"].mask | address << 8 | word << 16
        self.put("EERD", value)

    def _write_mdic(self, value: int) -> None:
        fields, number = r.MDIC, r.MDIC["REG"].get(value)
        answer = value & ~(fields["E"].mask | fields["R"].mask)
        known = fields["PHY"].get(value) == ADDRESS
        if fields["OP"].get(value) == 2:
            data = self.phy.read(number) if known else None
            known = data is not None
            answer = fields["DATA"].put(answer, data or 0)
        elif fields["OP"].get(value) == 1:
            with self._watching_link():
                known = known and self.phy.write(number, fields["DATA"].get(value))
        self.put("MDIC", answer | fields["R"].mask | (0 if known else fields["E"].mask))
        if value & fields["I"].mask:
            self.engine.cause(Cause.MDAC)

    # -- the rings ----------------------------------------------------------------------------

    def _write_tctl(self, value: int) -> None:
        self.put("TCTL", value)
        self._awake(value & r.TCTL["EN"].mask)
        self.engine.kick()

    def _write_tdt(self, value: int) -> None:
        self.put("TDT", value & 0xFFFF)
        self.engine.kick()

    def _write_rctl(self, value: int) -> None:
        self.put("RCTL", value)
        self._awake(value & r.RCTL["EN"].mask)
        self.engine.resume()

    def _write_rdt(self, value: int) -> None:
        self.put("RDT", value & 0xFFFF)
        self.engine.resume()

    def _write_rdtr(self, value: int) -> None:
        self.put("RDTR", value & 0xFFFF)
        if value >> 31:  # FPD
            self.engine.flush()

    def _awake(self, enabled: int) -> None:
        """A card that is never switched on costs no thread."""
        if enabled:
            self.engine.start()

    # -- the outside --------------------------------------------------------------------------

    def set_link(self, up: bool) -> None:
        """Plug the cable in, or pull it."""
        with self.engine, self._watching_link():
            self.phy.cable = up

    @contextmanager
    def _watching_link(self) -> Iterator[None]:
        """The engine follows the PHY, and the guest hears of a link that came or went."""
        before = self.phy.link
        yield
        self.engine.refresh()
        if self.phy.link != before:
            self.engine.cause(Cause.LSC)

    def config_changed(self) -> None:
        """The guest wrote the configuration space."""
        with self.engine:
            self.engine.refresh()

    def placed(self, addresses: Mapping[int, int]) -> None:
        """Where the windows are."""
        with self.engine:
            self.engine.place(addresses.get(0))

    # -- life ---------------------------------------------------------------------------------

    def _software_reset(self) -> None:
        """CTRL.RST: everything but the PHY, the EEPROM and the configuration space."""
        self.cells[:] = self._reset_image
        self.engine.reset()
        self.eeprom.reset()

    def counts(self) -> list[NetCounts]:
        """See ``engine.Engine``; from any thread, with the machine's lock."""
        return self.engine.counts()

    def close(self) -> None:
        """Stop what works by itself; idempotent. The registers stay as they are."""
        self.engine.close()

    def reset(self) -> None:
        with self.engine:
            self.phy.reset()
            self.engine.refresh()
            self._software_reset()

    def state(self) -> State:
        with self.engine:
            transmitter = self.engine.state()
            return {
                "version": 1,
                "cells": {at: value for at, value in enumerate(self.cells) if value},
                "config": self.config.state(),
                "eeprom": self.eeprom.state(),
                "phy": dict(self.phy.cells),
                "cable": self.phy.cable,
                "transmitter": transmitter,
            }

    def restore(self, state: State) -> None:
        if state["version"] != 1:
            raise ValueError(f"{self.name}: state version {state['version']}")
        self.config.restore(state["config"])
        with self.engine:
            cells = array("I", bytes(r.WINDOW))
            for at, value in state["cells"].items():
                cells[int(at)] = value
            self.cells[:] = memoryview(cells)
            self.eeprom.restore(state["eeprom"])
            self.phy.cells = {int(number): value for number, value in state["phy"].items()}
            self.phy.cable = state["cable"]
            self.engine.refresh()
            self.engine.restore(state["transmitter"])
