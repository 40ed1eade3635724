"""virtio-net with the kernel as its data plane, where the kernel has vhost-net."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pykvm.devices.virtio.net import vhost

pytestmark = [pytest.mark.kvm, pytest.mark.tap]

BUILD = Path(__file__).parents[2] / "guest" / "build"
PYKVM = str(Path(sys.executable).parent / "pykvm")
HAVE = vhost.available()
needs_vhost = pytest.mark.skipif(not HAVE, reason=f"no {vhost.PATH}: sudo modprobe vhost_net")


def run(nic, append, *args):
    """A guest in a network namespace that ends with it."""
    return subprocess.run(
        ["unshare", "--net", PYKVM, "run", str(BUILD / "virtio_nic.elf"), "--nic", nic,
         "--append", append, "--timeout", "60", *args],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip


@needs_vhost
@pytest.mark.parametrize("options", ["", ",transport=modern", ",queues=2"])
@pytest.mark.parametrize("kind", ["tx-60-64", "tx-1514-1", "tx-tso"])
def test_the_kernel_moves_a_guest_s_frames(options, kind):
    done = run(f"virtio-net,backend=tap,vhost=on{options}", f"kind={kind} frames=5000 irq=1")
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"BENCH {kind}" in done.stdout


@needs_vhost
def test_a_driver_with_intx_is_served_all_the_same():
    done = run("virtio-net,backend=tap,vhost=on,transport=legacy",
               "kind=tx-60-64 frames=5000 irq=1 transport=legacy")  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr


@pytest.mark.skipif(HAVE, reason="this host has vhost-net")
def test_without_vhost_net_on_says_what_to_load_and_auto_does_without():
    done = run("virtio-net,backend=tap,vhost=on", "frames=64")
    assert done.returncode == 4
    assert done.stderr.count("\n") == 2  # the interface's name, and the reason
    assert "modprobe vhost_net" in done.stderr
    done = run("virtio-net,backend=tap,vhost=auto", "kind=tx-60-64 frames=640 passes=1")
    assert done.returncode == 1, done.stdout + done.stderr


@pytest.mark.parametrize("nic", ["backend=null", "backend=loopback", "backend=tap,packed=on"])
def test_where_the_kernel_never_can_it_is_a_usage_error(nic):
    done = run(f"virtio-net,{nic},vhost=on", "frames=64")
    assert done.returncode == 2
    assert "vhost=on needs the backend tap" in done.stderr


def test_the_numbers_are_those_of_the_header(tmp_path):
    names = {
        "VHOST_GET_FEATURES": vhost._GET_FEATURES, "VHOST_SET_FEATURES": vhost._SET_FEATURES,
        "VHOST_SET_OWNER": vhost._SET_OWNER, "VHOST_SET_MEM_TABLE": vhost._SET_MEM_TABLE,
        "VHOST_SET_VRING_NUM": vhost._SET_VRING_NUM, "VHOST_SET_VRING_ADDR": vhost._SET_VRING_ADDR,
        "VHOST_SET_VRING_BASE": vhost._SET_VRING_BASE,
        "VHOST_GET_VRING_BASE": vhost._GET_VRING_BASE,
        "VHOST_SET_VRING_KICK": vhost._SET_VRING_KICK,
        "VHOST_SET_VRING_CALL": vhost._SET_VRING_CALL,
        "VHOST_NET_SET_BACKEND": vhost._NET_SET_BACKEND,
    }  # fmt: skip
    source = tmp_path / "numbers.c"
    lines = "".join(f'_Static_assert({name} == {value}, "");' for name, value in names.items())
    source.write_text(f"#include <linux/vhost.h>\n{lines}\n")
    subprocess.run(["gcc", "-c", "-o", os.devnull, str(source)], check=True)
