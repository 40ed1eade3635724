"""Firmware: a ROM below 4 GiB, its end again in low RAM."""

import pytest

from pykvm.boot import firmware
from pykvm.boot.plan import Facts, Mode
from pykvm.errors import GuestMemoryError, ImageError
from pykvm.memory import GuestMemory

GIB = 1 << 30


@pytest.mark.parametrize("size", [64 << 10, 128 << 10, 256 << 10])
def test_the_last_128_kib_are_in_low_memory_too(size):
    rom = bytes(n >> 12 & 0xFF for n in range(size))
    plan = firmware.plan(rom)
    (shadow,) = plan.segments
    assert shadow.end == 1 << 20
    assert bytes(shadow.data) == rom[-(128 << 10) :]
    assert (plan.mode, plan.entry) == (Mode.REAL, 0xFFF0)
    assert plan.handover(Facts(1 << 20)).segments == ()


def test_a_rom_is_whole_pages_and_not_too_big(tmp_path):
    path = tmp_path / "rom"
    path.write_bytes(bytes(4097))
    with pytest.raises(ImageError, match="4097 bytes; it takes"):
        firmware.read(str(path))
    with path.open("wb") as file:
        file.truncate((8 << 20) + 4096)
    with pytest.raises(ImageError, match="it takes multiples of 4K up to 8M"):
        firmware.read(str(path))


@pytest.mark.parametrize("size", [1 << 20, 5 * GIB])
def test_a_rom_ends_at_4_gib_and_cannot_be_written(size):
    with GuestMemory(size, rom=b"\xaa" * 4096 + b"\xbb" * 4096) as memory:
        bases = [slot.base for slot in memory.slots]
        assert bases == sorted(bases)
        assert memory.read(4 * GIB - 8192, 1) == b"\xaa"
        assert memory.read(4 * GIB - 1, 1) == b"\xbb"
        with pytest.raises(GuestMemoryError):
            memory.write(4 * GIB - 1, b"x")
        with pytest.raises(GuestMemoryError):
            memory.read(4 * GIB - 8193, 2)
