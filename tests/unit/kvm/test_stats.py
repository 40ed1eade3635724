"""KVM's statistics files: what a crafted one is read as, and what is refused."""

import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykvm.kvm import stats
from pykvm.kvm.stats import DESCRIPTOR, HEADER, Statistic, layout

CUMULATIVE, INSTANT, PEAK, LINEAR, LOG = range(5)


def file_of(*rows, name_size=48, gap=0):
    """Statistics ``(name, kind, values)`` as the kernel lays them out; ``gap`` bytes between the
    parts, and a unit and a base in the flags."""
    ident = HEADER.size + gap
    at = ident + name_size + gap
    data = at + (DESCRIPTOR.size + name_size) * len(rows) + gap
    out = bytearray(data)
    HEADER.pack_into(out, 0, 0, name_size, len(rows), ident, at, data)
    for n, (name, kind, values) in enumerate(rows):
        start = at + n * (DESCRIPTOR.size + name_size)
        flags = kind | 0x10 | 0x100
        DESCRIPTOR.pack_into(out, start, flags, -9, len(values), len(out) - data, 0)
        out[start + DESCRIPTOR.size : start + DESCRIPTOR.size + len(name)] = name.encode()
        out += struct.pack(f"={len(values)}Q", *values)
    return bytes(out)


def reading(data):
    return lambda size, offset: data[offset : offset + size]


def value(data, row):
    return struct.unpack_from("=Q", data, row.offset)[0]


@pytest.mark.parametrize("gap", [0, 8, 100])
def test_every_statistic_is_found_by_its_descriptor(gap):
    data = file_of(
        ("exits", CUMULATIVE, [7]), ("halt_poll_ns_hist", LOG, [1, 2, 3]),
        ("guest_mode", INSTANT, [1]), ("max_mmu_rmap_size", PEAK, [1 << 63]), gap=gap,
    )  # fmt: skip
    rows = layout(reading(data))
    assert [(r.name, r.size, r.scalar) for r in rows] == [
        ("exits", 1, True), ("halt_poll_ns_hist", 3, False), ("guest_mode", 1, True),
        ("max_mmu_rmap_size", 1, True),
    ]  # fmt: skip
    assert [value(data, r) for r in rows] == [7, 1, 1, 1 << 63]


def test_linear_histograms_are_no_counters():
    (row,) = layout(reading(file_of(("histogram", LINEAR, [5]))))
    assert not row.scalar


def test_a_name_may_fill_its_place():
    assert layout(reading(file_of(("x" * 16, PEAK, [1]), name_size=16)))[0].name == "x" * 16


def test_a_file_without_statistics_is_empty():
    assert layout(reading(file_of())) == []


@pytest.mark.parametrize("keep", [0, HEADER.size - 1, HEADER.size, HEADER.size + 60])
def test_a_file_that_ends_early_is_refused(keep):
    with pytest.raises(ValueError, match="instead of"):
        layout(reading(file_of(("exits", CUMULATIVE, [1]))[:keep]))


@pytest.mark.parametrize(("name_size", "count"), [(1 << 31, 1), (48, 1 << 31)])
def test_sizes_that_make_no_sense_are_refused(name_size, count):
    with pytest.raises(ValueError, match="statistics"):
        layout(reading(HEADER.pack(0, name_size, count, 24, 72, 200)))


@given(st.binary(max_size=400))
def test_no_file_does_worse_than_a_value_error(data):
    try:
        rows = layout(reading(data))
    except ValueError:
        return
    assert all(isinstance(row, Statistic) for row in rows)


def test_a_descriptor_that_is_no_kvm_s_is_an_error(tmp_path):
    with open(tmp_path / "file", "w") as file:
        assert not stats.available(file.fileno())
        assert stats.of_vcpus([file.fileno()]) == {}


def test_counters_in_a_form_that_nobody_knows_are_left_out(tmp_path, monkeypatch):
    path = tmp_path / "statistics"
    path.write_bytes(HEADER.pack(0, 1 << 31, 1, 24, 72, 200))
    monkeypatch.setattr(stats, "call", lambda fd, request: os.open(path, os.O_RDONLY))
    before = len(os.listdir("/proc/self/fd"))
    assert stats.of_vcpus([-1]) == {}
    assert len(os.listdir("/proc/self/fd")) == before
