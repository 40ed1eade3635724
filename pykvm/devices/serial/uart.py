"""A 16550A UART over a character backend (National Semiconductor PC16550D datasheet).

The line is infinitely fast: what the guest sends has left at once, so THR is always empty and a
byte never waits. The receiver takes from the backend only what fits, so it overruns only when a
guest loops its own transmitter back without reading.

A character time-out (8.6: four character times without a byte, below the trigger level) needs no
timer on an infinitely fast line: whatever lies in the FIFO below the trigger has been waiting for
ever, so it is reported at once.
"""

from __future__ import annotations

from collections import deque

from pykvm.devices.serial import registers as r
from pykvm.interfaces import CharBackend, IrqLine, State
from pykvm.registers import Register

FIFO_SIZE = 16
_TRIGGERS = (1, 4, 8, 14)


def _masks(register: Register, names: str) -> list[int]:
    return [register[name].mask for name in names.split()]


_DR, _OE, _PE, _FE, _BI, _LSR_THRE, _TEMT = _masks(r.LSR, "DR OE PE FE BI THRE TEMT")
_THRE_TEMT = _LSR_THRE | _TEMT
_ERRORS = _OE | _PE | _FE | _BI
_ERBFI, _ETBEI, _ELSI, _EDSSI = _masks(r.IER, "ERBFI ETBEI ELSI EDSSI")
_DTR, _RTS, _OUT1, _OUT2, _LOOP = _masks(r.MCR, "DTR RTS OUT1 OUT2 LOOP")
_DLAB, _BREAK = _masks(r.LCR, "DLAB BREAK")
_WIRED = r.MSR.reset  # CTS, DSR and DCD: the other end is always there
_RI = r.MSR["RI"].mask
_NONE, _LINE, _DATA, _TIMEOUT, _THRE, _MODEM = 0x1, 0x6, 0x4, 0xC, 0x2, 0x0


class Uart16550:
    """``name``, the interrupt line and where the bytes go."""

    registers = r.REGISTERS
    access_width = 1

    def __init__(self, name: str, irq: IrqLine, backend: CharBackend) -> None:
        self.name = name
        self._irq = irq
        self._backend = backend
        self._received: deque[int] = deque()
        self._power_on()
        backend.connect(self)

    def _power_on(self) -> None:
        self._received.clear()
        self._ier = self._lcr = self._mcr = self._scr = self._fcr = 0
        self._divisor = 0x0C
        self._errors = 0  # LSR's OE, PE, FE, BI until read
        self._thre_pending = False
        self._modem = _WIRED
        self._full = False  # the backend was told that there is no room

    @property
    def bank(self) -> int:
        return self._lcr >> 7

    # -- the guest's side ---------------------------------------------------------------------

    def write(self, offset: int, size: int, value: int) -> None:
        if offset == 0 and not self._lcr & _DLAB:
            self._send(value)
            return
        if offset < 2 and self._lcr & _DLAB:
            shift = offset * 8
            self._divisor = self._divisor & ~(0xFF << shift) | value << shift
        elif offset == 1:
            rising = value & ~self._ier
            self._ier = value & 0x0F
            # Enabling the interrupt while THR is empty raises it (8.8).
            self._thre_pending = self._thre_pending or bool(rising & _ETBEI)
        elif offset == 2:
            self._control_fifo(value)
        elif offset == 3:
            self._set_lcr(value)
        elif offset == 4:
            self._set_mcr(value & 0x1F)
        elif offset == 7:
            self._scr = value
        self._update()

    def read(self, offset: int, size: int) -> int:
        if offset == 5:
            value = _THRE_TEMT | self._errors | (_DR if self._received else 0)
            if self._errors:
                self._errors = 0
                self._update()
            return value
        if offset < 2 and self._lcr & _DLAB:
            return self._divisor >> offset * 8 & 0xFF
        if offset == 0:
            return self._take()
        if offset == 2:
            value = self._pending()
            if value == _THRE:  # reading it as the source is its acknowledgement
                self._thre_pending = False
                self._update()
            return value | (0xC0 if self._fcr & 1 else 0)
        if offset == 6:
            value = self._modem
            self._modem &= 0xF0
            self._update()
            return value
        return (0, self._ier, 0, self._lcr, self._mcr, 0, 0, self._scr)[offset]

    def _send(self, byte: int) -> None:
        if self._mcr & _LOOP:
            self._arrive(byte)
        else:
            self._backend.write(bytes((byte,)))
        self._thre_pending = True
        if self._ier or self._mcr & _LOOP:
            self._update()

    def _take(self) -> int:
        if not self._received:
            return 0
        byte = self._received.popleft()
        if self._full:
            self._full = False
            self._backend.resume()
        self._update()
        return byte

    def _control_fifo(self, value: int) -> None:
        # Switching the FIFOs on or off empties them (8.5); so does their reset bit.
        if (value ^ self._fcr) & 1 or value & 0x2:
            self._received.clear()
            self._resume()
        self._fcr = value & 0xC9 if value & 1 else 0

    def _set_lcr(self, value: int) -> None:
        started = value & ~self._lcr & _BREAK
        self._lcr = value
        if started and self._mcr & _LOOP:  # the looped-back receiver sees the break
            self._errors |= _BI
            self._arrive(0)

    def _set_mcr(self, value: int) -> None:
        self._mcr = value
        if value & _LOOP:  # 8.7: DTR, RTS, OUT1, OUT2 come back as DSR, CTS, RI, DCD
            lines = (value & _RTS) << 3 | (value & _DTR) << 5 | (value & _OUT1) << 4
            lines |= (value & _OUT2) << 4
        else:
            lines = _WIRED
        self._set_lines(lines)
        self._resume()

    def _set_lines(self, lines: int) -> None:
        before = self._modem & 0xF0
        changed = (before ^ lines) & ~_RI
        if before & ~lines & _RI:  # TERI: only the trailing edge of the ring counts
            changed |= _RI
        self._modem = lines | self._modem & 0x0F | changed >> 4

    # -- the receiver -------------------------------------------------------------------------

    def room(self) -> int:
        """What the FIFO (or RBR alone) still takes; nothing while the loop is closed."""
        if self._mcr & _LOOP:
            free = 0
        else:
            free = (FIFO_SIZE if self._fcr & 1 else 1) - len(self._received)
        self._full = free <= 0
        return max(free, 0)

    def receive(self, data: bytes) -> None:
        for byte in data:
            self._arrive(byte)
        self._update()

    def _arrive(self, byte: int) -> None:
        if len(self._received) >= (FIFO_SIZE if self._fcr & 1 else 1):
            self._errors |= _OE
            if self._fcr & 1:
                return  # the FIFO keeps what it has, the byte in the shift register is lost
            self._received.clear()  # without FIFO the older byte is the one that is lost
        self._received.append(byte)

    def _resume(self) -> None:
        if self._full:
            self._full = False
            self._backend.resume()

    # -- interrupts ---------------------------------------------------------------------------

    def _pending(self) -> int:
        """The pending source of the highest priority, as IIR names it (8.6, table V)."""
        ier = self._ier
        if ier & _ELSI and self._errors & _ERRORS:
            return _LINE
        if ier & _ERBFI and self._received:
            level = _TRIGGERS[self._fcr >> 6] if self._fcr & 1 else 1
            return _DATA if len(self._received) >= level else _TIMEOUT
        if ier & _ETBEI and self._thre_pending:
            return _THRE
        if ier & _EDSSI and self._modem & 0x0F:
            return _MODEM
        return _NONE

    def _update(self) -> None:
        # With the loop closed OUT2 is disconnected from the pin, but a PC's gate stays as it was
        # set, as drivers that test themselves in loopback expect.
        self._irq.set(bool(self._mcr & _OUT2) and self._pending() != _NONE)

    # -- life ---------------------------------------------------------------------------------

    def reset(self) -> None:
        self._power_on()
        self._update()
        self._backend.resume()

    def state(self) -> State:
        return {
            "version": 1,
            "received": bytes(self._received),
            "ier": self._ier,
            "lcr": self._lcr,
            "mcr": self._mcr,
            "scr": self._scr,
            "fcr": self._fcr,
            "divisor": self._divisor,
            "errors": self._errors,
            "thre_pending": self._thre_pending,
            "modem": self._modem,
        }

    def restore(self, state: State) -> None:
        if state["version"] != 1:
            raise ValueError(f"{self.name}: state version {state['version']}")
        self._received = deque(state["received"])
        self._ier, self._lcr, self._mcr = state["ier"], state["lcr"], state["mcr"]
        self._scr, self._fcr, self._divisor = state["scr"], state["fcr"], state["divisor"]
        self._errors, self._modem = state["errors"], state["modem"]
        self._thre_pending = state["thre_pending"]
        self._full = True
        self._resume()
        self._update()
