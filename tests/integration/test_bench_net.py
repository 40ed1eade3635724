"""``pykvm bench net``: it measures, and it does not believe what is not so."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from pykvm.bench import bridge, net_host, network, qemu, scale
from pykvm.bench.guest import find
from pykvm.bench.net import E1000, IMAGE, QEMU_E1000, QEMU_VIRTIO, VIRTIO, once
from pykvm.bench.net_checks import CountsDifferError, check
from pykvm.bench.net_guests import CHILD, PykvmGuest
from pykvm.bench.net_run import Stream, UnsupportedError, run
from pykvm.errors import PykvmError
from tests.support import linux, netns
from tests.support.tap import PYKVM

pytestmark = pytest.mark.tap

ROOT = Path(__file__).parents[2]
KHZ = 1_000_000
TX = Stream("raw", "tx", "mtu", 1)
NIC = f"e1000,backend=tap:{network.NAME}"


def in_a_network(work):
    """What ``work`` returns, called in a network of its own with the bench's TAP."""

    def visit():
        network.enter(queues=2)
        network.set_address(net_host.ADDRESS)
        return work()

    return netns.inside(None, visit)


def streamed(stream, start, data=0):
    """A run, in a network of its own, checked; ``start`` makes the guest."""

    def work():
        with ExitStack() as stack:
            host = stack.enter_context(stream.host(stream.queues))
            done = run(stack.enter_context(start()), stream, host, KHZ, data=data, sample=True)
        check(done)
        return done

    return in_a_network(work)


def liar(kind, **spec):
    """A guest of ``tests/support/bench_guests.py``."""
    command = (sys.executable, "-m", "tests.support.bench_guests", kind)
    return PykvmGuest(spec, command)


def of_ours(who, stream, data=0):
    append = stream.append(who.card, data)
    cpus = stream.cpus(who.card)
    return lambda: who.start(find(IMAGE), append, pairs=stream.queues, cpus=cpus)


@pytest.mark.kvm
@pytest.mark.parametrize("who", [E1000, VIRTIO], ids=lambda who: who.name)
@pytest.mark.parametrize("direction", ["tx", "rx"])
def test_every_frame_and_every_exit_is_accounted_for(who, direction):
    stream = Stream("raw", direction, "mtu", 1)
    done = streamed(stream, of_ours(who, stream))
    assert done.frames == done.requests > 0
    assert done.samples
    assert sum(done.reasons.values()) > 0
    assert min(done.kernel["fpu_reload"], done.kernel["exits"]) > 0
    assert 0 < done.cpu_seconds < 2 * done.window + 1


@pytest.mark.kvm
@pytest.mark.parametrize("direction", ["tx", "rx"])
@pytest.mark.parametrize("unit", ["mtu", "big"])
@pytest.mark.parametrize(
    "who", [VIRTIO, pytest.param(QEMU_VIRTIO, marks=pytest.mark.qemu)], ids=lambda who: who.name
)
def test_every_frame_of_two_pairs_is_accounted_for_and_both_are_used(who, unit, direction):
    stream = Stream("raw", direction, unit, 1, queues=2)
    done = streamed(stream, of_ours(who, stream))
    pairs = [done.report[f"pair{n}"] for n in range(2)]
    assert min(pairs) > 0
    assert sum(pairs) >= done.requests == done.seen.frames


@pytest.mark.kvm
@pytest.mark.parametrize(
    "who", [VIRTIO, pytest.param(QEMU_VIRTIO, marks=pytest.mark.qemu)], ids=lambda who: who.name
)
def test_every_frame_of_two_vcpus_is_accounted_for(who):
    stream = Stream("raw", "tx", "mtu", 1, queues=2, smp=True)
    done = streamed(stream, of_ours(who, stream))
    pairs = [done.report[f"pair{n}"] for n in range(2)]
    assert min(pairs) > 0
    assert sum(pairs) == done.requests == done.seen.frames


@pytest.mark.kvm
@pytest.mark.parametrize("who", [E1000, VIRTIO], ids=lambda who: who.name)
def test_tcp_arrives_byte_for_byte(who):
    stream = Stream("tcp", "tx", "big", 1)
    done = streamed(stream, of_ours(who, stream, 1 << 20), 1 << 20)
    assert done.seen.right == done.bytes == 1 << 20


@pytest.mark.kvm
def test_what_a_card_cannot_do_is_told_and_not_measured():
    stream = Stream("raw", "rx", "big", 1)
    with pytest.raises(UnsupportedError, match="e1000"):
        streamed(stream, of_ours(E1000, stream))


@pytest.mark.kvm
def test_a_backend_that_drops_frames_voids_the_run():
    spec = {"image": find(IMAGE), "append": TX.append("e1000", 0), "nics": [NIC], "timeout": 60}
    with pytest.raises(CountsDifferError, match="had left the card"):
        streamed(TX, lambda: liar("drop", **spec))


def test_a_guest_that_does_what_it_says_is_believed():
    done = streamed(TX, lambda: liar("fake", count=1000))
    assert (done.requests, done.seen.frames) == (1000, 1000)


@pytest.mark.parametrize("late", [1, 500])
def test_a_guest_that_reports_before_its_frames_have_arrived_voids_the_run(late):
    with pytest.raises(CountsDifferError, match=f"and {1000 - late} had left the card"):
        streamed(TX, lambda: liar("fake", count=1000, late=late))


@pytest.mark.parametrize("off", [-1, 2])
def test_counters_that_are_not_kvm_s_void_the_run(off):
    with pytest.raises(PykvmError, match=f"KVM {100 + off}"):
        streamed(TX, lambda: liar("fake", count=10, returns=off))


@pytest.mark.kvm
def test_a_guest_that_cannot_start_is_one_line():
    with pytest.raises(PykvmError, match="no-such-image"):
        streamed(TX, lambda: PykvmGuest({"image": "no-such-image", "append": "", "nics": [],
                                         "timeout": 10}))  # fmt: skip


@pytest.mark.kvm
def test_guests_on_a_bridge_stream_at_once_and_lose_nothing():
    def work():
        bridge.build()
        for tap, queues in (("one", 1), ("two", 1), ("many", 2)):
            bridge.add(tap, queues=queues)
        several = replace(TX, queues=2)
        return [
            scale.together(TX, KHZ, ["one", "two"]), scale.together(TX, KHZ, ["many"], 2),
            scale.together(several, KHZ, ["many"]),
        ]  # fmt: skip

    both, alone, pairs = in_a_network(work)
    assert [len(both.runs), len(both.pss), len(alone.runs)] == [2, 2, 1]
    assert all(run.frames > 0 for run in both.runs + alone.runs)
    assert "pair0" not in alone.runs[0].report
    assert pairs.runs[0].report["pair1"] > 0


@pytest.mark.kvm
@pytest.mark.qemu
def test_the_command_compares_with_qemu_by_the_same_counters(tmp_path):
    page = tmp_path / "page.html"
    done = subprocess.run(
        [PYKVM, "bench", "net", "--rounds", "1", "--seconds", "1", "--unit", "mtu", "--json",
         "--html", page],
        check=False, capture_output=True, text=True, timeout=300, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (stream,) = json.loads(done.stdout)["streams"]
    # And whatever other QEMU there is.
    assert set(stream["runs"]) >= {"classic", "e1000", "virtio", "qemu-e1000", "qemu-virtio"}
    for figures in stream["figures"].values():
        assert figures["exits_per_second"]["median"] > 0
        assert figures["interrupts_per_second"]["median"] > 0
    assert "Plotly.newPlot" in page.read_text()


@pytest.mark.kvm
def test_ctrl_c_ends_the_bench_and_its_guests_without_a_traceback():
    with subprocess.Popen(
        [PYKVM, "bench", "net", "--rounds", "1", "--seconds", "60", "--unit", "mtu"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        said = process.stderr.readline()
        assert "round 1 of 1" in said
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while not (guests := children.read_text().split()):
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "Traceback" not in said
    # One that was just being started notices that nobody speaks to it, and ends.
    deadline = time.monotonic() + 30
    while any(Path("/proc", pid).exists() for pid in guests):
        assert time.monotonic() < deadline, guests
        time.sleep(0.01)


@pytest.mark.kvm
def test_a_guest_s_process_ends_when_nobody_speaks_to_it_any_more():
    spec = {"image": find(IMAGE), "append": TX.append("e1000", 0), "nics": [NIC],
            "timeout": 60}  # fmt: skip

    def work():
        with subprocess.Popen(
            [*CHILD, json.dumps(spec)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert json.loads(process.stdout.readline())["line"] == "READY"
            return process.communicate(timeout=30)[0]

    assert json.loads(in_a_network(work).splitlines()[-1])["end"] == "the bench has ended"


@pytest.mark.linux
@pytest.mark.qemu
def test_a_linux_guest_s_stream_is_counted_on_an_emulated_one_too(monkeypatch):
    """No KVM here runs Linux programs for sure; QEMU's own emulation does."""

    def command(image, append, **more):
        words = kvm(image, append, **more)
        words[words.index("kvm")], words[words.index("host,-arch-capabilities")] = "tcg", "max"
        return words

    kvm = qemu.command
    monkeypatch.setattr(qemu, "command", command)
    kernel = str(linux.where("build.sh") / "bzImage")
    stream = Stream("linux", "tx", "big", 1)
    done = in_a_network(lambda: once(QEMU_E1000, kernel, stream, KHZ, 32 << 20))
    assert done.seen.right == done.bytes == 32 << 20
    assert done.seconds > 0
    assert 0 < done.requests <= done.frames
