"""A Linux kernel under pykvm, read line by line until it has said what a test waits for."""

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

GUEST = Path(__file__).parents[2] / "guest" / "linux"

# The options that a KVM in software asks for; elsewhere they do no harm.
OPTIONS = (
    "console=ttyS0 noxsave clearcpuid=smap,smep,popcnt,cx16,erms,fsrm no_timer_check tsc=reliable "
    "panic=-1 reboot=k"
)


def where(script):
    """The kernel that ``guest/linux/<script>`` has made, or None."""
    done = subprocess.run(
        [GUEST / script, "--where"], capture_output=True, text=True, check=False, timeout=60
    )
    path = Path(done.stdout.strip() or "/nonexistent")
    return path if path.exists() else None


class Linux:
    """``pykvm run`` with ``args``, in a network namespace if one is named; ``lines`` is the log
    so far. Its standard input is a terminal, for ``key``."""

    def __init__(self, *args, append="", namespace=None):
        command = ["ip", "netns", "exec", namespace] if namespace else []
        command += [sys.executable, "-m", "pykvm", "run", *map(str, args)]
        self.lines = []
        self._rest = b""
        self._keyboard, far = pty.openpty()
        self._process = subprocess.Popen(
            [*command, "--append", f"{OPTIONS} {append}".strip()],
            stdin=far, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        os.close(far)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self._process.terminate()
        self._process.wait(timeout=20)
        self._process.stdout.close()
        os.close(self._keyboard)

    def key(self, letter):
        """Ctrl-A and a key: what a person tells pykvm, not the guest."""
        os.write(self._keyboard, b"\x01" + letter.encode())

    def wait_for(self, text, seconds):
        """The first line from now on that has ``text``; fails with the log's end without one."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            line = self._line(left)
            if line is None:
                break
            if text in line:
                return line
        raise AssertionError(
            f"no line with {text!r}; the last ones:\n" + "\n".join(self.lines[-30:])
        )

    def end(self, seconds):
        """The exit status, when the guest ends by itself."""
        deadline = time.monotonic() + seconds
        while self._line(deadline - time.monotonic()) is not None:
            pass
        return self._process.wait(timeout=1)

    def _line(self, seconds):
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self._process.stdout], [], [], max(seconds, 0))
            data = os.read(self._process.stdout.fileno(), 1 << 16) if ready else b""
            if not data:
                return None
            self._rest += data
        line, self._rest = self._rest.split(b"\n", 1)
        self.lines.append(line.decode(errors="replace").rstrip("\r"))
        return self.lines[-1]
