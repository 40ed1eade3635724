"""A guest's own ping and TCP through passt, run by a user who is nobody in particular."""

import contextlib
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.support.netns import inside, ip, namespace

pytestmark = [
    pytest.mark.kvm,
    pytest.mark.tap,
    pytest.mark.skipif(
        shutil.which("passt") is None, reason="passt is not installed: sudo apt-get install passt"
    ),
]

GUEST = Path(__file__).parents[2] / "guest" / "build" / "net_ping.elf"
NOBODY = 65534
CAPABILITIES = "-all,+dac_read_search"  # to read a checkout wherever it is, and nothing else
HERE, GATEWAY, SERVER, PORT = "192.0.2.1", "192.0.2.254", "198.51.100.1", 7777

# /dev/kvm may belong to root alone: in a mount namespace of its own nobody gets one that is open.
OPEN_KVM = """
mount -t tmpfs -o mode=755 none "$1" && mknod "$1/kvm" c 10 232 && chmod 666 "$1/kvm" &&
mount --bind "$1/kvm" /dev/kvm && shift && exec "$@"
"""


@pytest.fixture
def network():
    """A namespace that passt takes for a network: an address, a route, a server behind them."""
    with namespace("passt") as name:
        for command in (
            "link set lo up", f"addr add {SERVER}/32 dev lo", "tuntap add out0 mode tap",
            f"addr add {HERE}/24 dev out0", "link set out0 up", f"route add default via {GATEWAY}",
        ):  # fmt: skip
            ip(name, command)
        allow = ["sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647"]
        subprocess.run(["ip", "netns", "exec", name, *allow], check=True)
        yield name


@contextlib.contextmanager
def echo_server(network):
    """Sends back what it gets, on PORT inside the namespace."""
    server = inside(network, lambda: socket.create_server((SERVER, PORT)))

    def serve():
        with contextlib.suppress(OSError):
            peer, _ = server.accept()
            with peer:
                while data := peer.recv(65536):
                    peer.sendall(data)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


def test_a_user_without_rights_pings_and_talks_tcp(network, tmp_path):
    command = [
        "ip", "netns", "exec", network, "unshare", "--mount", "sh", "-c", OPEN_KVM, "sh",
        str(tmp_path), "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
        f"--inh-caps={CAPABILITIES}", f"--ambient-caps={CAPABILITIES}",
        f"--bounding-set={CAPABILITIES}", sys.executable, "-m", "pykvm", "run", str(GUEST),
        "--nic", "e1000,backend=passt", "--timeout", "60", "--append",
        f"ip={HERE} gw={GATEWAY} to={SERVER} port={PORT} bytes=200000",
    ]  # fmt: skip
    with echo_server(network):
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90,
            check=False,
        )  # fmt: skip
    assert "SUMMARY: 6 checks, 0 failures" in done.stdout, done.stdout + done.stderr
    assert "PASS: ping: 5 of 5 echoes" in done.stdout
    assert "PASS: tcp_echo: 200000 of 200000 bytes came back unchanged" in done.stdout
    assert done.returncode == 1
