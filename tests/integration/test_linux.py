"""Real Linux kernels, started by each protocol that they have."""

import pytest

from pykvm.bench.initramfs import DIRECTORY, PROGRAM, archive
from tests.support.linux import Linux, where

pytestmark = [pytest.mark.kvm, pytest.mark.linux]

BOOTED = 120  # seconds, on a slow machine that emulates the kernel
# Half of a stock kernel's time where it is emulated goes into these two.
HURRY = "mitigations=off initcall_blacklist=ftrace_check_for_weak_functions"


@pytest.fixture(scope="module")
def kernel():
    """The directory of the lean kernel that ``make linux-guest`` builds."""
    return where("build.sh")


@pytest.fixture
def initrd(tmp_path):
    path = tmp_path / "initrd"
    path.write_bytes(archive({"dev": (DIRECTORY, b""), "init": (PROGRAM, b"not a program")}))
    return path


def test_a_bzimage_finds_memory_command_line_and_initrd_and_reboots(kernel, initrd):
    with Linux(
        kernel / "bzImage", "-m", "96M", "--initrd", initrd, append="first second=2"
    ) as guest:
        guest.wait_for("Linux version 6.1", BOOTED)
        assert guest.wait_for("Command line:", BOOTED).endswith("first second=2")
        guest.wait_for("[mem 0x0000000000100000-0x0000000005ffffff] usable", BOOTED)
        guest.wait_for("Run /init as init process", BOOTED)
        guest.wait_for("Failed to execute /init (error -8)", BOOTED)  # it is there, and no program
        assert guest.end(BOOTED) == 0
    log = "\n".join(guest.lines)
    assert "random: crng init done" in log  # seeded by setup_data
    assert "Hypervisor detected: KVM" in log


def test_a_vmlinux_starts_by_its_pvh_note(kernel, initrd):
    with Linux(kernel / "vmlinux", "--mode", "pvh", "-m", "96M", "--initrd", initrd) as guest:
        guest.wait_for("Linux version 6.1", BOOTED)
        guest.wait_for("[mem 0x0000000000100000-0x0000000005ffffff] usable", BOOTED)
        guest.wait_for("Run /init as init process", BOOTED)


def test_a_vmlinux_starts_by_the_64_bit_protocol(kernel):
    with Linux(kernel / "vmlinux", "-m", "96M", append="earlyprintk=serial,ttyS0") as guest:
        guest.wait_for("Linux version 6.1", BOOTED)
        guest.wait_for("PCI host bridge to bus 0000:00", BOOTED)


def test_an_smp_kernel_without_acpi_finds_processors_and_pci_lines(kernel):
    args = ("--cpus", "2", "-m", "96M", "--nic", "e1000")
    with Linux(kernel / "bzImage", *args, append="earlyprintk=serial,ttyS0") as guest:
        guest.wait_for("found SMP MP-table at [mem 0x000f8000", BOOTED)
        guest.wait_for("smp: Brought up 1 node, 2 CPUs", BOOTED)
        guest.wait_for("e1000 0000:00:03.0: PCI->APIC IRQ transform: INT A -> IRQ 11", BOOTED)


@pytest.mark.slow
def test_with_kaslr_the_kernels_own_decompressor_runs(kernel):
    with Linux(kernel / "bzImage", "--kaslr", append="earlyprintk=serial,ttyS0") as guest:
        guest.wait_for("Linux version 6.1", BOOTED)


@pytest.mark.slow
@pytest.mark.stock
def test_debians_own_kernel_starts_from_its_vmlinuz_and_finds_the_devices():
    args = ("-m", "256M", "--nic", "e1000", "--nic", "virtio-net")
    with Linux(where("stock.sh"), *args, append=f"earlyprintk=serial,ttyS0 {HURRY}") as guest:
        assert "debian" in guest.wait_for("Linux version 6.1", BOOTED)
        guest.wait_for("BIOS-e820: [mem 0x0000000000100000-0x000000000fffffff] usable", BOOTED)
        guest.wait_for("Booting paravirtualized kernel on KVM", BOOTED)
        guest.wait_for("Memory: ", BOOTED)
        guest.wait_for("PCI host bridge to bus 0000:00", 2 * BOOTED)
        guest.wait_for("pci 0000:00:03.0: [8086:100e] type 00 class 0x020000", BOOTED)
        guest.wait_for("pci 0000:00:04.0: [1af4:1000] type 00 class 0x020000", BOOTED)
    log = "\n".join(guest.lines)
    assert "ACPI: PM-Timer IO Port: 0x608" in log
    assert "ACPI: Using ACPI (MADT) for SMP configuration information" in log
    assert "ACPI BIOS" not in log  # how a complaint about tables begins
