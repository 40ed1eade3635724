"""C counts what it answers as Python would, in a table that no guest makes grow."""

from hypothesis import given
from hypothesis import strategies as st

from pykvm._native import ffi, lib
from pykvm.trace.histogram import Histogram

ROWS, PARTS = lib.PK_COUNTED, lib.PK_COUNTED_PARTS


def table():
    return ffi.gc(lib.pk_access_counts_new(), lib.pk_access_counts_free)


def count(counts, number, offset, write, ns=1):
    lib.pk_access_count(lib.pk_access_row(counts, number, lib.KVM_EXIT_MMIO, offset, write), ns)


def used(counts):
    return {(row.range, row.offset, row.write): row.count for row in counts.rows if row.count}


@given(times=st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=50))
def test_times_are_cut_into_the_same_parts_as_python_s(times):
    counts, ours = table(), Histogram()
    for ns in times:
        count(counts, 3, 0, True, ns)
        ours.add(ns)
    (row,) = (row for row in counts.rows if row.count)
    theirs = Histogram()
    theirs.include(ffi.unpack(row.parts, PARTS), total=row.total, low=row.low, high=row.high)
    assert theirs.count == ours.count == row.count
    assert (theirs.low, theirs.high) == (ours.low, ours.high)
    assert theirs.total == ours.total % 2**64
    for share in (0.01, 0.5, 0.99, 1.0):
        assert theirs.quantile(share) == ours.quantile(share)


def test_each_register_and_direction_has_a_row_of_its_own():
    counts = table()
    for _ in range(2):
        count(counts, 1, 0xC0, False)
        count(counts, 1, 0xC0, True)
        count(counts, 2, 0xC0, True)
    count(counts, 1, 0xC8, True)
    assert used(counts) == {
        (1, 0xC0, 0): 2, (1, 0xC0, 1): 2, (2, 0xC0, 1): 2, (1, 0xC8, 1): 1,
    }  # fmt: skip


def test_what_has_no_row_is_counted_together():
    counts = table()
    for offset in range(10_000):
        count(counts, 1, offset, True)
    count(counts, 1, 0, True)  # which has one
    rows = used(counts)
    assert len(rows) == ROWS
    assert sum(rows.values()) == 10_001
    assert rows[-1, 0, 0] == 10_000 - (ROWS - 1)
    assert rows[1, 0, 1] == 2
