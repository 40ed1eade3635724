"""The power button: somebody presses it, the guest takes its interrupt and switches itself off."""

import os
import pty
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pykvm.machine import Config, Machine
from tests.support.terminal import read

pytestmark = pytest.mark.kvm

IMAGE = str(Path(__file__).parents[2] / "guest" / "build" / "power_button.elf")
WORKED = b"pressed, status now 0"


class Listener:
    """A serial backend that keeps what the guest says."""

    def __init__(self):
        self.text, self.ready = b"", threading.Event()

    def connect(self, receiver):
        """Nothing is typed."""

    def write(self, data):
        self.text += data
        if b"READY" in self.text:
            self.ready.set()

    def resume(self):
        """Nothing waits."""

    def close(self):
        """Nothing is open."""


def test_a_guest_that_listens_switches_itself_off():
    serial = Listener()
    with Machine(Config(image=IMAGE, timeout=30), serial=serial) as machine:

        def press():
            serial.ready.wait(20)
            machine.press_power_button()

        finger = threading.Thread(target=press)
        finger.start()
        outcome = machine.run()
        finger.join()
    assert WORKED in serial.text
    assert (outcome.reason, outcome.status) == ("the guest powered off", 0)


def test_the_user_is_told_when_nobody_listens(tmp_path):
    image = tmp_path / "spin.bin"
    image.write_bytes(b"\xeb\xfe")
    said = []
    with Machine(Config(image=str(image), serial="null", timeout=0.5), say=said.append) as machine:
        machine.press_power_button()
        machine.run()
    assert said == ["the guest does not listen to its power button; Ctrl-A x quits"]


def test_ctrl_a_p_presses_it():
    near, far = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "pykvm", "run", IMAGE, "--timeout", "30"],
        stdin=far, stdout=far, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert b"READY" in read(near, b"READY")
        os.write(near, b"\x01p")
        assert WORKED in read(near, WORKED)
        process.communicate(timeout=20)
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()
        os.close(near)
        os.close(far)


@pytest.mark.qemu
def test_the_same_guest_on_qemu(tmp_path):
    path = str(tmp_path / "monitor")
    process = subprocess.Popen(
        ["qemu-system-x86_64", "-accel", "kvm", "-cpu", "host,-arch-capabilities", "-M", "pc",
         "-display", "none", "-serial", "stdio", "-kernel", IMAGE,
         "-monitor", f"unix:{path},server=on,wait=off"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert b"READY" in read(process.stdout.fileno(), b"READY")
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.connect(path)
            monitor.sendall(b"system_powerdown\n")
            rest, _ = process.communicate(timeout=20)
        assert WORKED in rest
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()
