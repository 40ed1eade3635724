"""User-mode networking without root: passt answers for the network on a socket.

passt(1) gives the guest an address by DHCP and forwards its TCP, UDP and ping, as a process of
yours.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable

from pykvm.backends.net_stream import StreamNet
from pykvm.errors import HostError
from pykvm.interfaces import EventLoop, Frame
from pykvm.net.vnet import VnetHeader

_PATIENCE = 5.0


def unpadded(frame: bytes) -> bytes:
    """``frame`` without what fills it up to Ethernet's shortest: passt of 2023 drops an IP packet
    that is shorter than the frame around it."""
    if frame[12:14] == b"\x08\x00":
        return frame[: 14 + int.from_bytes(frame[16:18], "big")]
    if frame[12:14] == b"\x86\xdd":
        return frame[: 54 + int.from_bytes(frame[18:20], "big")]
    return frame


class PasstNet(StreamNet):
    """Starts a passt of its own and ends it. Raises HostError when there is none, or it fails."""

    def __init__(self, loop: EventLoop, say: Callable[[str], None]) -> None:
        super().__init__(loop)
        program = shutil.which("passt")
        if program is None:
            raise HostError("--nic: passt is not installed: sudo apt-get install passt")
        # Started as root, passt becomes nobody, who must be able to make the socket.
        self._directory = tempfile.TemporaryDirectory(prefix="pykvm-passt-")
        os.chmod(self._directory.name, 0o777 if os.geteuid() == 0 else 0o700)
        self._socket_path = os.path.join(self._directory.name, "socket")
        self._process = subprocess.Popen(
            [program, "--foreground", "--quiet", "--one-off", "--socket", self._socket_path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        try:
            self.attach(self._connect())
        except BaseException:
            self.close()
            raise

    def send(self, frame: Frame, header: VnetHeader | None = None) -> None:
        super().send([memoryview(unpadded(b"".join(frame)))], header)

    def _connect(self) -> socket.socket:
        deadline = time.monotonic() + _PATIENCE
        while True:
            wire = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                wire.connect(self._socket_path)
                return wire
            except OSError as error:
                wire.close()
                if self._process.poll() is not None:
                    raise HostError(f"--nic: passt failed: {self._complaint()}") from error
                if time.monotonic() > deadline:
                    raise HostError("--nic: passt does not answer on its socket") from error
            time.sleep(0.01)

    def _complaint(self) -> str:
        assert self._process.stderr is not None
        lines = self._process.stderr.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"status {self._process.returncode}"

    def close(self) -> None:
        super().close()
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait()
        if self._process.stderr is not None:
            self._process.stderr.close()
        self._directory.cleanup()
