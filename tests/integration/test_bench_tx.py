"""``pykvm bench tx`` and ``rx``: small ones, that every row of them is measured."""

import re
import subprocess

import pytest

from pykvm.bench.cards import CARDS
from pykvm.bench.guest import find
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
