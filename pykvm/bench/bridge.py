"""Several TAPs on one bridge, in the namespace that ``network.enter`` has made."""

from __future__ import annotations

import fcntl
import os
import socket
import struct

from pykvm.bench import network
from pykvm.errors import HostError
from pykvm.net.frames import DESTINATION

NAME = "pykvm-br"
_SIOCBRADDBR, _SIOCBRADDIF, _SIOCSIFHWADDR = 0x89A0, 0x89A2, 0x8924
_ARPHRD_ETHER = 1


def build() -> None:
    """Make the bridge. Its own address is where the bench's guests send, so that it takes their
    frames and floods none. Raises HostError."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            fcntl.ioctl(control, _SIOCBRADDBR, NAME.encode() + b"\0")
            address = struct.pack("16sH6s16x", NAME.encode(), _ARPHRD_ETHER, DESTINATION)
            fcntl.ioctl(control, _SIOCSIFHWADDR, address)
            network.quiet(NAME)
            network.bring_up(control, NAME)
    except OSError as error:
        raise HostError(
            f"cannot make a bridge: {error.strerror}; run this bench as root"
        ) from error


def add(tap: str, *, queues: int = 1) -> None:
    """Make a TAP with so many queues as a port of it. Raises HostError."""
    os.close(network.attach(tap, queues=queues, keep=True))
    network.quiet(tap)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            port = struct.pack("16si20x", NAME.encode(), socket.if_nametoindex(tap))
            fcntl.ioctl(control, _SIOCBRADDIF, port)
            network.bring_up(control, tap)
    except OSError as error:
        raise HostError(f"cannot add {tap} to a bridge: {error.strerror}") from error
