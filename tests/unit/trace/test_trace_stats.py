"""What ``--stats`` and ``--stats-json`` say."""

import io
import json
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from pykvm.registers import Register
from pykvm.trace.events import ExitEvent
from pykvm.trace.histogram import Histogram
from pykvm.trace.stats import Statistics

THR = Register("THR", 0)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def counted(*events):
    statistics = Statistics()
    for event in events:
        statistics.event(event)
    return statistics


def out(user_ns=2000, **changes):
    values = {
        "time_ns": 0, "vcpu": 0, "reason": "IO", "address": 0x3F8, "size": 1, "write": True,
        "device": "uart0", "register": THR, "guest_ns": 1000, "user_ns": user_ns,
    }  # fmt: skip
    return ExitEvent(**(values | changes))


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=300))
def test_a_median_and_a_p99_are_within_3_percent(values):
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    ordered = sorted(values)
    for share in (0.5, 0.99):
        exact = ordered[-(-int(share * 100) * len(values) // 100) - 1]
        assert exact <= histogram.quantile(share) <= exact * 1.03125


def test_a_histogram_of_all_magnitudes_stays_small():
    histogram = Histogram()
    for bits in range(64):
        for part in range(1000):
            histogram.add((1 << bits) + part * (1 << bits) // 1000)
    assert len(histogram._counts) <= 1920


def test_the_json_form_has_its_documented_keys_and_survives_json():
    statistics = counted(out(), out(), out(3000, write=False), out(reason="HLT", address=None))
    statistics.kernel = {0: {"io_exits": 3, "halt_exits": 1}}
    data = statistics.as_dict()
    assert json.loads(json.dumps(data)) == data
    assert set(data) == {"version", "exits", "guest_ns", "user_ns", "rows", "cards", "kernel"}
    assert data["kernel"] == {"0": {"io_exits": 3, "halt_exits": 1}}
    assert data["user_ns"] == 2000 * 3 + 3000
    assert data["rows"][0] == {
        "reason": "IO out", "direction": "write", "device": "uart0", "register": "THR",
        "count": 2, "share": 0.5,
        "user_ns": {"min": 2000, "median": 2000, "p99": 2000, "total": 4000},
    }  # fmt: skip
    halt = data["rows"][1]
    assert (halt["reason"], halt["direction"], halt["device"]) == ("HLT", None, None)


def test_reads_and_writes_of_one_register_are_two_rows():
    data = counted(out(), out(write=False)).as_dict()
    assert {row["direction"] for row in data["rows"]} == {"read", "write"}


def test_the_elements_of_an_array_are_one_row():
    ral = Register("RAL", 0, 4, count=16, stride=8)
    events = [out(reason="MMIO", register=ral, offset=8 * n) for n in range(16)]
    assert [row["register"] for row in counted(*events).as_dict()["rows"]] == ["RAL"]


def test_a_run_without_exits_has_a_json_form():
    assert Statistics().as_dict()["rows"] == []


def test_columns_line_up_and_the_most_frequent_comes_first():
    events = [*[out()] * 10, out(reason="MMIO", device=None, register=None)]
    head, first, second, total = counted(*events).table().splitlines()
    assert first.split()[:6] == ["IO", "out", "uart0", "THR", "10", "90.9%"]
    assert second.split()[:5] == ["MMIO", "st", "unclaimed", "-", "1"]
    assert head.index("device") == first.index("uart0") == second.index("unclaimed")
    assert len(first) == len(second)
    assert total.startswith("11 exits; ")


def test_what_kvm_counts_has_a_line_for_each_vcpu_below_what_pykvm_counts():
    statistics = counted(out())
    statistics.kernel = {0: {"exits": 4, "halt_exits": 3, "hypercalls": 0}, 1: {"halt_exits": 0}}
    total, *lines = statistics.table().splitlines()[-3:]
    assert total.startswith("1 exits; ")
    assert lines == [
        "vcpu 0 inside KVM: 4 exits handled (halt 3, other 1)",
        "vcpu 1 inside KVM: nothing counted",
    ]


def test_where_kvm_tells_nothing_there_is_no_such_line():
    assert "KVM" not in counted(out()).table()


def test_a_stream_that_is_no_terminal_gets_plain_text():
    statistics, stream = counted(out()), io.StringIO()
    statistics.print_table(stream)
    assert stream.getvalue() == statistics.table() + "\n"


def test_a_terminal_gets_the_same_cells_in_a_drawn_table(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    stream = Terminal()
    counted(out(), out(device=None, register=None)).print_table(stream)
    text = stream.getvalue()
    assert "─" in text
    for cell in ("uart0", "THR", "unclaimed", "50.0%", "p99 us", "2 exits; 0.000 s in the guest"):
        assert cell in text


def test_rich_is_imported_for_a_terminal_only():
    check = (
        "import io, sys, pykvm.trace.stats as s; s.Statistics().print_table(io.StringIO()); "
        "sys.exit('rich' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
