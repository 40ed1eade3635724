"""The bench's own honesty: counts that do not agree void a run, whichever they are."""

from dataclasses import replace

import pytest

from pykvm.bench.net_checks import CountsDifferError, check, posts_interrupts
from pykvm.bench.net_host import Seen
from pykvm.bench.net_run import parse
from pykvm.errors import PykvmError
from tests.unit.bench.runs import REQUESTS, a_run, counters, snapshot, with_end


@pytest.mark.parametrize("unit", ["mtu", "big"])
@pytest.mark.parametrize(("kind", "direction"), [("raw", "tx"), ("raw", "rx"), ("tcp", "tx")])
def test_counts_that_agree_pass(kind, direction, unit):
    check(a_run(kind, direction, unit))


@pytest.mark.parametrize("empties", [False, True])
def test_segments_may_leave_whole_or_cut(empties):
    check(a_run(unit="big", cut=True, empties=empties))
    check(a_run(unit="big", cut=False, empties=empties))


def test_cut_segments_without_the_frames_that_one_has_are_missed():
    run = a_run(unit="big", cut=True, empties=True)
    with pytest.raises(CountsDifferError, match="4400 when cut, and 4500 had left"):
        check(replace(run, empties=False))


@pytest.mark.parametrize("there", [0, REQUESTS - 1, REQUESTS + 1])
def test_frames_that_a_card_dropped_or_had_not_sent_yet_are_missed(there):
    with pytest.raises(CountsDifferError, match=rf"and {there} had left the card"):
        check(with_end(a_run(), sent=there))


@pytest.mark.parametrize("came", [REQUESTS - 1, REQUESTS + 1])
def test_frames_that_came_late_or_not_at_all_are_missed(came):
    with pytest.raises(CountsDifferError, match=f"{came} came"):
        check(replace(a_run(), seen=Seen(came)))


def test_frames_that_became_shorter_are_missed():
    run = a_run()
    with pytest.raises(CountsDifferError, match="bytes"):
        check(with_end(run, sent_bytes=run.end.wire.sent_bytes - 1))


def by_pairs(*counts):
    run = a_run()
    pairs = {f"pair{n}": count for n, count in enumerate(counts)}
    return replace(run, report={**run.report, **pairs})


def test_pairs_of_queues_have_each_sent_some_and_everything_in_all():
    check(by_pairs(1, REQUESTS - 1))
    with pytest.raises(CountsDifferError, match="100 frames, 99 by all pairs"):
        check(by_pairs(1, REQUESTS - 2))
    with pytest.raises(CountsDifferError, match="a pair of queues sent nothing"):
        check(by_pairs(0, REQUESTS))


def test_received_frames_that_the_guest_did_not_have_are_missed():
    run = a_run(direction="rx")
    with pytest.raises(CountsDifferError, match="101 frames were sent, the guest had 100"):
        check(replace(run, seen=Seen(REQUESTS + 1)))
    with pytest.raises(CountsDifferError, match="missed 3"):
        check(replace(run, report={**run.report, "lost": 3}))
    with pytest.raises(CountsDifferError, match="the TAP lost 2"):
        check(with_end(run, dropped=2))
    with pytest.raises(CountsDifferError, match="the card took 99"):
        check(with_end(run, taken=REQUESTS - 1))


@pytest.mark.parametrize(
    ("seen", "objection"),
    [
        (Seen(data=4992, right=4992), "4992 came"),
        (Seen(data=5008, right=5000), "5008 came"),
        (Seen(data=5000, right=808), "byte 808"),
    ],
)
def test_tcp_data_that_did_not_come_whole_is_missed(seen, objection):
    with pytest.raises(CountsDifferError, match=objection):
        check(replace(a_run("tcp"), seen=seen))


def test_tcp_frames_that_never_left_are_missed():
    with pytest.raises(CountsDifferError, match="99 had left"):
        check(with_end(a_run("tcp"), sent=99))
    with pytest.raises(CountsDifferError, match="bytes"):
        check(with_end(a_run("tcp"), sent_bytes=5000))


@pytest.mark.parametrize("injected", [99, 1000])
def test_interrupts_that_the_guest_and_kvm_count_otherwise_are_told(injected):
    kernel = {**counters(2), "irq_injections": injected}
    run = with_end(a_run(), kernel=kernel)
    with pytest.raises(CountsDifferError, match=f"KVM injected {injected}"):
        check(run, posted=False)
    check(run, posted=True)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("kvm_intel/parameters/enable_apicv", "Y\n", True),
        ("kvm_intel/parameters/enable_apicv", "N\n", False),
        ("kvm_amd/parameters/avic", "1\n", True),
        ("kvm_amd/parameters/avic", "0\n", False),
        ("kvm_amd/parameters/npt", "1\n", False),
    ],
)
def test_a_processor_that_posts_interrupts_is_known(tmp_path, name, value, expected):
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_text(value)
    assert posts_interrupts(tmp_path) is expected


def test_a_qemu_that_tells_no_counters_is_not_checked_by_them():
    run = a_run()
    begin, end = replace(run.begin, kernel={}, returns=None), replace(run.end, kernel={})
    check(replace(run, begin=begin, end=replace(end, returns=None)))


@pytest.mark.parametrize("theirs", [799, 802])
def test_returns_that_pykvm_and_kvm_count_otherwise_are_told(theirs):
    kernel = {**counters(2), "fpu_reload": theirs}
    with pytest.raises(PykvmError, match=f"pykvm counted 800 to 801 .* KVM {theirs}"):
        check(with_end(a_run(), kernel=kernel))


def test_samples_are_checked_too():
    bad = snapshot(1, kernel={"fpu_reload": 5}, returns=(400, 401))
    with pytest.raises(PykvmError, match="KVM 5"):
        check(replace(a_run(), samples=[bad]))


def test_more_exits_than_returns_are_told():
    with pytest.raises(PykvmError, match="802 exits in 801 returns"):
        check(with_end(a_run(), reasons={"MMIO": 602, "IO": 200}))


def test_mmio_exits_that_only_kvm_counted_are_told():
    with pytest.raises(PykvmError, match="MMIO"):
        check(with_end(a_run(), kernel={**counters(2), "mmio_exits": 700}))


@pytest.mark.parametrize(
    "line", ["STREAM", "STREAM frames=0 segments=1 bytes=1 cycles=1", "STREAM frames=x cycles=1"]
)
def test_a_report_of_nothing_is_an_error(line):
    with pytest.raises(PykvmError, match="the guest reported no frames"):
        parse(line)
