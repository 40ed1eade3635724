"""A Linux guest with a program of ours as its init, on QEMU without KVM and on pykvm."""

import contextlib
import re
import socket
import subprocess
import sys
import threading
from array import array
from dataclasses import dataclass, field
from pathlib import Path

from pykvm.bench.initramfs import DIRECTORY, PROGRAM, archive
from tests.support import netns
from tests.support.linux import OPTIONS
from tests.support.tap import namespace

BUILD = Path(__file__).parents[2] / "guest" / "build"
BUSYBOX = Path("/bin/busybox")
LONGEST = 180  # seconds, for a kernel that is emulated

SHELL = b"""#!/bin/busybox sh
echo "shell $(/bin/busybox uname -s) $((6 * 7))" | /bin/busybox tr a-z A-Z
exec /bin/busybox reboot -f
"""


def program(name):
    """The initramfs of ``linux-init`` or ``linux-init32``: that program alone."""
    return archive({"init": (PROGRAM, (BUILD / name).read_bytes())})


def shell():
    """One whose init is a script of Debian's static busybox."""
    return archive(
        {
            "bin": (DIRECTORY, b""),
            "bin/busybox": (PROGRAM, BUSYBOX.read_bytes()),
            "init": (PROGRAM, SHELL),
        }
    )


def root_disk(image, directory):
    """A disk with the same shell on a file system of its own, made in ``directory``."""
    for name in ("bin", "dev", "proc"):
        (directory / name).mkdir(parents=True)
    (directory / "bin/busybox").write_bytes(BUSYBOX.read_bytes())
    (directory / "init").write_bytes(SHELL)
    for name in ("bin/busybox", "init"):
        (directory / name).chmod(0o755)
    command = ["mke2fs", "-q", "-t", "ext2", "-d", directory, image, "8M"]
    subprocess.run(command, check=True, capture_output=True)


@dataclass
class Guest:
    """What is booted; ``nic`` is e1000 or virtio-net, ``disk`` and ``console`` are paths."""

    kernel: Path
    initrd: Path | None
    words: str = ""
    cpus: int = 1
    memory: int = 128
    nic: str = ""
    disk: Path | None = None
    console: Path | None = None
    rng: bool = False


@dataclass
class Outcome:
    """How it ended, and what it printed: ``checks`` is {name: (ok or FAIL, detail)}."""

    status: int
    log: str
    checks: dict = field(init=False)

    def __post_init__(self):
        found = re.findall(r"^INIT (ok|FAIL) (\S+): (.*?)\r?$", self.log, re.MULTILINE)
        self.checks = {name: (verdict, detail) for verdict, name, detail in found}


def _run(command):
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            log, _ = process.communicate(timeout=LONGEST)
        except subprocess.TimeoutExpired:
            process.kill()
            log, _ = process.communicate()
            tail = log.decode(errors="replace")[-3000:]
            raise AssertionError(f"no end after {LONGEST} s; the log's:\n{tail}") from None
    return Outcome(process.returncode, log.decode(errors="replace"))


class Qemu:
    """QEMU emulates user space, too. Its network has a DHCP server and shows the host's loopback
    interface at 10.0.2.2."""

    ip = "dhcp"
    address = "10.0.2.15"
    gateway = "10.0.2.2"

    def boot(self, guest):
        words = [
            "qemu-system-x86_64", "-accel", "tcg", "-M", "pc", "-m", str(guest.memory),
            "-smp", f"{guest.cpus},sockets={guest.cpus}",  # SeaBIOS's MP table has a row a socket
            "-display", "none", "-serial", "stdio", "-no-reboot", "-nic",
            f"user,model={guest.nic}".replace("virtio-net", "virtio-net-pci")
            if guest.nic else "none",
            "-device", "isa-debug-exit,iobase=0xf4,iosize=4",
            "-kernel", str(guest.kernel),
            "-append", f"console=ttyS0 panic=-1 reboot=k {guest.words}",
        ]  # fmt: skip
        if guest.initrd:
            words += ["-initrd", str(guest.initrd)]
        if guest.disk:
            words += ["-drive", f"file={guest.disk},format=raw,if=virtio"]
        if guest.console:
            words += ["-device", "virtio-serial-pci", "-device", "virtconsole,chardev=hvc"]
            words += ["-chardev", f"file,id=hvc,path={guest.console}"]
        if guest.rng:
            words += ["-device", "virtio-rng-pci"]
        return _run(words)

    @contextlib.contextmanager
    def server(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            yield server


class Pykvm:
    """pykvm, where KVM runs user space. ``place`` is a namespace with a TAP, for a card."""

    ip = "192.0.2.2::192.0.2.1:255.255.255.0::eth0:off"
    address = "192.0.2.2"
    gateway = "192.0.2.1"

    def __init__(self, place=None):
        self._place = place

    def boot(self, guest):
        words = ["ip", "netns", "exec", self._place] if self._place else []
        words += [
            sys.executable, "-m", "pykvm", "run", str(guest.kernel), "-m", f"{guest.memory}M",
            "--cpus", str(guest.cpus), "--append", f"{OPTIONS} {guest.words}",
        ]  # fmt: skip
        if guest.initrd:
            words += ["--initrd", str(guest.initrd)]
        if guest.nic:
            words += ["--nic", f"{guest.nic},backend=tap:tap0"]
        if guest.disk:
            words += ["--disk", str(guest.disk)]
        if guest.console:
            words += ["--console", f"file:{guest.console}"]
        if guest.rng:
            words += ["--rng"]
        return _run(words)

    @contextlib.contextmanager
    def server(self):
        with netns.inside(self._place, lambda: socket.create_server((self.gateway, 0))) as server:
            yield server


@contextlib.contextmanager
def pykvm_on_a_tap():
    """A Pykvm whose cards are on a TAP of the host's."""
    with namespace() as place:
        netns.ip(place, f"addr add {Pykvm.gateway}/24 dev tap0")
        yield Pykvm(place)


class Taker:
    """Takes one connection in a thread, reads it to its end, and closes it."""

    def __init__(self, server):
        self.data = bytearray()
        self._server = server
        self._thread = threading.Thread(target=self._take)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc):
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)  # who never came is not waited for
        self._thread.join()

    def _take(self):
        with contextlib.suppress(OSError):
            peer, _ = self._server.accept()
            with peer:
                while piece := peer.recv(1 << 20):
                    self.data += piece


def numbered(count):
    """The first ``count`` bytes of the stream that the init sends: 64-bit words from 0 on."""
    return array("Q", range((count + 7) // 8)).tobytes()[:count]
