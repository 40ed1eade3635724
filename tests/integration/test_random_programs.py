"""Whatever a guest does to registers, the process ends in time, stays small and says little.

``PYKVM_RANDOM_SECONDS`` is how long each set of cards is tried (15), ``PYKVM_RANDOM_SEED`` the
first seed (another one each day). Each failure shows the seed of the program that it came with;
``python -m tests.support.random_programs SEED 0 NIC...`` runs it again.
"""

import json
import os
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.kvm

SECONDS = float(os.environ.get("PYKVM_RANDOM_SECONDS", "15"))
SEED = int(os.environ.get("PYKVM_RANDOM_SEED", str(int(time.time()) // 86400 * 100_000)))
CARDS = {
    "python": ("e1000,engine=python,backend=loopback", "virtio-net,engine=python,backend=loopback"),
    "native": ("e1000,engine=native", "virtio-net,engine=native"),
    "vcpu": ("e1000,engine=vcpu", "virtio-net,engine=native,queues=2"),
}
MOST_GROWN, MOST_SAID, LONGEST_END = 128 << 10, 16 << 10, 20


@pytest.mark.parametrize("cards", CARDS)
def test_random_programs_neither_end_nor_hang_nor_grow_the_process(cards):
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.random_programs", str(SEED), str(SECONDS),
         *CARDS[cards]],
        capture_output=True, timeout=SECONDS + 120, check=False,
    )  # fmt: skip
    last = done.stderr.decode().splitlines()[-40:]
    assert done.returncode == 0, "\n".join(last)
    found = json.loads(done.stdout)
    print(f"first seed {SEED}: {found['programs']} programs; {found['outcomes']}")
    for name, (read, written, of) in found["covered"].items():
        print(f"  {name}: {read} registers read, {written} written, of {of}")
    assert found["grown_kib"] < MOST_GROWN
    assert found["said_most"] < MOST_SAID
    assert found["slowest_end"] < LONGEST_END
    assert all(written for name, (_, written, of) in found["covered"].items() if of > 4)
