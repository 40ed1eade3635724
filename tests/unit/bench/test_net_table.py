"""The tables: each row's arithmetic, what is missing, ratios round by round."""

import json
from dataclasses import replace

import pytest

from pykvm.bench import net_table, network, qemu
from pykvm.bench.figures import Figure
from pykvm.bench.net import DEFAULT, OURS, Results, chosen, theirs
from pykvm.bench.net_run import Stream
from pykvm.cli.parser import parser
from pykvm.errors import UsageError
from tests.unit.bench.runs import a_run

STREAM = Stream("raw", "tx", "big")


def results(**runs):
    names = {name.replace("_", "-"): rows for name, rows in runs.items()}
    return Results({STREAM: names}, ["a note"], "7.2")


def of(run):
    return {row.key: row.of(run) for row in net_table.ROWS}


def test_every_row_is_what_it_says():
    found = of(a_run(unit="big"))  # 100 requests of 64,294 bytes in 2 seconds
    assert found == {
        "throughput_mbps": pytest.approx(25.7176), "exits_per_second": 1000,
        "user_exits_per_second": 400, "interrupts_per_second": 50, "segments_per_exit": 0.05,
        "segments_per_interrupt": 1, "segments_per_second": 50, "segment_bytes": 64_294,
        "cycles_per_segment": 40_000, "frames_per_second": 2200,
        "cpu_us_per_frame": pytest.approx(1e6 / 4400),
    }  # fmt: skip


def test_throughput_of_tcp_is_its_data():
    assert of(a_run("tcp"))["throughput_mbps"] == pytest.approx(5000 * 8 / 2 / 1e6)


def test_what_nobody_counts_is_missing_and_not_zero():
    run = a_run()
    end = replace(run.end, kernel={})
    found = of(replace(run, end=end, begin=replace(run.begin, kernel={})))
    assert found["exits_per_second"] is None
    assert found["segments_per_exit"] is None
    assert found["throughput_mbps"] is not None


def test_no_interrupts_are_none_to_divide_by():
    run = a_run()
    found = of(replace(run, report={**run.report, "interrupts": 0}))
    assert (found["interrupts_per_second"], found["segments_per_interrupt"]) == (0, None)


def test_cells_have_median_and_spread_and_ratios_are_between_neighbours():
    slow, fast = [a_run(unit="big", seconds=s) for s in (2, 4, 8)], [a_run(unit="big")] * 3
    header, rows = net_table.grid(results(classic=slow, virtio=fast), STREAM)
    assert header[:4] == ["raw tx big", "e1000 classic", "virtio-net", "virtio/classic"]
    cells = dict(zip(header, rows[0], strict=True))
    assert cells["e1000 classic"] == "12.9 (6.43-25.7)"
    assert cells["virtio/classic"] == "2x"
    assert rows[0][-3:] == ["239", "5,230", "22x"]


def test_a_contestant_that_cannot_is_left_out_and_its_ratios():
    text = net_table.text(results(virtio=[a_run(unit="big")]))
    assert "e1000 classic" not in text
    assert "virtio/" not in text
    assert "a note" in text


def test_rounds_that_look_the_same_are_shown_once():
    assert net_table.cell(Figure.of([1514, 1514])) == "1,514"
    assert net_table.cell(Figure.of([1, 2, 4])) == "2 (1-4)"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (0.01234, "0.0123"),
        (9.876, "9.88"),
        (23_804.4, "23,804"),
        (99.96, "100"),
        (123_456, "123k"),
        (999_499, "999k"),
        (15_007_608, "15M"),
        (1_089_684, "1.09M"),
    ],
)
def test_numbers_have_about_three_digits(value, shown):
    assert net_table.short(value) == shown


@pytest.mark.parametrize(("ratio", "shown"), [(22, "22x"), (1, "1x"), (0.125, "1/8"), (0, "0")])
def test_ratios_are_shown_as_they_were_published(ratio, shown):
    assert net_table.as_times(ratio) == shown


def test_json_has_every_run_and_what_was_counted_in_it():
    data = net_table.as_dict(results(virtio=[a_run(unit="big")], qemu_virtio=[a_run(unit="big")]))
    data = json.loads(json.dumps(data))
    (stream,) = data["streams"]
    (run,) = stream["runs"]["virtio"]
    assert run["causes"] == {"mmio": 600, "halt": 200, "irq": 100, "other": 1100}
    assert run["user_exits"] == {"MMIO": 600, "IO": 200}
    assert stream["ratios"]["virtio/QEMU's"]["throughput_mbps"]["median"] == 1
    assert stream["figures"]["virtio"]["exits_per_second"]["samples"] == 1


def test_options_choose_one_stream_and_none_the_usual_ones():
    usual = chosen(None, None, None, seconds=2, batch=None)
    assert [s.name for s in usual] == [s.name for s in DEFAULT]
    assert {s.seconds for s in usual} == {2}
    assert chosen(None, "rx", None, batch=16) == [Stream("raw", "rx", "big", batch=16)]
    assert chosen("tcp", None, "mtu", driver="poll") == [Stream("tcp", "tx", "mtu", driver="poll")]


def test_queues_are_for_raw_streams_alone():
    usual = chosen(None, None, None, queues=2)
    assert {s.kind: s.queues for s in usual} == {"raw": 2, "tcp": 1}
    assert len(usual) == len({s.name for s in usual}) == len(DEFAULT) - 1
    assert chosen("raw", None, None, queues=4) == [Stream("raw", "tx", "big", queues=4)]
    assert chosen("tcp", None, None) == [Stream("tcp", "tx", "big")]
    for kind in ("tcp", "linux"):
        with pytest.raises(UsageError, match="--queues is for raw streams"):
            chosen(kind, None, None, queues=2)


def test_vcpus_for_each_pair_are_for_raw_streams_from_the_guest_alone():
    usual = chosen(None, None, None, queues=2, smp=True)
    assert {(s.kind, s.direction): s.smp for s in usual} == {
        ("raw", "tx"): True, ("raw", "rx"): False, ("tcp", "tx"): False,
    }  # fmt: skip
    with pytest.raises(UsageError, match="one vCPU takes what comes"):
        chosen(None, "rx", None, queues=2, smp=True)
    with pytest.raises(UsageError, match="give --queues"):
        chosen(None, None, None, smp=True)


def test_vcpus_for_each_pair_are_told_and_a_virtio_net_s():
    stream = Stream("raw", "tx", "big", queues=2, smp=True)
    assert stream.name == "raw tx big, 2 pairs, 2 vCPUs"
    assert (stream.cpus("virtio-net"), stream.cpus("e1000")) == (2, 1)
    assert "vcpus=2" in stream.append("virtio-net", 0).split()
    assert "vcpus" not in stream.append("e1000", 0)
    found = Results({stream: {"virtio": [a_run(unit="big")]}})
    assert net_table.as_dict(found)["streams"][0]["smp"] is True


@pytest.mark.parametrize("queues", ["0", "5", "two"])
def test_queues_that_there_are_not_are_a_usage_error(queues, capsys):
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(["bench", "net", "--queues", queues])
    assert ended.value.code == 2
    assert "--queues" in capsys.readouterr().err


def test_several_pairs_are_told_in_heading_note_and_json():
    stream = Stream("raw", "tx", "big", queues=2)
    found = Results({stream: {"virtio": [a_run(unit="big")]}})
    text = net_table.text(found)
    assert text.startswith("raw tx big, 2 pairs")
    assert "an e1000 has one" in text
    assert net_table.as_dict(found)["streams"][0]["queues"] == 2
    assert "pairs" not in net_table.text(results(virtio=[a_run(unit="big")]))


def test_several_pairs_are_a_virtio_net_s_on_a_tap_of_several_queues():
    stream = Stream("raw", "tx", "mtu", queues=3)
    assert "queues=3" in stream.append("virtio-net", 0).split()
    assert "queues" not in stream.append("e1000", 0)
    assert "queues" not in Stream("raw", "tx", "mtu").append("virtio-net", 0)
    assert network.tap(3) != network.tap(1) == network.NAME
    netdev, device = qemu.tap_card("virtio-net-pci", "t", 3)
    assert {"queues=3", "ifname=t", "vhost=off"} <= set(netdev.split(","))
    assert device == "virtio-net-pci,netdev=n0,mq=on,vectors=8"
    assert qemu.tap_card("e1000", "t")[1] == "e1000,netdev=n0"


def test_nothing_measured_is_told_without_a_table():
    assert net_table.text(Results(notes=["left out: no time"])) == "left out: no time\n"


def test_each_qemu_has_columns_and_ratios_of_its_own():
    peers = [qemu.Peer("qemu", "7.2"), qemu.Peer("/opt/qemu", "11.1", "qemu-11.1")]
    made = results(virtio=[a_run()], qemu_virtio=[a_run()])
    made.runs[STREAM]["qemu-11.1-virtio"] = [a_run()]
    made.contestants = [*OURS, *theirs(peers)]
    assert {who.name: who.program for who in made.contestants if who.device} == {
        "qemu-e1000": "qemu", "qemu-virtio": "qemu",
        "qemu-11.1-e1000": "/opt/qemu", "qemu-11.1-virtio": "/opt/qemu",
    }  # fmt: skip
    header, _ = net_table.grid(made, STREAM)
    assert header[1:6] == [
        "virtio-net", "QEMU virtio-net", "QEMU 11.1 virtio-net",
        "virtio/QEMU's", "virtio/QEMU 11.1's",
    ]  # fmt: skip
    assert set(net_table.as_dict(made)["streams"][0]["ratios"]) == {
        "virtio/QEMU's", "virtio/QEMU 11.1's",
    }  # fmt: skip


def test_tables_of_all_contestants_fit_a_terminal():
    peers = [qemu.Peer("qemu", "7.2.22"), qemu.Peer("/opt/qemu", "11.1.3", "qemu-11.1.3")]
    made = results()
    made.contestants = [*OURS, *theirs(peers)]
    runs = [a_run(unit="big", seconds=s) for s in (2, 3, 5)]
    made.runs[STREAM].update({who.name: runs for who in made.contestants})
    tables = net_table.text(made).split("\n\n")[:-1]
    assert max(len(line) for part in tables for line in part.splitlines()) <= 100
