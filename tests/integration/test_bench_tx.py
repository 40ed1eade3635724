"""``pykvm bench tx`` and ``rx``: small ones, that every row of them is measured."""

import json
import re
import subprocess

import pytest

from pykvm.bench import contend, network, qemu
from pykvm.bench.cards import CARDS
from pykvm.bench.frametimes import FrameTimes
from pykvm.bench.guest import find
from pykvm.bench.rowrun import Row
from tests.support import netns
from tests.support.tap import PYKVM

FRAMES = 70  # not a multiple of 64
WAITING = [(nic, kind) for nic in CARDS for kind in CARDS[nic].kinds if kind.startswith("wait-")]


@pytest.mark.kvm
@pytest.mark.parametrize(("nic", "kind"), WAITING)
def test_a_guest_that_waits_tells_how_long_each_request_took(nic, kind):
    done = subprocess.run(
        [PYKVM, "run", find(CARDS[nic].image), "--nic", f"{nic},backend=null", "--timeout", "60",
         "--append", f"mode=tx kind={kind} frames={FRAMES} passes=2"],
        check=False, capture_output=True, text=True, timeout=90,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    frames = FRAMES // 8 if "tso" in kind else FRAMES
    batch = {"64": 64, "32": 32}.get(kind.rsplit("-", 1)[1], 1)
    benches = re.findall(rf"^BENCH {kind} {frames} (\d+)\r?$", done.stdout, re.M)
    times = re.findall(rf"^TIMES {kind} (\d+) (\d+) (\d+)\r?$", done.stdout, re.M)
    assert len(benches) == len(times) == 2, done.stdout
    for cycles, row in zip(map(int, benches), times, strict=True):
        requests = -(-frames // batch)
        middle, high, slowest = map(int, row)
        assert 0 < middle <= high <= slowest
        assert slowest <= cycles <= requests * slowest
        # Half of them took the median at least.
        assert cycles >= middle * (requests - (requests - 1) // 2)


def bench(*options):
    done = subprocess.run(
        [PYKVM, "bench", *options, "--rounds", "1", "--json"],
        check=False, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.kvm
@pytest.mark.tap
@pytest.mark.parametrize("nic", CARDS)
def test_everything_is_measured_on_one_processor_beside_a_neighbour(nic):
    surroundings = ("--cpus-for-all", "1", "--neighbours", "1", "--no-qemu")
    made = bench("tx", "--nic", nic, "--frames", "64", *surroundings)
    assert made["notes"] == ["Measured with one processor, 1 neighbour."]
    guests = {row["kind"]: row for row in made["rows"] if row["who"] == "guest"}
    assert set(guests) == set(CARDS[nic].kinds)
    assert guests["wait-60-1"]["request_microseconds"]["p99"]["median"] > 0


@pytest.mark.kvm
@pytest.mark.tap
@pytest.mark.qemu
@pytest.mark.parametrize("nic", CARDS)
def test_a_second_qemu_is_measured_beside_the_first(nic, tmp_path, monkeypatch):
    other = tmp_path / "qemu-system-x86_64"
    warning = "qemu-system-x86_64: -device x: warning: this is old"
    other.write_text(f'#!/bin/sh\necho "{warning}" >&2\nexec qemu-system-x86_64 "$@"\n')
    other.chmod(0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = bench("rx", "--nic", nic, "--frames", "640", "--qemu", str(other))
    whose = {row["who"] for row in made["rows"]}
    version = made["qemu"].split(", ")[0]
    assert whose == {"ceiling", "guest", "qemu", f"qemu-{version}"}


@pytest.mark.kvm
@pytest.mark.tap
@pytest.mark.parametrize("only", ["wait-60-1", "rx-60"])
def test_both_cards_contend_in_every_place(only):
    made = bench("contend", "--frames", "64", "--only", only, "--no-qemu")
    assert made["notes"] == []
    assert [(row["cpus"], row["neighbours"], row["nic"]) for row in made["rows"]] == [
        (place.cpus, place.busy, nic) for place in contend.PLACES for nic in CARDS
    ]
    assert all(("request_microseconds" in row) == (only != "rx-60") for row in made["rows"])


@pytest.mark.kvm
@pytest.mark.tap
@pytest.mark.qemu
def test_qemu_contends_by_the_same_rows():
    def work():
        network.enter()
        times = FrameTimes(CARDS["e1000"], khz=1_000_000)
        peer = qemu.Peer(qemu.PROGRAM, "some")
        rows = [contend.WARM, *(Row(kind, 64) for kind in ("wait-60-64", "rx-60", "rx-1514"))]
        life = contend.Life(tuple(rows), "entries=256")
        died = contend._live(times, contend.Place(1, 1), CARDS["e1000"], life, peer)
        return died, dict(times.microseconds)

    died, found = netns.inside(None, work)
    assert died == []
    assert set(found) == {("qemu", kind) for kind in ("wait-60-64", "rx-60", "rx-1514")}
