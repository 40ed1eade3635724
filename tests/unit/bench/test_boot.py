"""``pykvm bench boot``: what is taken for a guest's first byte, and what the results say."""

import gzip
import os
import sys

import pytest

from pykvm.bench import boot, firstbyte
from pykvm.bench.boot import Boots, Results
from pykvm.bench.firstbyte import FirstByte, milliseconds
from pykvm.boot import kernels, multiboot
from tests.support.images import bzimage, elf64

BANNER = b"Linux version"


def feed(chunks):
    """What FirstByte says after each chunk; the times are 1.0, 2.0 ..."""
    first = FirstByte(BANNER)
    return [first.feed(data, float(n)) for n, data in enumerate(chunks, 1)]


def test_the_first_byte_is_that_of_the_line_with_the_banner():
    assert feed([b"[", b"    0.000000] Linux", b" version 6.1"]) == [None, None, 1.0]


def test_what_firmware_says_before_does_not_count():
    chunks = [b"SeaBIOS (version 1.16)\r\n", b"Booting from ROM..\n[  ", b"0.0] Linux version 6"]
    assert feed(chunks) == [None, None, 2.0]
    assert feed([b"SeaBIOS\n", b"Linux version 6"]) == [None, 2.0]


def test_a_banner_alone_counts_from_its_first_byte():
    assert feed([b"L", b"inux versio", b"n"]) == [None, None, 1.0]


def test_a_guest_without_a_banner_has_no_first_byte():
    assert feed([b"hello\n", b"Linux", b" vers\nion"]) == [None, None, None]


def python(code):
    return [sys.executable, "-c", code]


def test_a_command_is_timed_and_gone_afterwards(tmp_path):
    mark = tmp_path / "ended"
    code = (
        f"import time; print('Linux version', flush=True); time.sleep(60); open({str(mark)!r}, 'w')"
    )
    assert isinstance(milliseconds(python(code), BANNER, 20), float)
    assert not mark.exists()


def test_the_near_ones_go_first_in_turn_and_first_starts_do_not_count(monkeypatch):
    started = []

    def start(command, banner, within):
        started.append(next((who for who in ("microvm", "pc") if who in command), "pykvm"))
        return float(len(started))

    monkeypatch.setattr(boot, "milliseconds", start)
    monkeypatch.setattr(boot.qemu, "path", lambda: "qemu")
    monkeypatch.setattr(boot.qemu, "version", lambda: "7.2")
    results = boot.measure(2)
    assert started == ["pykvm", "microvm", "microvm", "pykvm", "pykvm", "microvm", *["pc"] * 3]
    assert results.boots[0].times == {"microvm": [3, 6], "pykvm": [4, 5], "pc": [8, 9]}


def test_a_guest_that_says_nothing_in_time_says_so():
    code = "import time; print('BIOS', flush=True); time.sleep(60)"
    assert milliseconds(python(code), BANNER, 0.2) == "no byte of the guest within 0.2 s"


def test_a_command_that_fails_says_its_last_words():
    code = "import sys; print('one\\ntwo', file=sys.stderr); sys.exit(3)"
    assert milliseconds(python(code), BANNER, 20) == "ended with 3: two"


def test_a_guest_that_says_too_much_is_given_up(monkeypatch):
    monkeypatch.setattr(firstbyte, "MOST", 2048)
    code = "while True: print('x' * 80)"
    assert milliseconds(python(code), BANNER, 20) == "no byte of the guest among the first 2 KiB"


def test_the_small_guest_is_a_multiboot_image():
    found = multiboot.find(boot.small_guest())
    assert found.offset == 0
    assert found.entry_addr == found.load_addr + 32


def results(**more):
    small = Boots("small guest", {"pykvm": [50.0, 60.0, 55.0], "microvm": [100.0, 60.0, 110.0]})
    small.add("pc", "no byte within 30 s")
    return Results(boots=[small], qemu_version="7.2", **more)


def test_the_table_compares_round_by_round_and_says_why_a_figure_is_missing():
    lines = boot.text(results()).splitlines()
    assert lines[2].split() == [
        *("small", "guest", "55", "(50-60)", "100", "(60-110)", "2.00", "-", "-")
    ]
    assert "small guest, pc: no byte within 30 s" in lines
    assert "QEMU 7.2" in lines[4]


def test_what_was_not_asked_for_is_said_to_be_left_out():
    text = boot.text(results())
    assert "Linux: left out, no --kernel FILE" in text
    assert "unpacking: left out, no --stock FILE" in text
    text = boot.text(results(stock="/boot/vmlinuz", unpacked_ms=[900.0], cached_ms=[30.0]))
    assert "unpacking vmlinuz: 900 (900-900) ms, from the cache 30 (30-30) ms." in text
    assert "no --stock" not in text


def test_json_has_figures_reasons_and_ratios():
    made = boot.as_dict(results(stock="/boot/vmlinuz", unpacked_ms=[900.0], cached_ms=[30.0]))
    (guest,) = made["guests"]
    assert (made["version"], made["bench"], made["qemu"]) == (1, "boot", "7.2")
    assert guest["first_byte_ms"]["pykvm"]["median"] == 55
    assert guest["missing"] == {"pc": "no byte within 30 s"}
    assert list(guest["ratio_to_pykvm"]) == ["microvm"]
    assert guest["ratio_to_pykvm"]["microvm"]["median"] == 2
    assert made["unpacking"]["cached_ms"]["median"] == 30
    assert boot.as_dict(results())["unpacking"] is None


def test_who_failed_once_has_no_figure():
    boots = Boots("small guest")
    boots.add("microvm", 30.0)
    boots.add("microvm", "ended with 1")
    assert "microvm" not in boots.times
    assert boots.ratio("microvm") is None


@pytest.mark.parametrize("before", [None, "/nonexistent"])
def test_unpacking_is_measured_in_a_cache_of_its_own(monkeypatch, tmp_path, before):
    if before is None:
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", before)
    kernel = elf64()
    path = tmp_path / "vmlinuz"
    path.write_bytes(bzimage(gzip.compress(kernel)))
    looked = []
    load = kernels._load
    monkeypatch.setattr(kernels, "_load", lambda path: looked.append(load(path)) or looked[-1])
    first, again = boot.unpack_milliseconds(str(path))
    assert first > 0 < again
    assert [kept is not None for kept in looked] == [False, True]
    assert os.environ.get("XDG_CACHE_HOME") == before
