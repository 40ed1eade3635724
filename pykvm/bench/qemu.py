"""QEMU as the peer: the same guest image, its serial output line by line, its CPU time.

Benches of cards compare with several: that of PATH, those that the command or PYKVM_QEMU names, and
the newest one that `make newest-qemu` has fetched into the cache.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pykvm.bench.figures import user_seconds
from pykvm.errors import HostError, UsageError

PROGRAM = "qemu-system-x86_64"
VARIABLE = "PYKVM_QEMU"
_OF_QEMU = re.compile(r"\S*qemu\S*: ")  # how each of its messages begins
_HARMLESS = re.compile(r"(^|: )(warning|info): ")


@dataclass(frozen=True)
class Peer:
    """One QEMU. ``key`` names it in results: ``qemu`` for the first, ``qemu-11.1.3`` for others."""

    program: str
    version: str
    key: str = "qemu"

    @property
    def title(self) -> str:
        """How a table calls it."""
        return f"QEMU {self.version}"


def peers(given: Sequence[str] = ()) -> list[Peer]:
    """Every QEMU to measure, each once: that of PATH, the ``given`` ones, those in PYKVM_QEMU with
    colons between them, the one in the cache. Raises UsageError for a given one that is none."""
    named = [*given, *filter(None, os.environ.get(VARIABLE, "").split(":"))]
    found: dict[str, Peer] = {}
    for program in filter(None, [path(), *named, cached()]):
        real = os.path.realpath(shutil.which(program) or program)
        if real in found:
            continue
        try:
            is_version = version(program)
        except (OSError, subprocess.SubprocessError, IndexError) as error:
            if program in named:
                raise UsageError(f"{program} is no QEMU that starts: {error}") from error
            continue
        key = f"qemu-{is_version}" if found else "qemu"
        while any(key == peer.key for peer in found.values()):
            key += "+"
        found[real] = Peer(program, is_version, key)
    return list(found.values())


def versions(peers: Sequence[Peer]) -> str | None:
    """``7.2.22, 11.1.3``; None of none."""
    return ", ".join(peer.version for peer in peers) or None


def cached() -> str | None:
    """Where `make newest-qemu` has put its own, or None."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return shutil.which(str(Path(home, "pykvm", "qemu", PROGRAM)))


def path() -> str | None:
    """Where QEMU is, or None."""
    return shutil.which(PROGRAM)


def named(measured: str | None) -> str:
    """How a table calls the QEMU of that version; None is none."""
    if measured is not None:
        return f"QEMU {measured}"
    return "QEMU: left out" if path() else "QEMU: not installed"


def version(program: str = PROGRAM) -> str:
    """``7.2.22`` or the like."""
    out = subprocess.run(
        [program, "--version"], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    return out.split("version ")[1].split()[0]


def command(
    image: str, append: str, *, machine: str = "pc", memory: int = 128, program: str = PROGRAM
) -> list[str]:
    """What to type for a guest with a serial port on stdin and stdout, and no other device.

    ``memory`` is in MiB. The guest's debug exit is QEMU's end.
    """
    # arch-capabilities: a QEMU older than the host's KVM is refused over its bits.
    return [
        program, "-accel", "kvm", "-cpu", "host,-arch-capabilities", "-M", machine,
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
        pass_fds: tuple[int, ...] = (), program: str = PROGRAM,
    ) -> None:  # fmt: skip
        self._process = subprocess.Popen(
            [*command(image, append, program=program), *extra],
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
        why = failure(errors.decode(errors="replace"))
        if self._process.returncode == 1 and why:
            raise HostError(f"QEMU failed: {why}")
        return self._process.returncode


def failure(errors: str) -> str | None:
    """The first line of what QEMU has said that is neither a warning nor belongs to one.

    The status alone does not tell: 1 is how QEMU fails, and how a guest ends that wrote 0 to the
    debug exit.
    """
    harmless = False
    for line in filter(None, errors.splitlines()):
        if begins := _OF_QEMU.match(line):
            harmless = bool(_HARMLESS.search(line, begins.end() - 2))
        if not harmless:
            return line
    return None
