"""``pykvm bench contend``: which rows there are, what dies is told, where goals are missed."""

import json
import sys

import pytest

from pykvm.bench import contend, contend_table, qemu, rowrun
from pykvm.bench.cards import CARDS, MERGED
from pykvm.bench.contend import FRAMES, WARM, Place, Results, behind, lives
from pykvm.bench.frametimes import FrameTimes, Request
from pykvm.bench.rowrun import Row, RowError
from pykvm.cli.parser import parser

ROWS = [Row("a", 1), Row("b", 2), Row("c", 3)]
GUEST = """
import sys
said = dict(word.split("=") for word in sys.argv[1:])
for row in said["rows"].split(","):
    kind, frames = row.split(":")
    print("READY", kind, flush=True)
    assert sys.stdin.read(1) == "!"
    if kind == said.get("dies"):
        sys.stderr.write("qemu-system-x86_64: oh no\\n")
        sys.exit(3)
    if kind == said.get("hangs"):
        sys.stdin.read()
    print("BENCH", kind, frames, 4000)
sys.stderr.write("qemu-system-x86_64: warning: old\\n")
sys.exit(1)
"""


def guest(rows, *more):
    """A command that behaves as the bench's guests do."""
    return [sys.executable, "-c", GUEST, rowrun.append(rows), *more]


def outcome(command, **more):
    ready, said = [], []
    try:
        rowrun.run(command, ready.append, lambda kind, line: said.append((kind, line)), **more)
    except RowError as error:
        return ready, said, (error.kind, str(error))
    return ready, said, None


def test_each_row_begins_when_it_is_told_and_is_reported():
    ready, said, error = outcome(guest(ROWS))
    assert ready == ["a", "b", "c"]
    assert said == [("a", "BENCH a 1 4000"), ("b", "BENCH b 2 4000"), ("c", "BENCH c 3 4000")]
    assert error is None


def test_a_guest_that_dies_tells_in_which_row_and_why():
    _, said, error = outcome(guest(ROWS, "dies=b"))
    assert said == [("a", "BENCH a 1 4000")]
    assert error == ("b", "qemu-system-x86_64: oh no")


def test_a_guest_that_hangs_is_ended():
    _, _, error = outcome(guest(ROWS, "hangs=c"), patience=1)
    assert error == ("c", "nothing more for 1 seconds")


def test_a_command_that_is_none_is_told():
    assert outcome(["/no/such"])[2] == ("", "/no/such: No such file or directory")


def test_a_qemu_that_does_not_start_ends_as_a_guest_does_and_is_told():
    command = [sys.executable, "-c", "import sys; sys.exit('qemu: no such device')"]
    assert outcome(command)[2] == ("", "qemu: no such device")


def test_a_report_that_makes_no_sense_is_a_row_that_died():
    def report(kind, line):
        int(line)

    with pytest.raises(RowError, match="BENCH a"):
        rowrun.run(guest(ROWS), lambda kind: None, report)


def test_what_is_behind_a_dead_row_is_done_after_a_warm_up_of_its_own():
    assert behind(ROWS, "a") == ROWS[1:]
    assert behind(ROWS, "c") == []
    assert behind([WARM, *ROWS], "b") == [WARM, ROWS[2]]
    assert behind([WARM, *ROWS], "c") == []
    assert behind(ROWS, "") == behind([WARM, *ROWS], WARM.kind) == []


@pytest.mark.parametrize("bad", ["dies=tx-60-1", "hangs=tx-60-1"])
def test_a_row_that_dies_is_told_and_loses_no_other(monkeypatch, bad):
    def command(card, life, rows, peer):
        return guest(rows, bad)

    monkeypatch.setattr(contend, "_command", command)
    monkeypatch.setattr(rowrun.run, "__kwdefaults__", {"patience": 1})
    times = FrameTimes(CARDS["e1000"], khz=1_000_000)
    rows = (Row("tx-60-64", 2), Row("tx-60-1", 2), Row("tx-tso", 4))
    (died,) = contend._live(times, Place(None, 0), CARDS["e1000"], contend.Life(rows), None)
    assert died.startswith("tx-60-1: ")
    assert times.microseconds == {("guest", "tx-60-64"): [2.0], ("guest", "tx-tso"): [1.0]}


def test_every_row_of_both_cards_is_measured():
    for card in CARDS.values():
        found = {row.kind for life in lives(card) for row in life.rows} - {WARM.kind}
        wanted = {*card.kinds, "rx-60", "rx-1514"} - {MERGED}
        assert found == wanted | (set() if card.can_cut else {"rx-gso"})
        assert found <= FRAMES.keys()
        # One flow leaves its frames in the buffers.
        if "tx-tcp" in found:
            assert lives(card)[0].rows[-1].kind == "tx-tcp"


def test_a_pattern_chooses_rows_by_name_or_with_the_card():
    def names(model, only):
        return [row.kind for life in lives(CARDS[model], only) for row in life.rows]

    assert names("e1000", "wait-60-*") == ["wait-60-1", "wait-60-64"]
    assert names("virtio-net", "e1000 *") == []
    assert names("e1000", "e1000 rx-60") == [WARM.kind, "rx-60"]
    (life,) = lives(CARDS["e1000"], "tx-*-1", 7)
    assert [row.frames for row in life.rows] == [7, 7]


@pytest.fixture
def results():
    """pykvm: 2, 2 and 5; one QEMU 4 always, another 1, a third only 2.1."""
    times = FrameTimes(CARDS["e1000"], khz=1)
    peers = [qemu.Peer(name, name, f"qemu-{name}") for name in ("7", "11", "12")]
    for key, values in zip(
        ["guest", *(peer.key for peer in peers)], ([2, 2, 5], [4] * 3, [1] * 3, [2.1]), strict=True
    ):
        times.microseconds[key, "wait-60-1"] += values
        times.requests[key, "wait-60-1"] += [Request(1, 30, 900)]
    return Results({(Place(1, 2), "e1000"): times}, peers, ["tx-tso: died"])


def test_goals_are_medians_and_the_slowest_round(results):
    goals = json.loads(json.dumps(contend_table.as_dict(results)))["goals"]
    assert [(g["qemu"], g["median"], g["slowest"], g["missed"]) for g in goals] == [
        ("7", 2.0, 0.8, True), ("11", 0.5, 0.2, True), ("12", 1.05, pytest.approx(0.42), True),
    ]  # fmt: skip
    assert contend_table.Compared(1.0, 0.9).missed is False


def test_the_table_marks_what_is_missed_and_fits_a_terminal(results):
    made = contend_table.text(results)
    lines = [line.split() for line in made.splitlines()]
    assert "e1000, one processor, 2 neighbours" in made
    assert ["wait-60-1", "pykvm", "2.00", "2.00", "5.00", "30.0", "-", "-"] in lines
    assert ["QEMU", "7", "4.00", "4.00", "4.00", "30.0", "2.00", "0.80!"] in lines
    assert ["QEMU", "11", "1.00", "1.00", "1.00", "30.0", "0.50!", "0.20!"] in lines
    assert "3 of 3 comparisons miss one" in made
    assert "tx-tso: died" in made
    assert max(map(len, made.splitlines())) <= 100


def test_a_row_without_a_figure_of_one_side_is_shown_and_not_compared(results):
    (times,) = results.found.values()
    del times.microseconds["guest", "wait-60-1"]
    assert "0 of 0 comparisons" in contend_table.text(results)


def test_json_has_each_place_and_who(results):
    rows = contend_table.as_dict(results)["rows"]
    first = rows[0]
    assert (first["cpus"], first["neighbours"], first["nic"], first["who"]) == (
        1, 2, "e1000", "guest",
    )  # fmt: skip
    assert first["slowest_round"] == 5
    assert first["request_microseconds"]["p99"]["median"] == 30


def test_options():
    args = parser().parse_args(["bench", "contend", "--only", "tx-*", "--frames", "9", "--json"])
    assert (args.only, args.frames, args.rounds, args.json) == ("tx-*", 9, 5, True)
