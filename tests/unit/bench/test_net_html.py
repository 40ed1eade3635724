"""The page: whole without a network, and what is told without plotly."""

import importlib.util
import re
import sys

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
    assert "<td>exits/s</td>" in page
    assert "&lt;note&gt;" in page
    for title in ("Throughput", "Exits, as KVM", "Exits by cause"):
        assert title in page


@PLOTLY
def test_a_file_that_cannot_be_written_is_told_before_anything_runs(tmp_path):
    with pytest.raises(UsageError, match=r"--html .*: "):
        net_html.check(str(tmp_path / "none" / "page.html"))


def test_without_plotly_one_line_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "plotly", None)
    with pytest.raises(UsageError, match=r"pip install 'pykvm-vmm\[report\]'"):
        net_html.check(str(tmp_path / "page.html"))
