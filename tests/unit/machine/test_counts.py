"""What C answered joins the rows of what Python did."""

from types import SimpleNamespace

from pykvm._native import ffi, lib
from pykvm.machine.counts import include
from pykvm.registers import Register, RegisterMap
from pykvm.trace.events import ExitEvent
from pykvm.trace.stats import Statistics

TDT, ICR = Register("TDT", 0x3818, size=4), Register("ICR", 0xC0, size=4)
NIC = SimpleNamespace(name="nic", registers=RegisterMap("nic", [TDT, ICR]), bank=0)
RANGES = [SimpleNamespace(device=SimpleNamespace(name="other")), SimpleNamespace(device=NIC)]


def answered(*accesses):
    counts = ffi.gc(lib.pk_access_counts_new(), lib.pk_access_counts_free)
    for number, offset, write, ns in accesses:
        row = lib.pk_access_row(counts, number, lib.KVM_EXIT_MMIO, offset, write)
        lib.pk_access_count(row, ns)
        counts.inside_ns += 100
    return counts


def rows(statistics):
    return {
        (row["reason"], row["device"], row["register"]): (row["count"], row["user_ns"]["total"])
        for row in statistics.as_dict()["rows"]
    }


def test_rows_are_named_after_device_and_register():
    statistics = Statistics()
    accesses = [(1, 0x3818, True, 5), (1, 0x3818, True, 7), (1, 0xC0, False, 9)]
    include(statistics, answered(*accesses), RANGES)
    assert rows(statistics) == {
        ("MMIO st", "nic", "TDT"): (2, 12), ("MMIO ld", "nic", "ICR"): (1, 9),
    }  # fmt: skip
    assert (statistics.exits, statistics.guest_ns, statistics.user_ns) == (3, 300, 21)


def test_a_register_that_c_and_python_answered_is_one_row():
    statistics = Statistics()
    statistics.event(
        ExitEvent(
            time_ns=0,
            vcpu=0,
            reason="MMIO",
            address=0xFEB03818,
            size=4,
            write=True,
            device="nic",
            register=TDT,
            guest_ns=50,
            user_ns=40,
        )
    )
    for _vcpu in range(2):
        include(statistics, answered((1, 0x3818, True, 5)), RANGES)
    assert rows(statistics) == {("MMIO st", "nic", "TDT"): (3, 50)}
    times = statistics.as_dict()["rows"][0]["user_ns"]
    assert (times["min"], times["p99"]) == (5, 40)
    assert (statistics.guest_ns, statistics.user_ns) == (250, 50)


def test_a_hole_in_the_registers_has_a_row_without_a_name():
    statistics = Statistics()
    include(statistics, answered((1, 0x10, True, 1)), RANGES)
    assert list(rows(statistics)) == [("MMIO st", "nic", None)]


def test_what_c_had_no_row_for_is_still_counted():
    accesses = [(1, offset, True, 1) for offset in range(0, 4 * lib.PK_COUNTED, 4)]
    statistics = Statistics()
    include(statistics, answered(*accesses), RANGES)
    assert rows(statistics)["MMIO", "others", None] == (1, 1)
    assert statistics.exits == len(accesses)
