"""The virtio console under KVM: every byte both ways, its places, its errors."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import tty
from pathlib import Path

import pytest

pytestmark = pytest.mark.kvm

PYKVM = [sys.executable, "-m", "pykvm", "run"]
CONSOLE = str(Path(__file__).parents[2] / "guest" / "build" / "virtio_console.elf")
GREETING = b"console\n" + (bytes(range(ord("a"), ord("z") + 1)) * 116)[:2999] + b"\n"


def run(*args, text=b""):
    return subprocess.run(
        [*PYKVM, CONSOLE, *args], input=text, capture_output=True, timeout=60, check=False
    )


def test_lines_come_back_whole_and_in_order():
    lines = b"".join(b"line %d %s\n" % (n, b"=" * (n % 200)) for n in range(150)) + b"quit\n"
    done = run("--serial", "null", "--console", "stdio", text=lines)
    assert done.returncode == 1
    assert done.stdout == GREETING + lines
    assert done.stderr == b""


def test_input_from_a_file_comes_whole(tmp_path):
    lines = b"".join(b"%d\n" % n for n in range(200)) + b"quit\n"
    (tmp_path / "in").write_bytes(lines)
    with open(tmp_path / "in") as file:
        done = subprocess.run(
            [*PYKVM, CONSOLE, "--serial", "null", "--console", "stdio"], stdin=file,
            capture_output=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.stdout == GREETING + lines


def test_output_may_go_to_a_file_beside_the_serial_port(tmp_path):
    out = tmp_path / "console.txt"
    done = run("--console", f"file:{out}")
    assert out.read_bytes() == GREETING
    assert b"PASS: write" in done.stdout
    assert b"FAIL: echo" in done.stdout, "a file has no input"


def test_a_pty_is_a_console_for_another_program():
    with subprocess.Popen(
        [*PYKVM, CONSOLE, "--serial", "null", "--console", "pty"],
        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        path = re.fullmatch(rb"pykvm: console at (\S+)\n", process.stderr.readline())[1]
        fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
        os.write(fd, b"quit\n")
        assert process.wait(timeout=30) == 1
        os.close(fd)
        process.stderr.read()


def test_a_terminal_that_is_resized_disturbs_nothing():
    near, far = pty.openpty()
    tty.setraw(far)
    fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("4H", 40, 100, 0, 0))
    with subprocess.Popen(
        [*PYKVM, CONSOLE, "--serial", "null", "--console", "stdio"],
        stdin=far, stdout=far, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        os.close(far)
        seen = b""
        while not seen.endswith(GREETING):
            seen += os.read(near, 4096)
        process.send_signal(signal.SIGWINCH)
        os.write(near, b"quit\n")
        assert process.wait(timeout=30) == 1
        assert process.stderr.read() == b""
    os.close(near)


@pytest.mark.parametrize(
    ("args", "status", "says"),
    [
        (["--console", "stdio"], 2, b"--serial null"),
        (["--console", "telegraph"], 2, b"--console: 'telegraph'"),
        (["--console", "file:/nonexistent/x"], 4, b"--console file:/nonexistent/x"),
    ],
)
def test_a_place_that_cannot_be_is_one_clear_line(args, status, says):
    done = run(*args)
    assert done.returncode == status
    assert done.stderr.count(b"\n") == 1
    assert says in done.stderr
