"""Statistics: exact counts, durations within the histogram's promise, bounded memory."""

import math

from hypothesis import given
from hypothesis import strategies as st

from pykvm.registers import Register
from pykvm.trace.events import ExitEvent, IrqEvent
from pykvm.trace.histogram import Histogram
from pykvm.trace.stats import Statistics

THR = Register("THR", 0)


@given(values=st.lists(st.integers(0, 2**63), min_size=1, max_size=200),
       share=st.sampled_from([0.01, 0.5, 0.9, 0.99, 1.0]))  # fmt: skip
def test_a_quantile_is_at_most_a_32nd_too_large_and_never_too_small(values, share):
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    exact = sorted(values)[max(math.ceil(share * len(values)), 1) - 1]
    assert exact <= histogram.quantile(share) <= exact + exact // 32
    assert (histogram.low, histogram.high) == (min(values), max(values))
    assert (histogram.count, histogram.total) == (len(values), sum(values))


def test_an_empty_histogram_has_no_quantile_but_0():
    assert Histogram().quantile(0.5) == 0


def test_a_negative_duration_counts_as_none():
    histogram = Histogram()
    histogram.add(-5)
    assert (histogram.low, histogram.quantile(1.0)) == (0, 0)


def exit_event(**changes):
    values = {
        "time_ns": 0, "vcpu": 0, "reason": "IO", "address": 0x3F8, "size": 1, "write": True,
        "device": "uart0", "register": THR, "guest_ns": 1000, "user_ns": 2000,
    }  # fmt: skip
    return ExitEvent(**(values | changes))


def test_exits_are_counted_by_reason_direction_device_and_register():
    statistics = Statistics()
    for event in [
        exit_event(),
        exit_event(user_ns=4000),
        exit_event(write=False),
        exit_event(reason="HLT", address=None),
        exit_event(device=None, register=None),
        IrqEvent(0, "uart0", "IRQ4", True),
    ]:
        statistics.event(event)
    data = statistics.as_dict()
    assert (data["version"], data["exits"], data["guest_ns"]) == (1, 5, 5000)
    rows = {(r["reason"], r["device"], r["register"]): r["count"] for r in data["rows"]}
    assert rows == {
        ("IO out", "uart0", "THR"): 2,
        ("IO in", "uart0", "THR"): 1,
        ("HLT", None, None): 1,
        ("IO out", "unclaimed", None): 1,
    }
    assert data["rows"][0]["user_ns"]["min"] == 2000
    assert data["rows"][0]["user_ns"]["total"] == 6000


def test_the_table_shows_shares_and_the_total():
    statistics = Statistics()
    for _ in range(3):
        statistics.event(exit_event())
    statistics.event(exit_event(write=False))
    table = statistics.table()
    assert "75.0%" in table
    assert table.endswith("4 exits; 0.000 s in the guest, 0.000 s answering")


def test_a_guest_that_scans_addresses_does_not_grow_the_table():
    statistics = Statistics()
    for address in range(10_000):
        statistics.event(exit_event(address=address, device=None, register=None))
    assert len(statistics.rows) == 1


def test_a_run_without_exits_has_an_empty_table():
    assert Statistics().table().endswith("0 exits; 0.000 s in the guest, 0.000 s answering")
