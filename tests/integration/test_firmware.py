"""SeaBIOS, as Debian has it: its banner, an option ROM, a disk's boot sector."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.linux import Linux

pytestmark = pytest.mark.kvm

SEABIOS = Path("/usr/share/seabios/bios-256k.bin")
IPXE = Path("/usr/lib/ipxe/qemu/pxe-e1000.rom")
PYKVM = str(Path(sys.executable).parent / "pykvm")
PATIENCE = 60


@pytest.fixture
def seabios():
    if not SEABIOS.exists():
        pytest.skip("SeaBIOS is not installed: sudo apt-get install seabios")
    return str(SEABIOS)


def run(*args):
    return subprocess.run(
        [PYKVM, "run", *args], capture_output=True, text=True, check=False, timeout=PATIENCE,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_seabios_prints_its_banner_and_finds_the_machine(seabios, tmp_path):
    log = tmp_path / "log"
    with Linux("--firmware", seabios, "--cpus", "2", "--debugcon", f"file:{log}") as guest:
        guest.wait_for("SeaBIOS (version", PATIENCE)
        guest.wait_for("No bootable device", PATIENCE)
    text = log.read_text()
    assert "Found QEMU fw_cfg" in text
    assert "QEMU fw_cfg DMA interface supported" in text
    assert "Found 2 cpu(s)" in text


def test_it_boots_a_disk_by_its_boot_sector(seabios, tmp_path):
    disk = tmp_path / "disk"
    code = bytes.fromhex("b005 e6f4")  # exits with 5
    disk.write_bytes(code.ljust(510, b"\0") + b"\x55\xaa" + bytes(1 << 20))
    done = run("--firmware", seabios, "--disk", str(disk))
    assert done.returncode == 11, done.stdout


def test_it_runs_an_option_rom(seabios):
    if not IPXE.exists():
        pytest.skip("iPXE is not installed: sudo apt-get install ipxe-qemu")
    rom = f"name=genroms/ipxe.rom,file={IPXE}"
    with Linux("--firmware", seabios, "--nic", "e1000", "--fw-cfg", rom) as guest:
        guest.wait_for("iPXE (http://ipxe.org)", PATIENCE)
        guest.wait_for("iPXE initialising devices...", PATIENCE)
        guest.wait_for("net0: 52:54:00:12:34:56 using 82540em", PATIENCE)


def test_an_image_and_firmware_are_one_too_many(seabios):
    done = run("guest.elf", "--firmware", seabios)
    assert done.returncode == 2
    assert "an IMAGE, or --firmware FILE" in done.stderr
    assert run().returncode == 2
