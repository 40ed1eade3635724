"""``pykvm bench scale``: what its columns are, and how cost grows."""

import json
import os
from dataclasses import replace

import pytest

from pykvm.bench import scale
from pykvm.bench.scale import COLUMNS, TABLES, Together
from tests.unit.bench.runs import a_run

MIB = 1 << 20


def of(together):
    return {column.key: column.of(together) for column in COLUMNS}


def two():
    slow = replace(a_run(seconds=4), cpu_seconds=3.0)
    return Together([a_run(), slow], [10 * MIB, 20 * MIB], [0.5, 0.7])


def test_guests_are_added_and_the_slowest_is_told():
    assert of(two()) == {
        "total_mbps": pytest.approx(0.6056 + 0.3028), "least_mbps": pytest.approx(0.3028),
        "cpu_us_per_frame": pytest.approx(4 / 200 * 1e6),
        "exits_per_1000_frames": pytest.approx(1000 * 6000 / 200),
        "pss_mib": 15, "ready_ms": pytest.approx(700),
    }  # fmt: skip


def test_growth_is_relative_to_one():
    one = Together([a_run()], [MIB], [0.5])
    results = {"vcpus": {1: [one, one]}, "guests": {1: [one, one], 2: [two(), two()]}}
    text = scale.text(results)
    assert [line.split()[2] for line in text.splitlines() if line.startswith("2 ")] == ["1.5x"]
    rows = json.loads(json.dumps(scale.as_dict(results)))["rows"]
    assert [(row["what"], row["count"]) for row in rows] == [
        ("vcpus", 1), ("guests", 1), ("guests", 2),
    ]  # fmt: skip
    assert rows[2]["of_one"]["total_mbps"]["median"] == pytest.approx(1.5)
    assert rows[2]["of_one"]["cpu_us_per_frame"]["median"] == pytest.approx(2)


def test_each_table_says_what_there_is_more_of():
    one = Together([a_run()], [MIB], [0.5])
    text = scale.text({what: {n: [one] for n in (1, *its.counts)} for what, its in TABLES.items()})
    assert [part.splitlines()[0].split("  ")[0] for part in text.split("\n\n")[:-1]] == [
        "vCPUs and pairs of queues", "pairs used, 64 KB requests", "pairs used", "vCPUs that send",
        "guests at once",
    ]  # fmt: skip


def test_memory_is_what_the_kernel_says():
    assert MIB < scale.pss(os.getpid()) < 1 << 40
