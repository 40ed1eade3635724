"""The 82540EM: registers and what writing them starts. Frames move in ``tx.py`` and ``rx.py``."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from typing import Any

from pykvm.devices.e1000 import registers as r
from pykvm.devices.e1000 import rx
from pykvm.devices.e1000.eeprom import Eeprom, contents
from pykvm.devices.e1000.filters import accepts, accepts_vlan
from pykvm.devices.e1000.interrupts import DelayTimer, Interrupts
from pykvm.devices.e1000.ioports import IoWindow
from pykvm.devices.e1000.phy import ADDRESS, Phy
from pykvm.devices.e1000.registers import Cause
from pykvm.devices.e1000.statistics import Counters
from pykvm.devices.e1000.transmit import Transmitter
from pykvm.devices.pci.config import Bar, ConfigSpace, Identity
from pykvm.devices.pci.dma import BusMaster
from pykvm.devices.pci.interrupt import IntxPin
from pykvm.errors import DeviceError
from pykvm.interfaces import Device, EventLoop, IrqLine, NetBackend, State
from pykvm.memory import GuestMemory

IDENTITY = Identity(
    vendor=0x8086, device=0x100E, class_code=0x020000, revision=0x03,
    subsystem_vendor=0x8086, subsystem=0x001E, interrupt_pin=1,
)  # fmt: skip
BARS = (Bar(0, r.WINDOW), Bar(2, 64, io=True))

_LBM_MAC = 1
_VLAN_TAG = 4
_MAX_STANDARD = 1518  # without FCS, with a tag; more needs LPE

Trace = Callable[[str, dict[str, Any]], None]
"""Receives what happens inside: a name and its details."""


class E1000:
    """``irq`` is INTA#'s line, ``mac`` six bytes; frames go to ``backend`` and come from it."""

    registers = r.REGISTERS
    access_width = 4
    bank = 0

    def __init__(
        self, name: str, mac: bytes, *, irq: IrqLine, loop: EventLoop, memory: GuestMemory,
        backend: NetBackend, trace: Trace | None = None,
    ) -> None:  # fmt: skip
        self.name = name
        self.mac = mac
        self.backend = backend
        self.trace = trace
        self.config = ConfigSpace(IDENTITY, BARS)
        self.windows: Mapping[int, Device] = {0: self, 2: IoWindow(f"{name}-io", self)}
        self.dma = BusMaster(self.config, memory)
        self.pin = IntxPin(self.config, irq)
        self.interrupts = Interrupts(self.pin, loop, self._raised if trace else None)
        self.counters = Counters()
        self.eeprom = Eeprom(contents(mac, IDENTITY.device, IDENTITY.subsystem))
        self.phy = Phy()
        self._rx_delay = DelayTimer(loop, lambda: self.interrupts.cause(Cause.RXT0))
        self._tx_delay = DelayTimer(loop, lambda: self.interrupts.cause(Cause.TXDW))
        self._cells = array("I", bytes(r.WINDOW))
        self.transmitter = Transmitter(self)
        self._starved = False  # the backend was told that there is no room
        self._write_handlers = {
            r.REGISTERS[n].offset: handler for n, handler in self._writers().items()
        }
        self._read_handlers = {
            r.REGISTERS[n].offset: handler for n, handler in self._readers().items()
        }
        self.reset()
        backend.connect(self)

    def _writers(self) -> dict[str, Callable[[int], None]]:
        interrupts = self.interrupts
        return {
            "CTRL": self._write_ctrl,
            "STATUS": lambda value: None,
            "EECD": self.eeprom.write_eecd,
            "EERD": self._write_eerd,
            "MDIC": self._write_mdic,
            "ICR": interrupts.clear,
            "ICS": lambda value: interrupts.cause(value & Cause.ALL),
            "IMS": interrupts.set_mask,
            "IMC": interrupts.clear_mask,
            "ITR": self._write_itr,
            "RCTL": self._write_rctl,
            "TCTL": self._write_tctl,
            "RDT": self._write_rdt,
            "RDTR": self._write_rdtr,
            "TDT": self._write_tdt,
            "TIDV": self._write_tidv,
        }

    def _readers(self) -> dict[str, Callable[[], int]]:
        interrupts = self.interrupts
        return {
            "CTRL": lambda: self.get("CTRL"),
            "STATUS": self._status,
            "EECD": self.eeprom.eecd,
            "ICR": interrupts.read_icr,
            "IMS": lambda: interrupts.ims,
            "ITR": lambda: interrupts.itr,
        }

    # -- registers ----------------------------------------------------------------------------

    def get(self, name: str, n: int = 0) -> int:
        """A register's value, or an array's element, without side effects."""
        register = r.REGISTERS[name]
        return self._cells[(register.offset + n * register.stride) >> 2]

    def put(self, name: str, value: int, n: int = 0) -> None:
        """The same, to set it."""
        register = r.REGISTERS[name]
        self._cells[(register.offset + n * register.stride) >> 2] = value & 0xFFFF_FFFF

    def read(self, offset: int, size: int) -> int:
        """Registers are 32 bits wide; narrower reads get their part of them."""
        at = offset & ~3
        handler = self._read_handlers.get(at)
        if handler is not None:
            value = handler()
        elif r.STATISTICS_BASE <= at < r.STATISTICS_BASE + 4 * len(r.STATISTICS):
            value = self.counters.read(at)
        else:
            value = self._cells[at >> 2]
        return value >> (offset & 3) * 8 & (1 << size * 8) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        """Raises DeviceError for a write that is no whole register: the card knows none."""
        if size != 4 or offset & 3:
            raise DeviceError(f"a write of {size} bytes at {offset:#x}; registers have 4")
        handler = self._write_handlers.get(offset)
        if handler is not None:
            handler(value)
            return
        register = r.REGISTERS.lookup(offset, write=True)
        if register is not None:
            self._cells[offset >> 2] = value & r.MASKS.get(register.name, 0xFFFF_FFFF)

    def _status(self) -> int:
        value = r.STATUS.reset | (self.get("CTRL") & r.CTRL["FD"].mask)
        return value | (r.STATUS["LU"].mask if self.phy.link else 0)

    def _write_ctrl(self, value: int) -> None:
        if value & r.CTRL["RST"].mask:
            self._software_reset()
            return
        if value & r.CTRL["PHY_RST"].mask:
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
            known = known and self.phy.write(number, fields["DATA"].get(value))
        self.put("MDIC", answer | fields["R"].mask | (0 if known else fields["E"].mask))
        if value & fields["I"].mask:
            self.interrupts.cause(Cause.MDAC)

    def _write_itr(self, value: int) -> None:
        self.interrupts.itr = value & 0xFFFF

    def _write_rdtr(self, value: int) -> None:
        self.put("RDTR", value & 0xFFFF)
        if value >> 31:  # FPD: flush what the timers hold back
            self._rx_delay.flush()

    def _write_tidv(self, value: int) -> None:
        self.put("TIDV", value & 0xFFFF)

    # -- transmitting -------------------------------------------------------------------------

    def _write_tctl(self, value: int) -> None:
        self.put("TCTL", value)
        self._transmit()

    def _write_tdt(self, value: int) -> None:
        self.put("TDT", value & 0xFFFF)
        self._transmit()

    def _transmit(self) -> None:
        if not self.get("TCTL") & r.TCTL["EN"].mask:
            return
        result = self.transmitter.run()
        if result.reported:
            if result.delayed and self.get("TIDV"):
                self._tx_delay.start(self.get("TIDV"), self.get("TADV"))
            else:
                self.interrupts.cause(Cause.TXDW)
        if self.get("TDH") == self.get("TDT"):
            self.interrupts.cause(Cause.TXQE)
        if result.errors:
            raise DeviceError(result.errors[0])

    @property
    def pads(self) -> bool:
        """Whether short frames are padded to the shortest that Ethernet has."""
        return bool(self.get("TCTL") & r.TCTL["PSP"].mask)

    @property
    def looped(self) -> bool:
        """Whether what is sent comes back inside the card."""
        return r.RCTL["LBM"].get(self.get("RCTL")) == _LBM_MAC or self.phy.looped

    # -- receiving ----------------------------------------------------------------------------

    def _write_rctl(self, value: int) -> None:
        self.put("RCTL", value)
        self._resume()

    def _write_rdt(self, value: int) -> None:
        self.put("RDT", value & 0xFFFF)
        self._resume()

    def _resume(self) -> None:
        if self._starved and self.can_receive():
            self._starved = False
            self.backend.resume()

    def _room(self) -> int:
        return rx.room(self.get("RDLEN"), self.get("RDH"), self.get("RDT"))

    def can_receive(self) -> bool:
        """With the receiver off frames are taken, and lost: a cable does not wait. With it on, they
        are held back for as long as there is no descriptor."""
        enabled = bool(self.get("RCTL") & r.RCTL["EN"].mask)
        self._starved = enabled and self._room() == 0
        return not self._starved

    def receive(self, frame: bytes) -> None:
        """A frame from the backend, or from our own transmitter in loopback."""
        rctl = self.get("RCTL")
        if not rctl & r.RCTL["EN"].mask or len(frame) < 14:
            return
        if not (self.phy.link or self.looped):
            return
        if len(frame) < 60:
            frame = frame.ljust(60, b"\0")  # the sender's card would have padded it
        self.counters.seen(frame)
        if not accepts(frame, rctl, self.get):
            return
        if len(frame) > _MAX_STANDARD and not rctl & r.RCTL["LPE"].mask:
            self.counters.add("ROC")
            return
        if len(frame) > rx.MAX_FRAME - 4:
            self.counters.add("ROC")
            return
        packet, vlan = frame, None
        tagged = int.from_bytes(frame[12:14], "big") == self.get("VET") & 0xFFFF
        if tagged and len(frame) >= 18:
            tag = int.from_bytes(frame[14:16], "big")
            if not accepts_vlan(tag, rctl, self.get):
                return
            if self.get("CTRL") & r.CTRL["VME"].mask:
                vlan, frame = tag, frame[:12] + frame[12 + _VLAN_TAG :]
        self._store(packet, frame, vlan, rctl)

    def _store(self, packet: bytes, frame: bytes, vlan: int | None, rctl: int) -> None:
        fcs = 0 if rctl & r.RCTL["SECRC"].mask else 4
        needed = -(-(len(frame) + fcs) // rx.buffer_size(rctl))
        free = self._room()
        if needed > free:
            self.counters.add("MPC")
            self.counters.add("RNBC")
            self.interrupts.cause(Cause.RXO)
            return
        base = self.get("RDBAH") << 32 | self.get("RDBAL")
        try:
            received = rx.store(
                self.dma, frame, vlan, base=base, length=self.get("RDLEN"), head=self.get("RDH"),
                rctl=rctl, rxcsum=self.get("RXCSUM"), packet=packet,
            )  # fmt: skip
        except DeviceError as error:
            self.counters.add("MPC")
            self._tell("rx-error", {"message": str(error)})
            return
        self.put("RDH", received.head)
        self.counters.received(packet)
        self._tell("rx", {"length": len(packet), "descriptors": received.used})
        self._announce(free - received.used, rctl)

    def _announce(self, free: int, rctl: int) -> None:
        causes = 0
        threshold = self.get("RDLEN") // rx.DESCRIPTOR >> r.RCTL["RDMTS"].get(rctl) + 1
        if free <= threshold:
            causes |= Cause.RXDMT0
        if self.get("RDTR"):
            self._rx_delay.start(self.get("RDTR"), self.get("RADV"))
        else:
            causes |= Cause.RXT0
        if causes:
            self.interrupts.cause(causes)

    # -- the outside --------------------------------------------------------------------------

    def set_link(self, up: bool) -> None:
        """Plug the cable in, or pull it."""
        if up != self.phy.link:
            self.phy.link = up
            self.interrupts.cause(Cause.LSC)

    def config_changed(self) -> None:
        """The guest wrote the configuration space."""
        self.pin.update()

    def _tell(self, what: str, details: dict[str, Any]) -> None:
        if self.trace is not None:
            self.trace(what, details)

    def _raised(self, causes: int) -> None:
        self._tell("interrupt", {"causes": r.ICR.decode(causes)})

    # -- life ---------------------------------------------------------------------------------

    def _software_reset(self) -> None:
        """CTRL.RST: everything but the PHY, the EEPROM and the configuration space."""
        self._rx_delay.cancel()
        self._tx_delay.cancel()
        self._cells = array("I", bytes(r.WINDOW))
        for register in r.REGISTERS:
            for n in range(register.count if register.reset else 0):
                self._cells[(register.offset + n * register.stride) >> 2] = register.reset
        self.put("RAL", int.from_bytes(self.mac[:4], "little"))
        self.put("RAH", int.from_bytes(self.mac[4:], "little") | r.REGISTERS["RAH"]["AV"].mask)
        self.interrupts.reset()
        self.counters.reset()
        self.transmitter.reset()
        self.eeprom.reset()

    def reset(self) -> None:
        self.phy.reset()
        self._software_reset()

    def state(self) -> State:
        return {
            "version": 1,
            "cells": {at: value for at, value in enumerate(self._cells) if value},
            "config": self.config.state(),
            "counters": list(self.counters.cells),
            "eeprom": self.eeprom.state(),
            "interrupts": self.interrupts.state(),
            "phy": dict(self.phy.cells),
            "link": self.phy.link,
            "transmitter": self.transmitter.state(),
        }

    def restore(self, state: State) -> None:
        if state["version"] != 1:
            raise ValueError(f"{self.name}: state version {state['version']}")
        self._cells = array("I", bytes(r.WINDOW))
        for at, value in state["cells"].items():
            self._cells[int(at)] = value
        self.counters.cells = array("I", state["counters"])
        self.eeprom.restore(state["eeprom"])
        self.phy.cells = {int(number): value for number, value in state["phy"].items()}
        self.phy.link = state["link"]
        self.transmitter.restore(state["transmitter"])
        self.config.restore(state["config"])
        self.interrupts.restore(state["interrupts"])
