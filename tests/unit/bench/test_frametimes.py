"""What ``pykvm bench tx`` and ``rx`` make of their guests' lines."""

import pytest

from pykvm.bench import frametable, rx, tx
from pykvm.bench.cards import CARDS
from pykvm.bench.frametimes import FrameTimes, Request
from pykvm.bench.qemu import Peer
from pykvm.errors import PykvmError


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


def filled(results):
    """Two rounds of everybody: pykvm takes 2 and 4, one QEMU 4 and 4, another 1 and 2."""
    results.peers += [Peer("qemu", "7.2"), Peer("other", "11.1", "qemu-11.1")]
    for who, values in {
        "ceiling": [1.0, 1.0], "guest": [2.0, 4.0], "qemu": [4.0, 4.0], "qemu-11.1": [1.0, 2.0],
    }.items():  # fmt: skip
        results.microseconds[who, "tx-60-1"] += values
    results.requests["guest", "tx-60-1"] += [Request(1, 5, 9), Request(1, 7, 9)]
    return results


def test_json_has_the_slowest_round_and_a_ratio_to_each_qemu(results):
    rows = {row["who"]: row for row in filled(results).as_dict("tx")["rows"]}
    assert rows["guest"]["slowest_round"] == 4.0
    assert rows["guest"]["x_qemu"]["median"] == 1.5
    assert rows["guest"]["x_qemu-11.1"]["median"] == 0.5


def test_the_table_has_a_line_for_each_and_fits_a_terminal(results):
    made = frametable.text(filled(results), tx.NAMES, ["tx-60-1"], "ceiling: a writev")
    lines = [line.split() for line in made.splitlines()]
    assert ["pykvm", "3.00", "2.00", "4.00", "6.0", "1.00"] in lines
    assert ["QEMU", "7.2", "4.00", "4.00", "4.00", "-", "1.50"] in lines
    assert ["QEMU", "11.1", "1.50", "1.00", "2.00", "-", "0.50"] in lines
    assert max(map(len, made.splitlines())) <= 100


@pytest.mark.parametrize("nic", CARDS)
def test_every_kind_has_a_title_and_waiting_ones_a_frame(nic):
    for kind in CARDS[nic].kinds:
        assert tx.NAMES[kind]
        assert len(tx.frame_of(kind)[0]) in (60, 1514, 54 + 44 * 1460)


def test_the_last_pass_counts_and_none_is_an_error():
    assert rx.last(["READY", "BENCH rx 1 2", "READY", "BENCH rx 1 3"]) == "BENCH rx 1 3"
    with pytest.raises(PykvmError, match="reported nothing"):
        rx.last(["READY"])
