"""The engine in Python: the reference of what transmitting, receiving and interrupting mean.

It works on the thread that touches the registers, for a turn; what is left after that it does from
the event loop. A card that is traced, or whose backend C cannot write, uses it.
"""

from __future__ import annotations

from typing import Any

from pykvm.devices.e1000 import registers as r
from pykvm.devices.e1000.engine import Cells, Surroundings
from pykvm.devices.e1000.interrupts import DelayTimer, Interrupts
from pykvm.devices.e1000.receive import Receiver
from pykvm.devices.e1000.registers import Cause
from pykvm.devices.e1000.statistics import Counters
from pykvm.devices.e1000.transmit import Transmitter
from pykvm.devices.netcounts import NetCounts
from pykvm.devices.pci.interrupt import IntxPin
from pykvm.devices.turns import Later
from pykvm.errors import DeviceError

_LBM_MAC = 1


class ReferenceEngine(Cells):
    """See ``engine.Engine``."""

    answer: tuple[Any, Any] | None = None

    def __init__(self, around: Surroundings) -> None:
        super().__init__(memoryview(bytearray(r.WINDOW)).cast("I"))
        self.around = around
        self.counters = Counters(self.cells)
        self._pin = IntxPin(around.config, around.irq)
        raised = self._raised if around.trace else None
        self._interrupts = Interrupts(self, self._pin, around.loop, raised)
        self.cause = self._interrupts.cause
        self.read_icr = self._interrupts.read_icr
        self.clear = self._interrupts.clear
        self.set_mask = self._interrupts.set_mask
        self.clear_mask = self._interrupts.clear_mask
        self.rx_delay = DelayTimer(around.loop, lambda: self.cause(Cause.RXT0))
        self.tx_delay = DelayTimer(around.loop, lambda: self.cause(Cause.TXDW))
        self._transmitter = Transmitter(self)
        self._more = Later(around.loop, self._go_on)
        self._receiver = Receiver(self)
        self.receive = self._receiver.receive
        self.resume = self._receiver.resume
        around.backend.connect(self._receiver)

    def __enter__(self) -> None:
        """Nothing else runs: the machine's lock is held around every access."""

    def __exit__(self, *exc: object) -> None:
        pass

    @property
    def looped(self) -> bool:
        """Whether what is sent comes back inside the card."""
        return r.RCTL["LBM"].get(self.get("RCTL")) == _LBM_MAC or self.around.phy.looped

    @property
    def connected(self) -> bool:
        """Whether frames have anywhere to go."""
        return self.around.phy.link or self.looped

    def start(self) -> None:
        """There is nothing to start."""

    def kick(self) -> None:
        if not self._more.waits:  # else that turn sees what was rung
            self._turn()

    def _go_on(self) -> None:
        try:
            self._turn()
        except DeviceError as error:
            self.around.report(error)

    def _turn(self) -> None:
        """Send for a while. Raises DeviceError for what the guest did wrong."""
        if not self._enabled:
            return
        result = self._transmitter.run()
        if result.reported:
            if result.delayed and self.get("TIDV"):
                self.tx_delay.start(self.get("TIDV"), self.get("TADV"))
            else:
                self.cause(Cause.TXDW)
        if result.more:
            self._more.ask()
        else:
            self._done()
        if result.errors:
            raise DeviceError(result.errors[0])

    def _done(self) -> None:
        """Nothing is about to leave."""
        if self.get("TDH") == self.get("TDT"):
            self.cause(Cause.TXQE)

    @property
    def _enabled(self) -> bool:
        return bool(self.get("TCTL") & r.TCTL["EN"].mask)

    def flush(self) -> None:
        self.rx_delay.flush()

    def refresh(self) -> None:
        self._pin.update()

    def place(self, address: int | None) -> None:
        """Every doorbell comes as an access."""

    def _raised(self, causes: int) -> None:
        self.around.tell("interrupt", {"causes": r.ICR.decode(causes)})

    def reset(self) -> None:
        self.rx_delay.cancel()
        self.tx_delay.cancel()
        self._interrupts.reset()
        self._more.forget()
        self._transmitter.reset()

    def state(self) -> dict[str, Any]:
        if self._transmitter.left:
            self._transmitter.settle()
            self._done()
        return self._transmitter.state()

    def restore(self, state: Any) -> None:
        self._transmitter.restore(state)
        self._interrupts.update()
        if self.get("TDH") != self.get("TDT"):  # rung, and not walked yet
            self._more.ask()

    def counts(self) -> list[NetCounts]:
        return []

    def close(self) -> None:
        self._more.forget()
