"""What ``pykvm bench tx`` and ``rx`` make of their guests' lines."""

import pytest

from pykvm.bench.cards import CARDS
from pykvm.bench.frametimes import FrameTimes, Request


@pytest.fixture
def results():
    """Of a processor whose TSC counts 2,000 in a microsecond."""
    return FrameTimes(CARDS["e1000"], khz=2_000_000)


def test_a_measurement_is_microseconds_a_frame(results):
    results.add_line("wait-60-1", "guest", "BENCH wait-60-1 10 40000")
    assert results.microseconds["guest", "wait-60-1"] == [2.0]


def test_the_times_of_requests_are_microseconds(results):
    results.add_line("wait-60-1", "guest", "TIMES wait-60-1 4000 6000 90000")
    assert results.requests["guest", "wait-60-1"] == [Request(2.0, 3.0, 45.0)]


@pytest.mark.parametrize("line", ["", "READY", "TIMES", "BENCH", "COUNT kicks 4 interrupts 0"])
def test_other_lines_of_a_guest_are_not_figures(results, line):
    results.add_line("wait-60-1", "guest", line)
    assert not results.microseconds
    assert not results.requests


def test_json_has_the_times_of_requests_where_there_are_any(results):
    for who, times in (("guest", "4000 6000 90000"), ("guest", "4200 6600 8000")):
        results.add_line("wait-60-1", who, "BENCH wait-60-1 10 40000")
        results.add_line("wait-60-1", who, f"TIMES wait-60-1 {times}")
    results.microseconds["ceiling", "wait-60-1"] += [1.0, 1.0]
    rows = {row["who"]: row for row in results.as_dict("tx")["rows"]}
    found = rows["guest"]["request_microseconds"]
    assert [found["median"]["median"], found["p99"]["high"], found["slowest"]["high"]] == [
        2.05, 3.3, 45.0,
    ]  # fmt: skip
    assert "request_microseconds" not in rows["ceiling"]
