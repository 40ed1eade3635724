"""Our own init, and a shell, in a Linux guest. QEMU runs them on any host, since it needs no KVM
for it; pykvm where a guest's system calls arrive, or can be finished."""

import pytest

from pykvm.kvm.system import Kvm
from pykvm.machine import probe_syscall
from tests.support.linux import where
from tests.support.linux_init import (
    BUSYBOX,
    Guest,
    Pykvm,
    Qemu,
    Taker,
    numbered,
    program,
    pykvm_on_a_tap,
    root_disk,
    shell,
)

INITS = {"linux-init": "x86_64", "linux-init32": "i386"}
DRIVERS = {"e1000": "e1000", "virtio-net": "virtio_net"}
QEMU = pytest.param("qemu", marks=pytest.mark.qemu)
busybox = pytest.mark.skipif(
    not BUSYBOX.exists(), reason="no static busybox: sudo apt-get install busybox-static"
)


def finished_here():
    """Whether pykvm has to finish system calls, and can."""
    with Kvm() as kvm:
        return probe_syscall.must_be_finished(kvm)


def need_user_space():
    with Kvm() as kvm:
        ring = probe_syscall.ring(kvm)
    if ring != 0 and not finished_here():
        pytest.skip("this host's KVM runs no Linux user space (see: pykvm doctor)")


@pytest.fixture(params=[QEMU, pytest.param("pykvm", marks=pytest.mark.kvm)])
def host(request):
    if request.param == "qemu":
        return Qemu()
    need_user_space()
    return Pykvm()


@pytest.fixture(params=[QEMU, pytest.param("pykvm", marks=[pytest.mark.kvm, pytest.mark.tap])])
def wired(request):
    """A host that has a network for its guest."""
    if request.param == "qemu":
        yield Qemu()
        return
    need_user_space()
    with pykvm_on_a_tap() as host:
        yield host


@pytest.fixture
def guest(tmp_path):
    """The lean kernel with the 64-bit init."""
    return with_program(Guest(where("build.sh") / "bzImage", tmp_path / "initrd"), "linux-init")


def with_program(guest, name):
    guest.initrd.write_bytes(program(name))
    return guest


@pytest.mark.linux
@pytest.mark.parametrize(
    ("name", "nic"), [("linux-init", "e1000"), ("linux-init32", "virtio-net")], ids=INITS.values()
)
def test_the_init_finds_every_device_at_work(wired, guest, tmp_path, name, nic):
    with_program(guest, name)
    first = bytes(range(256)) * 2
    guest.disk, guest.console = tmp_path / "disk", tmp_path / "console"
    guest.disk.write_bytes(first + bytes((4 << 20) - len(first)))
    guest.cpus, guest.rng, guest.nic = 2, True, nic
    guest.words = (
        "pykvm.check=cpus,memory,time,rng,net,disk,console pykvm.end=debug "
        f"pykvm.cpus=2 pykvm.memory={guest.memory} ip={wired.ip}"
    )
    done = wired.boot(guest)
    assert {verdict for verdict, _ in done.checks.values()} == {"ok"}, done.log
    assert done.status == 1
    found = {check: detail for check, (_, detail) in done.checks.items()}
    assert list(found) == "start cpus memory time rng net disk console".split()
    assert found["start"] == INITS[name]
    assert found["cpus"] == "2 online"
    assert found["rng"] == "getrandom, hwrng virtio_rng.0"
    assert found["net"].startswith(f"eth0 {DRIVERS[nic]} 52:54:00:")
    assert found["net"].endswith(f"carrier on {wired.address}")
    assert found["disk"] == f"/dev/vda {4 << 20} bytes"
    assert guest.disk.read_bytes()[-512:] == first
    assert b"INIT on hvc0" in guest.console.read_bytes()


@pytest.mark.linux
@pytest.mark.parametrize(
    ("name", "nic"), [("linux-init", "virtio-net"), ("linux-init32", "e1000")], ids=INITS.values()
)
def test_a_stream_over_tcp_arrives_whole(wired, guest, name, nic):
    count = (8 << 20) + 5
    with_program(guest, name).nic = nic
    with wired.server() as server, Taker(server) as taker:
        to = f"{wired.gateway},{server.getsockname()[1]}"
        guest.words = f"ip={wired.ip} pykvm.stream=tcp,{to},{count} pykvm.end=debug"
        done = wired.boot(guest)
    verdict, detail = done.checks["stream"]
    assert verdict == "ok", detail
    assert detail.startswith(f"{count} bytes in ")
    assert taker.data == numbered(count)
    assert done.status == 1


@pytest.mark.linux
def test_what_is_not_so_is_said_and_shows_in_the_status(host, guest):
    guest.words = (
        "pykvm.check=cpus,memory,net,disk,console,nonsense pykvm.cpus=3 pykvm.memory=512 "
        "pykvm.stream=tcp,10.0.2.2,99999,1 pykvm.end=debug"
    )
    done = host.boot(guest)
    assert done.checks == {
        "start": ("ok", "x86_64"),
        "cpus": ("FAIL", "1 online, expected 3"),
        "memory": ("FAIL", done.checks["memory"][1]),
        "net": ("FAIL", "eth0: error 19"),
        "disk": ("FAIL", "/dev/vda: error 2"),
        "console": ("FAIL", "/dev/hvc0: error 2"),
        "nonsense": ("FAIL", "no such check"),
        "stream": ("FAIL", "pykvm.stream=tcp,IP,PORT,BYTES expected"),
    }
    assert done.checks["memory"][1].endswith(f", of {512 << 10}")
    assert done.status == 3


@pytest.mark.linux
def test_a_restart_ends_the_run(host, guest):
    guest.words = "pykvm.end=restart"
    done = host.boot(guest)
    assert list(done.checks) == ["start"]
    assert done.status == 0


@pytest.mark.linux
@busybox
def test_a_shell_runs_in_the_lean_kernel(host, guest):
    guest.initrd.write_bytes(shell())
    done = host.boot(guest)
    assert "SHELL LINUX 42" in done.log
    assert done.status == 0


@pytest.mark.linux
@busybox
def test_a_root_file_system_lies_on_a_virtio_disk(host, guest, tmp_path):
    guest.initrd, guest.disk = None, tmp_path / "root.img"
    root_disk(guest.disk, tmp_path / "root")
    guest.words = "root=/dev/vda init=/init"
    done = host.boot(guest)
    assert "VFS: Mounted root (ext2 filesystem) readonly on device" in done.log
    assert "SHELL LINUX 42" in done.log
    assert done.status == 0


@pytest.mark.slow
@pytest.mark.stock
@busybox
def test_a_shell_runs_in_debians_own_kernel(host, tmp_path):
    if isinstance(host, Pykvm) and finished_here():
        pytest.skip("takes minutes where KVM is software (see: pykvm doctor)")
    guest = Guest(where("stock.sh"), tmp_path / "initrd", memory=512)
    guest.initrd.write_bytes(shell())
    done = host.boot(guest)
    assert "SHELL LINUX 42" in done.log
    assert done.status == 0
