"""Guests started by other people's boot protocols, each of a few instructions."""

import gzip
import subprocess
import sys

import pytest

from tests.support.images import LINUX, PVH, bzimage, elf32, elf64, multiboot

pytestmark = pytest.mark.kvm

PYKVM = [sys.executable, "-m", "pykvm"]
BASE = 0x100_0000
# sete al; out 0xf4, al: status 3 when the comparison before it held, else 1
VERDICT = bytes.fromhex("0f94c0 e6f4")
HAS_HDRS = bytes.fromhex("8b8602020000 3d48647253") + VERDICT  # [rsi + 0x202] == "HdrS"
HAS_MULTIBOOT = bytes.fromhex("3d02b0ad2b") + VERDICT  # eax == 0x2badb002
HAS_PVH = bytes.fromhex("813b78c56e33") + VERDICT  # [ebx] == 0x336ec578


@pytest.fixture
def status_of(tmp_path):
    """Runs an image and returns its exit status."""

    def run(data, *args):
        path = tmp_path / "image"
        path.write_bytes(data)
        done = subprocess.run(
            [*PYKVM, "run", str(path), "--timeout", "20", *args],
            capture_output=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
            env={"XDG_CACHE_HOME": str(tmp_path / "cache"), "PATH": ""},
        )  # fmt: skip
        if done.returncode % 2 == 0:
            pytest.fail(done.stderr.decode())
        return done.returncode

    return run


def test_a_bzimages_kernel_finds_its_boot_params(status_of):
    kernel = elf64(BASE, ((BASE, HAS_HDRS, 4096),))
    data = bzimage(gzip.compress(kernel))
    assert status_of(data) == 3
    assert status_of(data) == 3  # now from the cache


def test_with_kaslr_the_decompressor_runs(status_of):
    code = bytes(0x200) + HAS_HDRS
    assert status_of(bzimage(bytes(64), kernel=code.ljust(1024, b"\0")), "--kaslr") == 3


def test_a_vmlinux_finds_its_boot_params(status_of):
    assert status_of(elf64(BASE, ((BASE, HAS_HDRS, 4096),), notes=LINUX)) == 3


@pytest.mark.parametrize("bits", [32, 64])
def test_a_multiboot_elf_of_either_class_is_entered_in_32_bit_mode(status_of, bits):
    code = multiboot(body=HAS_MULTIBOOT)
    if bits == 32:
        assert status_of(elf32(BASE + 32, code, address=BASE)) == 3
    else:
        assert status_of(elf64(BASE + 32, ((BASE, code, 4096),))) == 3


def test_a_pvh_elf_is_entered_in_32_bit_mode_with_the_start_information(status_of):
    code = b"\xf4" * 8 + HAS_PVH
    assert status_of(elf32(0x100000, code, notes=PVH)) == 3
    assert status_of(elf64(0x100000, ((0x100000, code, 4096),), notes=PVH)) == 3


def test_an_elf64_with_the_kits_note_is_entered_in_long_mode(status_of):
    # RDI is the boot-info block: [rdi] == "PKVM"
    code = bytes.fromhex("813f504b564d") + VERDICT
    assert status_of(elf64(segments=((0x100000, code, 4096),))) == 3
