"""ACPI's fixed hardware: power button, soft-off, the timer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykvm.devices.power import PM1_CNT, PM1_EN, PM1_STS, PM_TMR, TIMER_HZ, AcpiPower
from tests.support.fakes import Clock, Line

STS, EN, CNT, TMR = (r.offset for r in (PM1_STS, PM1_EN, PM1_CNT, PM_TMR))
BUTTON = PM1_STS["PWRBTN"].mask
SECOND = 1_000_000_000


class Bench:
    def __init__(self):
        self.sci, self.clock, self.off = Line(), Clock(), []
        self.device = AcpiPower(self.sci, self.clock, lambda: self.off.append("off"))


@pytest.fixture
def bench():
    return Bench()


def test_it_starts_in_acpi_mode_with_nothing_enabled(bench):
    for register in (PM1_STS, PM1_EN, PM1_CNT):
        assert bench.device.read(register.offset, 2) == register.reset
    assert not bench.sci.level


def test_the_button_interrupts_until_its_status_is_cleared(bench):
    bench.device.write(EN, 2, BUTTON)
    assert bench.device.press_button()
    assert bench.sci.level
    bench.device.write(STS, 2, 0xFFFF & ~BUTTON)
    assert bench.sci.level
    bench.device.write(STS, 2, BUTTON)
    assert not bench.sci.level
    assert bench.device.read(STS, 2) == 0


def test_a_button_that_nobody_listens_to_only_sets_its_status(bench):
    assert not bench.device.press_button()
    assert not bench.sci.level
    assert bench.device.read(STS, 2) == BUTTON
    bench.device.write(EN, 2, BUTTON)
    assert bench.sci.level


def test_sleep_enable_powers_off_whatever_the_type(bench):
    bench.device.write(CNT, 2, 0x1C00)
    assert not bench.off
    bench.device.write(CNT, 2, 0x2000)
    assert bench.off == ["off"]
    assert not bench.device.read(CNT, 2) & 0x2000


def test_sleep_enable_in_a_byte_write_of_the_high_half_works_too(bench):
    bench.device.write(CNT + 1, 1, 0x20)
    assert bench.off == ["off"]


def test_acpi_mode_cannot_be_left(bench):
    bench.device.write(CNT, 2, 0)
    assert bench.device.read(CNT, 2) == PM1_CNT["SCI_EN"].mask


def test_the_timer_counts_at_its_rate_and_wraps(bench):
    assert bench.device.read(TMR, 4) == 0
    bench.clock.advance(SECOND)
    assert bench.device.read(TMR, 4) == TIMER_HZ
    bench.clock.advance(1200 * SECOND)
    assert bench.device.read(TMR, 4) == TIMER_HZ * 1201 % 2**32
    bench.device.write(TMR, 4, 0)
    assert bench.device.read(TMR, 4) == TIMER_HZ * 1201 % 2**32


@given(st.lists(st.tuples(st.integers(0, 11), st.sampled_from([1, 2, 4]), st.integers(0, 2**32))))
def test_any_access_leaves_reserved_bits_alone_and_the_line_true(accesses):
    bench = Bench()
    for offset, widest, value in accesses:
        size = min(widest, 12 - offset)
        bench.device.press_button()
        bench.device.write(offset, size, value & (1 << size * 8) - 1)
        status, enables = bench.device.read(STS, 2), bench.device.read(EN, 2)
        assert status in (0, BUTTON)
        assert not enables & ~0x0721
        assert bench.sci.level == bool(status & enables)
        assert bench.device.read(STS, 4) == enables << 16 | status


def test_state_round_trips_and_the_timer_goes_on(bench):
    bench.device.write(EN, 2, BUTTON)
    bench.device.press_button()
    bench.clock.advance(SECOND)
    state = bench.device.state()
    other = Bench()
    other.clock.advance(77 * SECOND)
    other.device.restore(state)
    assert other.device.state() == state
    assert other.sci.level
    other.clock.advance(SECOND)
    assert other.device.read(TMR, 4) == 2 * TIMER_HZ
    with pytest.raises(ValueError, match="version"):
        other.device.restore({**state, "version": 1})
