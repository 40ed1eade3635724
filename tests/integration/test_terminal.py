"""pykvm on a terminal: raw while the guest runs, itself again on every way out."""

import os
import pty
import signal
import subprocess
import sys
import termios

import pytest

from tests.support.terminal import read

pytestmark = pytest.mark.kvm

ECHO = bytes.fromhex("66bafd03 ec a801 74fb 66baf803 ec ee ebef")  # echoes COM1 for ever
PROMPT = bytes.fromhex("66baf803 b03e ee")  # prints ">"
SPIN = bytes.fromhex("fa ebfe")
UD2 = bytes.fromhex("0f0b")
# Switches the card in slot 1 on, prints D when STATUS.LU is clear and U when it is set again.
WATCH_LINK = bytes.fromhex(
    "66baf80c b804080080 ef b2fc b807000000 ef"  # 0xcf8, 0xcfc: COMMAND = 7
    "66baf803 b9000000e0"
    "8b4108 a802 75f9 b044 ee  8b4108 a802 74f9 b055 ee"
    "31c0 e6f4"
)
EXIT = bytes.fromhex("31c0 e6f4")


@pytest.fixture
def terminal():
    near, far = pty.openpty()
    yield near, far
    os.close(near)
    os.close(far)


@pytest.fixture
def start(tmp_path, terminal):
    """Starts pykvm on the terminal and waits for the guest's prompt."""
    near, far = terminal
    processes = []

    def start(code, *args, controlling=False):
        # with ``controlling`` the far side is the new session's own terminal
        prefix = ["setsid", "--ctty"] if controlling else []
        image = tmp_path / "guest.bin"
        image.write_bytes(PROMPT + code)
        process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "pykvm", "run", str(image), *args],
            stdin=far, stdout=far, stderr=subprocess.PIPE,
        )  # fmt: skip
        processes.append(process)
        assert read(near, b">").endswith(b">")
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def is_raw(fd):
    return not termios.tcgetattr(fd)[3] & (termios.ICANON | termios.ECHO)


def test_typed_keys_reach_the_guest_and_come_back(terminal, start):
    start(ECHO)
    assert is_raw(terminal[1])
    os.write(terminal[0], b"hey\x1a\x1c\x01c")  # Ctrl-Z, Ctrl-\\, and a quoted Ctrl-C
    assert read(terminal[0], b"\x03") == b"hey\x1a\x1c\x03"


def test_ctrl_c_typed_on_the_terminal_ends_any_guest(terminal, start):
    before = termios.tcgetattr(terminal[1])
    process = start(SPIN, controlling=True)
    os.write(terminal[0], b"\x03")
    process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT
    assert termios.tcgetattr(terminal[1]) == before


def test_ctrl_a_x_quits_with_130_and_the_terminal_is_itself_again(terminal, start):
    before = termios.tcgetattr(terminal[1])
    process = start(ECHO)
    os.write(terminal[0], b"\x01x")
    assert process.wait(timeout=20) == 130
    assert termios.tcgetattr(terminal[1]) == before


def test_ctrl_a_h_helps_and_ctrl_a_ctrl_a_sends_one(terminal, start):
    process = start(ECHO)
    os.write(terminal[0], b"\x01h\x01\x01")
    assert read(terminal[0], b"\x01") == b"\x01"
    os.write(terminal[0], b"\x01x")
    assert b"Ctrl-A x quits" in process.communicate(timeout=20)[1]


@pytest.mark.parametrize("engine", ["native", "python"])
def test_ctrl_a_n_pulls_the_cable_and_plugs_it_in(terminal, start, engine):
    process = start(WATCH_LINK, "--nic", f"e1000,engine={engine}")
    os.write(terminal[0], b"\x01n")
    assert read(terminal[0], b"D") == b"D"
    os.write(terminal[0], b"\x01n")
    assert read(terminal[0], b"U") == b"U"
    said = process.communicate(timeout=20)[1].decode()
    assert said == "pykvm: network cables are pulled\npykvm: network cables are plugged in\n"
    assert process.returncode == 1


def test_a_cable_pulled_before_there_is_a_card_is_pulled(terminal, start):
    os.write(terminal[0], b"\x01n")
    process = start(WATCH_LINK, "--nic", "e1000")
    assert read(terminal[0], b"D") == b"D"
    os.write(terminal[0], b"\x01n")
    assert read(terminal[0], b"U") == b"U"
    assert process.wait(timeout=20) == 1


@pytest.mark.parametrize(
    ("code", "args", "number"),
    [
        (ECHO, (), signal.SIGTERM),
        (ECHO, (), signal.SIGINT),
        (ECHO, (), signal.SIGHUP),
        (ECHO, ("--timeout", "0.5"), None),
        (UD2, (), None),
        (EXIT, (), None),
    ],
    ids=["SIGTERM", "SIGINT", "SIGHUP", "timeout", "crash", "exit"],
)
def test_every_way_out_restores_the_terminal(terminal, start, code, args, number):
    before = termios.tcgetattr(terminal[1])
    process = start(code, *args)
    if number is not None:
        process.send_signal(number)
    process.communicate(timeout=20)
    assert termios.tcgetattr(terminal[1]) == before
