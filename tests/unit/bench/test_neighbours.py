"""Fewer processors, and others that want them."""

import os
import signal
import subprocess
import sys
import time

import pytest

from pykvm.bench import neighbours
from pykvm.cli.parser import parser
from pykvm.errors import UsageError


def test_fewer_processors_are_for_all_that_starts_and_end_with_it():
    before = os.sched_getaffinity(0)
    with neighbours.processors(1) as chosen:
        assert len(chosen) == 1
        code = "import os; print(len(os.sched_getaffinity(0)))"
        out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        assert int(out.stdout) == 1
    assert os.sched_getaffinity(0) == before


def test_none_is_every_processor():
    with neighbours.processors(None) as chosen:
        assert chosen == os.sched_getaffinity(0)


def test_more_processors_than_there_are_is_a_usage_error():
    with pytest.raises(UsageError, match="more than"), neighbours.processors(1 << 20):
        pass


def alive(pid):
    return os.path.exists(f"/proc/{pid}")


def test_neighbours_are_busy_on_the_same_processors():
    with neighbours.processors(1) as chosen, neighbours.neighbours(2) as pids:
        assert [os.sched_getaffinity(pid) for pid in pids] == [chosen, chosen]
        deadline = time.monotonic() + 60
        while any(time.clock_gettime(~pid << 3 | 2) < 0.2 for pid in pids):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert not any(map(alive, pids))


def fail_beside_neighbours(pids):
    with neighbours.neighbours(2) as started:
        pids += started
        raise ZeroDivisionError


def test_neighbours_end_whatever_happens():
    pids = []
    with pytest.raises(ZeroDivisionError):
        fail_beside_neighbours(pids)
    assert len(pids) == 2
    assert not any(map(alive, pids))


def test_neighbours_end_when_the_bench_is_killed():
    code = (
        "from pykvm.bench.neighbours import neighbours\n"
        "with neighbours(1) as pids:\n"
        "    print(*pids, flush=True)\n"
        "    input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as bench:
        pid = int(bench.stdout.readline())
        bench.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 60
    while alive(pid) and state(pid) != "Z":  # whoever adopts it need not wait for it
        assert time.monotonic() < deadline
        time.sleep(0.05)


def state(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0]
    except OSError:
        return "Z"


@pytest.mark.parametrize(
    ("count", "busy", "said"),
    [
        (None, 0, "all processors"),
        (1, 0, "one processor"),
        (1, 1, "one processor, 1 neighbour"),
        (2, 2, "2 processors, 2 neighbours"),
    ],
)
def test_surroundings_are_said(count, busy, said):
    assert neighbours.describe(count, busy) == said


@pytest.mark.parametrize("bench", ["net", "tx", "rx"])
def test_the_benches_of_cards_take_surroundings_and_qemus(bench):
    args = parser().parse_args(
        ["bench", bench, "--cpus-for-all", "1", "--neighbours", "2", "--qemu", "a", "--qemu", "b"]
    )
    assert (args.cpus_for_all, args.neighbours, args.qemu) == (1, 2, ["a", "b"])
