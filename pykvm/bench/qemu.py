"""QEMU as the peer: the same guest image, its serial output line by line, its CPU time."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

from pykvm.bench.figures import user_seconds
from pykvm.errors import HostError

PROGRAM = "qemu-system-x86_64"


def path() -> str | None:
    """Where QEMU is, or None."""
    return shutil.which(PROGRAM)


def named(measured: str | None) -> str:
    """How a table calls the QEMU of that version; None is none."""
    if measured is not None:
        return f"QEMU {measured}"
    return "QEMU: left out" if path() else "QEMU: not installed"


def version() -> str:
    """``7.2.22`` or the like."""
    out = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout
    return out.split("version ")[1].split()[0]


def command(image: str, append: str, *, machine: str = "pc", memory: int = 128) -> list[str]:
    """What to type for a guest with a serial port on stdin and stdout, and no other device.

    ``memory`` is in MiB. The guest's debug exit is QEMU's end.
    """
    # arch-capabilities: a QEMU older than the host's KVM is refused over its bits.
    return [
        PROGRAM, "-accel", "kvm", "-cpu", "host,-arch-capabilities", "-M", machine,
        "-m", str(memory), "-nodefaults", "-no-user-config", "-display", "none",
        "-serial", "stdio", "-no-reboot", "-kernel", image, "-append", append,
        "-device", "isa-debug-exit,iobase=0xf4,iosize=4",
    ]  # fmt: skip


def tap_card(device: str, tap: str, pairs: int = 1) -> tuple[str, str]:
    """The values of ``-netdev`` and ``-device`` for a card on a TAP, without vhost. A virtio-net
    with several pairs of queues has a vector for each queue, for control and configuration."""
    netdev = f"tap,id=n0,ifname={tap},script=no,downscript=no,vhost=off"
    if pairs == 1:
        return netdev, f"{device},netdev=n0"
    return f"{netdev},queues={pairs}", f"{device},netdev=n0,mq=on,vectors={2 * pairs + 2}"


class Qemu:
    """One QEMU under KVM on a guest image; iterate over it for the guest's lines.

    A context manager: the process is gone at its end, whatever happened.
    """

    def __init__(
        self, image: str, append: str = "", extra: tuple[str, ...] = (), *,
        pass_fds: tuple[int, ...] = (),
    ) -> None:  # fmt: skip
        self._process = subprocess.Popen(
            [*command(image, append), *extra],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=pass_fds,
        )

    def __enter__(self) -> Qemu:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()

    def __iter__(self) -> Iterator[str]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            yield line.decode(errors="replace").rstrip("\r\n")

    def type(self, data: bytes) -> None:
        """Input for the guest's serial port."""
        assert self._process.stdin is not None
        self._process.stdin.write(data)
        self._process.stdin.flush()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> int:
        """Where the guest's serial output comes from, for those who do not iterate."""
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def user_seconds(self) -> float:
        """User CPU so far, without the time inside the guest."""
        return user_seconds(f"/proc/{self._process.pid}/stat")

    def finish(self) -> int:
        """Wait for its end; the exit status. Raises HostError when QEMU itself failed."""
        _, errors = self._process.communicate(timeout=60)
        if self._process.returncode == 1 and errors:
            raise HostError(f"QEMU failed: {errors.decode(errors='replace').splitlines()[0]}")
        return self._process.returncode
