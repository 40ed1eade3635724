"""Disks under KVM: what the command line says about them, and what survives pykvm's own death."""

import fcntl
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.kvm

PYKVM = [sys.executable, "-m", "pykvm", "run"]
BUILD = Path(__file__).parents[2] / "guest" / "build"
HELLO, JOURNAL = str(BUILD / "hello.elf"), str(BUILD / "virtio_blk_journal.elf")
FLUSHED = re.compile(rb"FLUSHED (\d+)\r?\n")


@pytest.fixture
def disk(tmp_path):
    path = tmp_path / "disk.img"
    path.touch()
    os.truncate(path, 16 << 20)
    return str(path)


def run(image, *args):
    return subprocess.run(
        [*PYKVM, image, *args], capture_output=True, text=True, timeout=120, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


def flushes(process):
    """The numbers that the guest says are flushed, as it says them."""
    for line in process.stdout:
        if found := FLUSHED.search(line):
            yield int(found[1])


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("transport", ["modern", "legacy"])
def test_what_was_flushed_survives_a_sudden_end(disk, seed, transport):
    chance = random.Random(seed)
    words = f"seed={seed} transport={transport}"
    with subprocess.Popen(
        [*PYKVM, JOURNAL, "--disk", disk, "--append", f"mode=write {words}"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        flushed = 0
        goal = chance.randrange(2, 12) * 16
        for flushed in flushes(process):
            if flushed >= goal:
                break
        try:
            # Somewhere among the writes that follow; the guest goes on until then.
            process.wait(timeout=chance.uniform(0, 0.05))
        except subprocess.TimeoutExpired:
            process.kill()
        # What it said before it died counts, too.
        flushed = max([flushed, *flushes(process)])
        process.wait(timeout=20)
    assert process.returncode == -9
    done = run(JOURNAL, "--disk", disk, "--append", f"mode=verify flushed={flushed} {words}")
    assert done.returncode == 1, done.stdout
    assert f"PASS: verify: {flushed} writes flushed, 0 blocks lost" in done.stdout


def test_verifying_notices_a_block_that_is_lost(disk):
    """The test above can fail."""
    done = run(JOURNAL, "--disk", disk, "--append", "mode=write writes=32")
    assert "FLUSHED 32" in done.stdout
    with open(disk, "r+b") as file:
        for offset in range(0, 16 << 20, 4096):
            file.seek(offset)
            if file.read(8) != bytes(8):
                file.seek(offset)
                file.write(bytes(4096))
                break
    done = run(JOURNAL, "--disk", disk, "--append", "mode=verify flushed=32")
    assert done.returncode == 3
    assert "FAIL: verify" in done.stdout


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("", "FILE"),
        ("{disk},readonly=maybe", "on and off"),
        ("{disk},serial=" + "x" * 21, "20"),
        ("{disk},serial=", "serial"),
        ("{disk},cache=none", "readonly=on"),
        ("{disk},readonly=on,readonly=on", "twice"),
        ("{disk},transport=pigeon", "modern"),
    ],
)
def test_a_bad_option_is_one_clear_line_and_status_2(disk, option, says):
    done = run(HELLO, "--disk", option.format(disk=disk))
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert says in done.stderr


@pytest.mark.parametrize(
    ("path", "says"),
    [("/nonexistent/disk", "No such file"), ("/dev/null", "neither"), ("/", "directory")],
)
def test_a_file_that_cannot_be_a_disk_is_one_clear_line_and_status_4(path, says):
    done = run(HELLO, "--disk", path)
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1
    assert says in done.stderr


def test_a_disk_in_use_is_one_clear_line_and_status_4(disk):
    with open(disk) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = run(HELLO, "--disk", disk)
    assert done.returncode == 4
    assert "in use" in done.stderr
    done = run(HELLO, "--disk", disk, "--disk", disk)
    assert done.returncode == 4
    done = run(HELLO, "--disk", f"{disk},readonly=on", "--disk", f"{disk},readonly=on")
    assert (done.returncode, done.stderr) == (1, "")


def test_nine_disks_are_too_many(disk):
    done = run(HELLO, *["--disk", f"{disk},readonly=on"] * 9)
    assert done.returncode == 2
    assert "at most 8" in done.stderr


def test_the_trace_shows_requests(disk):
    done = run(JOURNAL, "--disk", disk, "--append", "mode=write writes=16", "--trace",
               "virtio-blk-0")  # fmt: skip
    assert done.returncode == 1
    assert re.search(r"virtio-blk-0 +request .*OUT", done.stderr)
    assert re.search(r"virtio-blk-0 +request .*FLUSH", done.stderr)
    assert re.search(r"virtio-blk-0 +done .*OK", done.stderr)
