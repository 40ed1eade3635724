"""The clock and its CMOS cells."""

from calendar import timegm

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykvm.devices import rtc_registers as r
from pykvm.devices.rtc import Rtc
from tests.support.fakes import Clock, Line

SECOND = 1_000_000_000
NOON = timegm((2026, 11, 24, 13, 45, 58, 0, 0, 0))  # a Tuesday


class Bench:
    def __init__(self, start=NOON, **sizes):
        self.line, self.clock = Line(), Clock()
        self.rtc = Rtc(self.line, self.clock, wall_clock=lambda: start + self.clock.now / SECOND,
                       **sizes)  # fmt: skip

    def get(self, cell):
        self.rtc.write(0, 1, cell)
        return self.rtc.read(1, 1)

    def set(self, cell, value):
        self.rtc.write(0, 1, cell)
        self.rtc.write(1, 1, value)

    def time(self):
        return [self.get(c) for c in (r.CENTURY, r.YEAR, r.MONTH, r.DAY, r.HOURS, r.MINUTES,
                                      r.SECONDS, r.WEEKDAY)]  # fmt: skip


@pytest.fixture
def bench():
    return Bench()


def test_the_time_is_the_hosts_in_bcd_and_24_hours(bench):
    assert bench.time() == [0x20, 0x26, 0x11, 0x24, 0x13, 0x45, 0x58, 0x03]


def test_binary_and_12_hours_are_options(bench):
    bench.set(r.REG_B, 0x04)
    assert bench.time() == [0x20, 26, 11, 24, 1 | 0x80, 45, 58, 3]


def test_time_passes(bench):
    bench.clock.now += 3 * SECOND
    assert bench.time()[5:7] == [0x46, 0x01]


def test_set_freezes_the_time_and_the_guest_sets_its_own(bench):
    bench.set(r.REG_B, 0x82)
    for cell, value in [(r.HOURS, 0x23), (r.MINUTES, 0x59), (r.SECONDS, 0x30), (r.YEAR, 0x99)]:
        bench.set(cell, value)
    bench.clock.now += 10 * SECOND
    assert bench.time()[4:7] == [0x23, 0x59, 0x30]
    bench.set(r.REG_B, 0x02)
    bench.clock.now += 20 * SECOND
    assert bench.time()[1:7] == [0x99, 0x11, 0x24, 0x23, 0x59, 0x50]


@given(hour=st.integers(0, 23), minute=st.integers(0, 59), second=st.integers(0, 59),
       binary=st.booleans(), hours24=st.booleans())  # fmt: skip
def test_what_is_set_reads_back_in_every_format(hour, minute, second, binary, hours24):
    bench = Bench()
    control = (0x04 if binary else 0) | (0x02 if hours24 else 0)
    bench.set(r.REG_B, 0x80 | control)

    def code(n):
        return n if binary else n // 10 << 4 | n % 10

    coded = code(hour) if hours24 else code(hour % 12 or 12) | (0x80 if hour >= 12 else 0)
    bench.set(r.HOURS, coded)
    bench.set(r.MINUTES, code(minute))
    bench.set(r.SECONDS, code(second))
    bench.set(r.REG_B, control)
    assert bench.time()[4:7] == [coded, code(minute), code(second)]


_TIME = (r.SECONDS, r.MINUTES, r.HOURS, r.WEEKDAY, r.DAY, r.MONTH, r.YEAR, r.CENTURY)
_STEPS = st.lists(
    st.tuples(
        st.sampled_from((*_TIME, r.SECONDS_ALARM, r.MINUTES_ALARM, r.HOURS_ALARM, r.REG_A, r.REG_B,
                         r.REG_C, r.REG_D)) | st.integers(0, 127),
        st.integers(0, 255),
        st.integers(0, 90 * SECOND),
    ),
    max_size=30,
)  # fmt: skip


@given(steps=_STEPS)
def test_any_values_in_any_order_are_survived(steps):
    bench = Bench()
    for cell, value, later in steps:
        bench.set(cell, value)
        bench.clock.advance(later)
        assert all(0 <= byte <= 255 for byte in bench.time())
        copy = Bench()
        copy.rtc.restore(bench.rtc.state())
        copy.time()


@pytest.mark.parametrize("binary", [0, 0x04])
@pytest.mark.parametrize("set_mode", [0, 0x80])
@pytest.mark.parametrize("cell", _TIME)
def test_no_value_of_a_time_cell_ends_anything(cell, set_mode, binary):
    for value in range(256):
        bench = Bench()
        bench.set(r.REG_B, 0x02 | binary | set_mode)
        bench.set(cell, value)
        bench.set(r.REG_B, 0x02 | binary)
        bench.time()


def test_a_time_that_no_calendar_has_counts_on(bench):
    bench.set(r.REG_B, 0x82)
    for cell, value in zip(
        (r.CENTURY, r.YEAR, r.MONTH, r.DAY, r.HOURS, r.MINUTES, r.SECONDS),
        (0x20, 0x26, 0x02, 0x31, 0x23, 0x59, 0x59), strict=True,
    ):  # fmt: skip
        bench.set(cell, value)
    assert bench.time()[:7] == [0x20, 0x26, 0x02, 0x31, 0x23, 0x59, 0x59]  # as it was written
    bench.set(r.REG_B, 0x02)
    bench.clock.now += SECOND
    assert bench.time()[:7] == [0x20, 0x26, 0x03, 0x04, 0x00, 0x00, 0x00]


def test_the_last_century_ends_in_the_first(bench):
    bench.set(r.REG_B, 0x82)
    for cell, value in zip(
        (r.CENTURY, r.YEAR, r.MONTH, r.DAY, r.HOURS, r.MINUTES, r.SECONDS),
        (0x99, 0x99, 0x12, 0x31, 0x23, 0x59, 0x59), strict=True,
    ):  # fmt: skip
        bench.set(cell, value)
    bench.set(r.REG_B, 0x02)
    bench.clock.now += SECOND
    assert bench.time()[:7] == [0x00, 0x00, 0x01, 0x01, 0x00, 0x00, 0x00]
    bench.set(r.MINUTES, 0x30)  # in the year 0, which datetime lacks
    assert bench.time()[:7] == [0x00, 0x00, 0x01, 0x01, 0x00, 0x30, 0x00]


def test_status_registers_read_as_the_datasheet_has_them(bench):
    assert [bench.get(cell) for cell in (r.REG_A, r.REG_B, r.REG_D)] == [0x26, 0x02, 0x80]
    bench.set(r.REG_D, 0)
    assert bench.get(r.REG_D) == 0x80


def test_the_periodic_interrupt_waits_for_its_acknowledgement(bench):
    bench.set(r.REG_B, 0x42)
    bench.clock.advance(SECOND)
    assert bench.line.rises == 1  # nobody read REG_C: the host is left asleep
    assert not bench.clock.live()
    for _ in range(10):
        assert bench.get(r.REG_C) & 0xC0 == 0xC0
        assert not bench.line.level
        bench.clock.advance(SECOND // 1024 + 1)
    assert bench.line.rises == 11


@pytest.mark.parametrize(("rate", "hertz"), [(6, 1024), (15, 2), (3, 8192), (1, 256), (2, 128)])
def test_the_rate_is_the_tables(bench, rate, hertz):
    bench.set(r.REG_A, 0x20 | rate)
    bench.set(r.REG_B, 0x42)
    bench.clock.advance(SECOND // hertz - 1)
    assert not bench.line.level
    bench.clock.advance(2)
    assert bench.line.level


def test_rate_0_never_ticks(bench):
    bench.set(r.REG_A, 0x20)
    bench.set(r.REG_B, 0x42)
    assert not bench.clock.live()


def test_update_ended_interrupts_come_with_the_second(bench):
    bench.set(r.REG_B, 0x12)
    bench.clock.advance(SECOND)
    assert bench.line.level
    assert bench.get(r.REG_C) & 0x90 == 0x90


def test_the_alarm_comes_at_its_time_and_not_before(bench):
    bench.set(r.HOURS_ALARM, 0xFF)  # any hour
    bench.set(r.MINUTES_ALARM, 0x46)
    bench.set(r.SECONDS_ALARM, 0x02)
    bench.set(r.REG_B, 0x22)
    bench.clock.advance(3 * SECOND)
    assert not bench.line.level
    bench.clock.advance(2 * SECOND)
    assert bench.line.level
    assert bench.get(r.REG_C) & 0xA0 == 0xA0


def test_no_timer_runs_while_no_interrupt_is_enabled(bench):
    assert not bench.clock.live()
    bench.set(r.REG_B, 0x72)
    assert bench.clock.live()
    bench.set(r.REG_B, 0x02)
    assert not bench.clock.live()


def test_a_guest_may_poll_the_flags(bench):
    bench.get(r.REG_C)
    assert not bench.get(r.REG_C) & 0x10
    bench.clock.now += SECOND
    assert bench.get(r.REG_C) & 0x50 == 0x50


def test_memory_sizes_are_where_firmware_leaves_them():
    bench = Bench(memory_low=3 << 30, memory_high=5 << 30)

    def number(cell, size):
        return sum(bench.get(cell + n) << 8 * n for n in range(size))

    assert number(r.BASE_KIB, 2) == 640
    assert number(r.EXTENDED_KIB, 2) == 0xFFFF
    assert number(r.ABOVE_16M, 2) * 65536 == (3 << 30) - (16 << 20)
    assert number(r.ABOVE_4G, 3) * 65536 == 5 << 30


def test_cmos_cells_keep_what_is_written(bench):
    for cell in (0x0E, 0x40, 0x7F):
        bench.set(cell, cell ^ 0x5A)
    assert [bench.get(cell) for cell in (0x0E, 0x40, 0x7F)] == [
        0x0E ^ 0x5A,
        0x40 ^ 0x5A,
        0x7F ^ 0x5A,
    ]


def test_the_index_is_the_bank(bench):
    bench.rtc.write(0, 1, 0x8B)
    assert bench.rtc.bank == r.REG_B
    assert bench.rtc.registers.lookup(1, write=True, bank=bench.rtc.bank).name == "REG_B"


def test_reset_keeps_the_battery_backed_cells_and_stops_interrupts(bench):
    bench.set(0x40, 7)
    bench.set(r.REG_B, 0x42)
    bench.clock.advance(SECOND)
    bench.rtc.reset()
    assert not bench.line.level
    assert not bench.clock.live()
    assert bench.get(0x40) == 7


def test_state_round_trips(bench):
    bench.set(0x40, 7)
    state = bench.rtc.state()
    other = Bench()
    other.rtc.restore(state)
    assert other.rtc.state() == state
    with pytest.raises(ValueError, match="version"):
        other.rtc.restore({**state, "version": 2})
