"""The page: whole without a network, and what is told without plotly."""

import importlib.util
import re
import sys
from dataclasses import replace

import pytest

from pykvm.bench import net_html
from pykvm.bench.net import Results
from pykvm.bench.net_run import Stream
from pykvm.errors import UsageError
from tests.unit.bench.runs import a_run, counters, ours, snapshot

STREAM = Stream("raw", "tx", "mtu")
PLOTLY = pytest.mark.skipif(importlib.util.find_spec("plotly") is None, reason="needs plotly")


def a_sampled_run():
    run = a_run()
    run.samples.append(snapshot(1, sent=30, sent_bytes=1_000_000, kernel=counters(1), **ours(1)))
    return run


def test_rates_are_those_between_one_sample_and_the_next():
    times, rates = net_html.curve(a_sampled_run(), net_html._bits)
    assert times == [1, 2]
    assert rates == [8, pytest.approx((151_400 - 1_000_000) * 8 / 1e6)]


@PLOTLY
def test_the_page_has_tables_and_graphs_and_loads_nothing():
    runs = {"classic": [a_sampled_run()], "virtio": [a_sampled_run()]}
    page = net_html.page(Results({STREAM: runs}, ["<note>"]))
    head = page[: page.index("<script>")] + page[page.rindex("</script>") :]
    assert not re.search(r'(?:src|href)="', head)
    assert not re.search(r"<script[^>]+src=", page)
    assert page.count("Plotly.newPlot") >= 3
    assert page.count("<h1>") == 1
    assert "raw data from the guest to the host, in frames of up to 1,514 bytes" in page
    assert "&lt;note&gt;" in page
    for title in ("Throughput", "Exits, as KVM", "Exits by cause"):
        assert title in page


@PLOTLY
def test_tables_say_which_figures_are_better_high_and_which_low():
    page = net_html.page(Results({STREAM: {"virtio": [a_run()]}}))
    for cell in ("\u25b2 throughput (Mbit/s)", "\u25bc exits/s", "average segment (bytes)"):
        assert page.count(f"<td>{cell}</td>") == 2  # in what was measured, and in what compares it
    assert "<th>published e1000</th><th>published virtio-net</th><th>published ratio</th>" in page


@PLOTLY
def test_a_time_without_traffic_is_a_gap_and_does_not_stretch_the_axis():
    run = a_run()
    run.samples.append(snapshot(1, kernel=counters(1), **ours(1)))
    throughput, _, _ = net_html.graphs({"classic": [run]})
    assert list(throughput.data[0].y) == [None, pytest.approx(151_400 * 8 / 1e6)]
    assert throughput.layout.yaxis.range == (-1, 1)  # 0.1 to 10 Mbit/s


@PLOTLY
def test_a_stream_of_nothing_has_graphs():
    silent = replace(a_run(), end=snapshot(2, kernel=counters(2), **ours(2)))
    throughput, exits, _ = net_html.graphs({"classic": [silent]})
    assert throughput.layout.yaxis.range is None
    assert exits.layout.yaxis.range == (2, 4)


@PLOTLY
def test_each_cause_of_exits_has_a_bar_for_each_card_and_each_card_its_sum():
    *_, causes = net_html.graphs({"classic": [a_run()], "virtio": [a_run()]})
    assert {bar.name: list(bar.x) for bar in causes.data}["mmio"] == [300, 300]
    assert causes.data[0].y == ("e1000 classic<br>1,000", "virtio-net<br>1,000")
    assert len({bar.marker.color for bar in causes.data}) == len(causes.data)


@PLOTLY
def test_a_file_that_cannot_be_written_is_told_before_anything_runs(tmp_path):
    with pytest.raises(UsageError, match=r"--html .*: "):
        net_html.check(str(tmp_path / "none" / "page.html"))


def test_without_plotly_one_line_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "plotly", None)
    with pytest.raises(UsageError, match=r"pip install 'pykvm-vmm\[report\]'"):
        net_html.check(str(tmp_path / "page.html"))
