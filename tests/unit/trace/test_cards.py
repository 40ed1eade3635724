"""What network cards have done, as rows and as a table."""

import io

from pykvm.trace import cards
from pykvm.trace.stats import Statistics

NONE = {"kicks": 0, "by_vcpu": 0}
SOME = {"kicks": 36, "by_vcpu": 7}


def test_each_pair_of_queues_that_was_used_is_a_row():
    rows = cards.as_rows({"e1000-0": [SOME], "virtio-net-1": [SOME, SOME, NONE]})
    assert [(row["card"], row["pair"], row["kicks"]) for row in rows] == [
        ("e1000-0", 0, 36), ("virtio-net-1", 0, 36), ("virtio-net-1", 1, 36),
    ]  # fmt: skip


def test_a_card_that_was_not_used_is_still_a_row_and_one_that_c_does_not_work_is_none():
    assert cards.as_rows({"e1000-0": [NONE]}) == [{"card": "e1000-0", "pair": 0, **NONE}]
    assert cards.as_rows({"e1000-0": []}) == []
    assert cards.table({"e1000-0": []}) == []


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_table_comes_after_that_of_the_exits():
    statistics = Statistics()
    statistics.cards = {"e1000-0": [SOME], "virtio-net-1": [NONE]}
    lines = statistics.table().splitlines()
    assert lines[-3:] == [
        "card          pair  kicks  by vcpu",
        "e1000-0          0     36        7",
        "virtio-net-1     0      0        0",
    ]
    terminal = Terminal()
    statistics.print_table(terminal)
    assert "e1000-0          0     36        7" in terminal.getvalue()
