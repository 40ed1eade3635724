"""The PC's clock and CMOS memory: an MC146818A (Motorola datasheet) at ports 0x70 and 0x71.

Time is the host's, in UTC, plus an offset once the guest has set it. An update of the real chip
takes 2 ms in which the time must not be read; here it takes none, so UIP always reads 0.

Timers run only while an interrupt is enabled. A periodic interrupt that the guest has not
acknowledged (by reading REG_C) is not raised again, so an idle guest does not keep the host awake.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from pykvm.devices import rtc_registers as r
from pykvm.interfaces import EventLoop, IrqLine, State, Timer

_SET, _PIE, _AIE, _UIE, _BINARY, _24H = (
    r.B[name].mask for name in ("SET", "PIE", "AIE", "UIE", "DM", "24H")
)
_IRQF, _PF, _AF, _UF = (r.C[name].mask for name in ("IRQF", "PF", "AF", "UF"))
_PM = 0x80
_ANY = 0xC0  # an alarm cell with both top bits set matches every value
_SECOND_NS = 1_000_000_000
_KIB, _MIB = 1 << 10, 1 << 20


def _bcd(value: int) -> int:
    return value // 10 << 4 | value % 10


def _from_bcd(value: int) -> int:
    return (value >> 4) * 10 + (value & 0xF)


def _days_before(year: int, month: int) -> int:
    """Days from 1970 to the first of ``month`` (0 to 11) of any ``year`` of the Gregorian calendar,
    year 0 too, which ``datetime`` lacks: counted in years that begin with March."""
    year, month = (year, month - 2) if month >= 2 else (year - 1, month + 10)
    return 365 * year + year // 4 - year // 100 + year // 400 + (153 * month + 2) // 5 - 719468


class Rtc:
    """``memory_low`` and ``memory_high`` (bytes) go into the cells where firmware leaves them;
    ``wall_clock`` returns seconds since 1970, UTC."""

    registers = r.REGISTERS
    access_width = 1
    name = "rtc"

    def __init__(
        self,
        irq: IrqLine,
        loop: EventLoop,
        *,
        memory_low: int = 0,
        memory_high: int = 0,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._irq = irq
        self._loop = loop
        self._wall_clock = wall_clock
        self._sizes = (memory_low, memory_high)
        self._periodic: Timer | None = None
        self._second: Timer | None = None
        self._power_on()

    def _power_on(self) -> None:
        self._index = 0
        self._looked_ns, self._looked_second = self._loop.now_ns(), int(self._wall_clock())
        self._offset = 0  # seconds between the guest's clock and the host's
        self._cells = bytearray(128)
        self._cells[r.REG_A] = r.A.reset
        self._cells[r.REG_B] = r.B.reset
        low, high = self._sizes
        extended = max(low - _MIB, 0) // _KIB
        self._put16(r.BASE_KIB, min(low // _KIB, 640))
        self._put16(r.EXTENDED_KIB, min(extended, 0xFFFF))
        self._put16(r.EXTENDED_KIB_2, min(extended, 0xFFFF))
        self._put16(r.ABOVE_16M, max(low - 16 * _MIB, 0) // (64 * _KIB))
        above = high // (64 * _KIB)
        self._cells[r.ABOVE_4G : r.ABOVE_4G + 3] = (above & 0xFFFFFF).to_bytes(3, "little")

    def _put16(self, cell: int, value: int) -> None:
        self._cells[cell : cell + 2] = value.to_bytes(2, "little")

    @property
    def bank(self) -> int:
        return self._index

    # -- the guest's side ---------------------------------------------------------------------

    def read(self, offset: int, size: int) -> int:
        if offset == r.INDEX:
            return 0xFF  # write only on a PC
        cell = self._index
        if cell == r.REG_C:
            value = self._cells[cell] | self._passed_flags()
            self._cells[cell] = 0
            self._irq.set(False)
            self._arm()
            return value
        if cell == r.REG_D:
            return r.D.reset
        if not self._cells[r.REG_B] & _SET:
            self._refresh()
        return self._cells[cell]

    def write(self, offset: int, size: int, value: int) -> None:
        if offset == r.INDEX:
            self._index = value & 0x7F  # bit 7 gates NMI, which nobody here raises
            return
        cell = self._index
        if cell in (r.REG_C, r.REG_D):
            return
        if cell == r.REG_A:
            self._cells[cell] = value & 0x7F
        elif cell == r.REG_B:
            self._set_control(value)
        elif cell in _TIME_CELLS:
            self._set_time(cell, value)
        else:
            self._cells[cell] = value
        if cell in (r.REG_A, r.REG_B) or cell in _ALARM_CELLS:
            self._arm()

    def _set_control(self, value: int) -> None:
        before = self._cells[r.REG_B]
        if not before & _SET:
            self._refresh()  # SET freezes the time that it is now; a format applies from the next
        if value & _SET:
            value &= ~_UIE  # datasheet: SET clears UIE
        self._cells[r.REG_B] = value
        if before & _SET and not value & _SET:
            self._adopt()

    def _set_time(self, cell: int, value: int) -> None:
        if not self._cells[r.REG_B] & _SET:
            self._refresh()
        self._cells[cell] = value
        if not self._cells[r.REG_B] & _SET:
            self._adopt()

    # -- time ---------------------------------------------------------------------------------

    def _now(self) -> float:
        return self._wall_clock() + self._offset

    def _encode(self, value: int) -> int:
        return value if self._cells[r.REG_B] & _BINARY else _bcd(value)

    def _decode(self, value: int) -> int:
        return value if self._cells[r.REG_B] & _BINARY else _from_bcd(value)

    def _encode_hour(self, hour: int) -> int:
        if self._cells[r.REG_B] & _24H:
            return self._encode(hour)
        return self._encode(hour % 12 or 12) | (_PM if hour >= 12 else 0)

    def _decode_hour(self, value: int) -> int:
        if self._cells[r.REG_B] & _24H:
            return self._decode(value)
        return self._decode(value & ~_PM) % 12 + (12 if value & _PM else 0)

    def _refresh(self) -> None:
        """Bring the time cells up to date."""
        t = time.gmtime(self._now())
        cells = self._cells
        cells[r.SECONDS] = self._encode(min(t.tm_sec, 59))
        cells[r.MINUTES] = self._encode(t.tm_min)
        cells[r.HOURS] = self._encode_hour(t.tm_hour)
        cells[r.WEEKDAY] = self._encode((t.tm_wday + 1) % 7 + 1)  # 1 is Sunday
        cells[r.DAY] = self._encode(t.tm_mday)
        cells[r.MONTH] = self._encode(t.tm_mon)
        cells[r.YEAR] = self._encode(t.tm_year % 100)
        cells[r.CENTURY] = _bcd(t.tm_year // 100 % 100)

    def _adopt(self) -> None:
        """Take the time cells as the guest's time from now on.

        The chip checks nothing and counts on from what it holds. So a cell that says too much is
        the counter gone round, and a day past its month's end is one of the next month.
        """
        cells = self._cells
        year = _from_bcd(cells[r.CENTURY]) % 100 * 100 + self._decode(cells[r.YEAR]) % 100
        month = (self._decode(cells[r.MONTH]) - 1) % 12
        day = (self._decode(cells[r.DAY]) - 1) % 31
        hour = self._decode_hour(cells[r.HOURS]) % 24
        minute = self._decode(cells[r.MINUTES]) % 60
        second = self._decode(cells[r.SECONDS]) % 60
        days = _days_before(year, month) + day
        clock = ((days * 24 + hour) * 60 + minute) * 60 + second
        self._offset = clock - int(self._wall_clock())

    # -- interrupts ---------------------------------------------------------------------------

    def _arm(self) -> None:
        """Start the timers that REG_A, REG_B and the alarm ask for, and stop the others."""
        for timer in (self._periodic, self._second):
            if timer is not None:
                timer.cancel()
        self._periodic = self._second = None
        enabled = self._cells[r.REG_B]
        flags = self._cells[r.REG_C]
        period = self._period_ns()
        if enabled & _PIE and period and not flags & _PF:
            self._periodic = self._loop.call_at(self._loop.now_ns() + period, self._tick)
        wanted = (enabled & _UIE and not flags & _UF) or (enabled & _AIE and not flags & _AF)
        if wanted and not enabled & _SET:
            to_next = _SECOND_NS - int(self._now() % 1 * _SECOND_NS)
            self._second = self._loop.call_at(self._loop.now_ns() + to_next, self._update)

    def _period_ns(self) -> int:
        """Datasheet, table 5, for a 32.768 kHz crystal; rates 1 and 2 repeat 8 and 9."""
        rate = self._cells[r.REG_A] & 0xF
        if rate == 0:
            return 0
        if rate <= 2:
            rate += 7
        return _SECOND_NS * (1 << rate - 1) // 32768

    def _passed_flags(self) -> int:
        """PF and UF for a guest that polls REG_C with the interrupts off, when no timer runs."""
        now, second = self._loop.now_ns(), int(self._now())
        period = self._period_ns()
        flags = _PF if period and now - self._looked_ns >= period else 0
        flags |= _UF if second != self._looked_second else 0
        self._looked_ns, self._looked_second = now, second
        return flags

    def _tick(self) -> None:
        self._raise(_PF)

    def _update(self) -> None:
        flags = _UF
        self._refresh()
        if all(
            self._cells[alarm] & _ANY == _ANY or self._cells[alarm] == self._cells[alarm - 1]
            for alarm in _ALARM_CELLS
        ):
            flags |= _AF
        self._raise(flags)

    def _raise(self, flags: int) -> None:
        self._cells[r.REG_C] |= flags
        if self._cells[r.REG_C] & self._cells[r.REG_B] & (_PIE | _AIE | _UIE):
            self._cells[r.REG_C] |= _IRQF
            self._irq.set(True)
        self._arm()

    # -- life ---------------------------------------------------------------------------------

    def reset(self) -> None:
        """Clears the interrupt enables and flags; clock and cells have a battery."""
        self._index = 0
        self._cells[r.REG_B] &= ~(_PIE | _AIE | _UIE)
        self._cells[r.REG_C] = 0
        self._irq.set(False)
        self._arm()

    def state(self) -> State:
        return {
            "version": 1,
            "index": self._index,
            "offset": self._offset,
            "cells": bytes(self._cells),
        }

    def restore(self, state: State) -> None:
        if state["version"] != 1 or len(state["cells"]) != 128:
            raise ValueError(f"{self.name}: not a state of version 1")
        self._index, self._offset = state["index"], state["offset"]
        self._cells[:] = state["cells"]
        self._irq.set(bool(self._cells[r.REG_C] & _IRQF))
        self._arm()


_ALARM_CELLS = (r.SECONDS_ALARM, r.MINUTES_ALARM, r.HOURS_ALARM)
_TIME_CELLS = (
    r.SECONDS, r.MINUTES, r.HOURS, r.WEEKDAY, r.DAY, r.MONTH, r.YEAR, r.CENTURY,
)  # fmt: skip
