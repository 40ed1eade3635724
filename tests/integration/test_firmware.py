"""SeaBIOS, as Debian has it: its banner, an option ROM, a disk's boot sector."""

import struct
import subprocess
import sys
from pathlib import Path

import pytest

from pykvm.machine.config import Config, DiskConfig
from pykvm.machine.machine import Machine
from tests.support import netboot
from tests.support.linux import Linux

pytestmark = pytest.mark.kvm

SEABIOS = Path("/usr/share/seabios/bios-256k.bin")
IPXE = Path("/usr/lib/ipxe/qemu")
PYKVM = str(Path(sys.executable).parent / "pykvm")
PATIENCE, MIB = 120, 1 << 20


@pytest.fixture
def seabios():
    if not SEABIOS.exists():
        pytest.skip("SeaBIOS is not installed: sudo apt-get install seabios")
    return str(SEABIOS)


def ipxe(model):
    """iPXE for a card of ``model``."""
    rom = IPXE / f"pxe-{model.removesuffix('-net')}.rom"
    if not rom.exists():
        pytest.skip("iPXE is not installed: sudo apt-get install ipxe-qemu")
    return rom


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
    disk = boot_disk(tmp_path, bytes.fromhex("b005 e6f4"))  # exits with 5
    done = run("--firmware", seabios, "--disk", disk)
    assert done.returncode == 11, done.stdout


FIND_RSDP = (  # in the F segment, at multiples of 16: exits with 5 if it is there, with 1 if not
    bytes.fromhex("b800f0 8ec0 31ff 2666813d") + b"RSD " + bytes.fromhex("7409 83c710 75f1")
    + bytes.fromhex("b001 e6f4 b005 e6f4")
)  # fmt: skip


def boot_disk(tmp_path, code):
    disk = tmp_path / "disk"
    disk.write_bytes(code.ljust(510, b"\0") + b"\x55\xaa" + bytes(1 << 20))
    return str(disk)


@pytest.mark.parametrize("acpi", [True, False])
def test_it_places_the_acpi_tables(seabios, tmp_path, acpi):
    disk = DiskConfig.parse(boot_disk(tmp_path, FIND_RSDP))
    config = Config(
        image=seabios, firmware=True, serial="null", timeout=PATIENCE, cpus=2, disks=(disk,),
        acpi=acpi,
    )  # fmt: skip
    with Machine(config) as machine:
        outcome = machine.run()
        memory = machine.memory.read(0, machine.memory.low_size)
    assert outcome.status == (5 if acpi else 1) << 1 | 1, outcome
    if not acpi:
        return
    rsdp = next(at for at in range(0xF_0000, MIB, 16) if memory[at : at + 8] == b"RSD PTR ")
    assert sum(memory[rsdp : rsdp + 20]) % 256 == sum(memory[rsdp : rsdp + 36]) % 256 == 0

    def table(address):
        (size,) = struct.unpack_from("<I", memory, address + 4)
        return memory[address : address + size]

    xsdt = table(struct.unpack_from("<Q", memory, rsdp + 24)[0])
    fadt, madt = map(table, struct.unpack("<2Q", xsdt[36:]))
    facs, dsdt = (table(at) for at in struct.unpack_from("<II", fadt, 36))
    assert [t[:4] for t in (fadt, madt, dsdt, facs)] == [b"FACP", b"APIC", b"DSDT", b"FACS"]
    assert all(sum(t) % 256 == 0 for t in (xsdt, fadt, madt, dsdt))


def test_it_runs_an_option_rom(seabios):
    rom = f"name=genroms/ipxe.rom,file={ipxe('e1000')}"
    with Linux("--firmware", seabios, "--nic", "e1000", "--fw-cfg", rom) as guest:
        guest.wait_for("iPXE (http://ipxe.org)", PATIENCE)


def test_a_card_s_own_option_rom_finds_the_card(seabios):
    # SeaBIOS runs a ROM whose device ID is the card's, and this one's is that of a modern card.
    card = f"virtio-net,transport=modern,rom={ipxe('virtio-net')}"
    with Linux("--firmware", seabios, "--nic", card) as guest:
        guest.wait_for("iPXE (http://ipxe.org) 00:03.0", PATIENCE)
        guest.wait_for("net0: 52:54:00:12:34:56 using virtio-net", PATIENCE)


def test_a_card_s_own_option_rom_boots_from_the_network(seabios):
    network = "backend=python:tests.support.netboot:answer"
    done = run("--firmware", seabios, "--nic", f"e1000,{network},rom={ipxe('e1000')}")
    assert "net0: 52:54:00:12:34:56 using 82540em on 0000:00:03.0" in done.stdout
    assert f"tftp://10.0.2.2/{netboot.FILE}" in done.stdout
    assert done.returncode == 5 << 1 | 1, done.stdout


@pytest.mark.parametrize("data", [b"\x55", b"PK\3\4" * 128, b"\x55\xaa" + bytes(256 << 10)])
def test_what_is_no_option_rom_is_refused(seabios, tmp_path, data):
    file = tmp_path / "rom"
    file.write_bytes(data)
    done = run("--firmware", seabios, "--nic", f"e1000,rom={file}")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "not an option ROM" in done.stderr


def test_an_image_and_firmware_are_one_too_many(seabios):
    done = run("guest.elf", "--firmware", seabios)
    assert done.returncode == 2
    assert "an IMAGE, or --firmware FILE" in done.stderr
    assert run().returncode == 2
