"""Linux's own drivers on pykvm's cards: DHCP, ping, netconsole, and a cable that is pulled.

The kernel does all of it without a user space: it waits for a root device that never comes.
"""

import re
import shutil
import socket
import subprocess
from contextlib import contextmanager

import pytest

from tests.support import netns, tap
from tests.support.linux import Linux, where

pytestmark = [pytest.mark.kvm, pytest.mark.tap, pytest.mark.linux]

BOOTED = 180  # seconds, on a slow machine that emulates the kernel
HERE, GUEST, MAC = "10.77.0.1", "10.77.0.50", "52:54:00:12:34:56"
PORT = 6666  # netconsole's
SIZES = (56, 57, 1000, 1471, 1472, 1473, 3000, 5000, 7000, 9000)  # about a frame's, and fragments
EACH = 100

CARDS = {  # --nic, processors, what its driver says
    "e1000": ("e1000", 1, "eth0: Intel(R) PRO/1000 Network Connection"),
    "virtio-modern": ("virtio-net,transport=modern", 2, "virtio-pci 0000:00:03.0"),
    "virtio-legacy": ("virtio-net,transport=legacy", 1, "leaving for legacy driver"),
}


@contextmanager
def network(directory):
    """A namespace with a TAP, and a DHCP server on it that knows the guest."""
    if shutil.which("dnsmasq") is None:
        pytest.skip("dnsmasq is not installed: sudo apt-get install dnsmasq-base")
    with tap.namespace() as name:
        netns.ip(name, f"addr add {HERE}/24 dev tap0")
        command = f"""ip netns exec {name} dnsmasq --keep-in-foreground --conf-file=/dev/null
            --user=root --group=root --pid-file= --log-facility=/dev/null --port=0
            --interface=tap0 --bind-interfaces --dhcp-range={GUEST},{GUEST},5m
            --dhcp-host={MAC},{GUEST} --no-ping --dhcp-leasefile={directory}/leases"""
        server = subprocess.Popen(command.split(), stdin=subprocess.DEVNULL)
        try:
            yield name
        finally:
            server.terminate()
            server.wait(timeout=10)


def udp(port):
    """A socket that hears what comes to ``port``."""
    heard = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    heard.bind(("", port))
    return heard


def answered(name, size, count):
    """How many of ``count`` pings were, each as it was sent: ping compares."""
    done = subprocess.run(
        ["ip", "netns", "exec", name, "ping", "-q", "-A", "-W", "2", "-c", str(count),
         "-s", str(size), GUEST],
        capture_output=True, text=True, timeout=BOOTED, check=False,
    )  # fmt: skip
    found = re.search(r"packets transmitted, (\d+) received", done.stdout)
    assert found, done.stdout + done.stderr
    assert "wrong data byte" not in done.stdout
    return int(found[1])


def heard(log, text):
    """What the guest sends by netconsole until it has said ``text``."""
    log.settimeout(BOOTED)
    so_far = ""
    while text not in so_far:
        so_far += log.recv(2048).decode(errors="replace")
    return so_far


@pytest.mark.slow
@pytest.mark.parametrize("card", CARDS)
def test_linux_gets_an_address_answers_pings_logs_and_follows_the_cable(card, tmp_path):
    nic, cpus, found = CARDS[card]
    args = (where("build.sh") / "bzImage", "-m", "96M", "--cpus", cpus, "--nic",
            f"{nic},backend=tap:tap0,mac={MAC}")  # fmt: skip
    wishes = f"ip=dhcp root=/dev/none rootwait netconsole=@{GUEST}/,{PORT}@{HERE}/"
    with (
        network(tmp_path) as name,
        netns.inside(name, lambda: udp(PORT)) as log,
        Linux(*args, append=wishes, namespace=name) as guest,
    ):
        guest.key("n")
        guest.wait_for("network cables are pulled", BOOTED)
        guest.wait_for(found, BOOTED)
        guest.wait_for("netconsole: timeout waiting for carrier", BOOTED)
        guest.key("n")
        guest.wait_for(f"my address is {GUEST}", BOOTED)
        guest.wait_for("Waiting for root device", BOOTED)
        assert f"my address is {GUEST}" in heard(log, "Waiting for root device")
        for size in SIZES:
            assert answered(name, size, EACH) == EACH, f"pings of {size} bytes"
        guest.key("n")
        if card == "e1000":  # Linux's virtio driver says nothing of it
            guest.wait_for("eth0 NIC Link is Down", BOOTED)
        assert answered(name, 56, 2) == 0
        guest.key("n")
        guest.wait_for("network cables are plugged in", BOOTED)
        assert answered(name, 9000, 5) == 5
    assert cpus == 1 or "smp: Brought up 1 node, 2 CPUs" in "\n".join(guest.lines)
