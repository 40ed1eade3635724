"""A guest that errs all the time is told of in a few lines, and waits for nobody who reads them."""

import fcntl
import gc
import os
import subprocess
import sys

import pytest

from pykvm.machine.config import Config, NicConfig
from pykvm.machine.machine import Machine
from pykvm.machine.pci import MEMORY_WINDOW

pytestmark = pytest.mark.kvm

PYKVM = [sys.executable, "-m", "pykvm"]
# mov edx, 0x518; mov eax, -1; out dx, eax; jmp to the out: fw_cfg's DMA from no RAM, for ever
ERR_FOREVER = bytes.fromhex("ba 18 05 00 00 b8 ff ff ff ff ef eb fd")
CLI_HLT = bytes.fromhex("fa f4")


@pytest.fixture
def image(tmp_path):
    def write(data):
        path = tmp_path / "guest.bin"
        path.write_bytes(data)
        return str(path)

    return write


@pytest.fixture
def stalled():
    """The writing end of a pipe that is full, and that nobody reads."""
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    os.write(write, bytes(4096))
    yield write
    os.close(read)
    os.close(write)


@pytest.mark.parametrize("options", [[], ["--trace", "exits"], ["--stats"]])
def test_a_stalled_stderr_keeps_nobody_from_the_timeout(image, stalled, options):
    done = subprocess.run(
        [*PYKVM, "run", "--timeout", "1", *options, image(ERR_FOREVER)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stalled, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 124


def test_a_stalled_stderr_does_not_keep_the_report_of_a_crash_for_ever(image, stalled):
    done = subprocess.run(
        [*PYKVM, "run", image(bytes.fromhex("0f 0b"))],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stalled, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 6


def test_errors_at_ever_other_addresses_are_one_device_s(image):
    # mov edi, BAR + 1; mov ecx, 8000; a 64-bit store that is split into bytes; add rdi, 8; loop
    bar = (MEMORY_WINDOW[0] + 1).to_bytes(4, "little")
    guest = b"\xbf" + bar + b"\xb9" + (8000).to_bytes(4, "little")
    guest += bytes.fromhex("48 89 07 48 83 c7 08 ff c9 75 f5 fa f4")
    said = []
    config = Config(image=image(guest), serial="null", timeout=20, nics=(NicConfig.parse("e1000"),))
    with Machine(config, say=said.append) as machine:
        machine.run()
    del machine
    gc.collect()  # the card's descriptors go with it
    assert len(said) == 2
    assert said[0].startswith("e1000-0: ")
    assert int(said[1].split()[0]) >= 8000 - 1  # KVM cuts those in two that cross a page
    assert said[1].endswith(" more complaints of devices about the guest")
