"""QEMU's test devices, through their registers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykvm.devices.pcitestdev import BARS, REGISTERS, TESTS, PciTestDevice
from pykvm.devices.pctestdev import LINES, MEMORY_SIZE, TestLines, TestMemory, TestPorts
from tests.support.fakes import Line


@given(st.lists(st.tuples(st.integers(0, 11), st.sampled_from([1, 2, 4]), st.integers(0, 2**32))))
def test_the_latch_is_four_bytes_that_are_seen_twice(accesses):
    device, cells = TestPorts(), bytearray(4)
    for offset, widest, value in accesses:
        at = offset % 4
        size = min(widest, 4 - at)
        part = value & (1 << size * 8) - 1
        device.write(offset, size, part)
        if not 4 <= offset < 8:
            cells[at : at + size] = part.to_bytes(size, "little")
        expected = int.from_bytes(cells[at : at + size], "little")
        assert device.read(at, size) == device.read(8 + at, size) == expected


def test_each_line_follows_its_port():
    lines = [Line() for _ in range(LINES)]
    device = TestLines(lines)
    device.write(5, 1, 1)
    device.write(23, 1, 0x80)
    assert [n for n, line in enumerate(lines) if line.level] == [5, 23]
    state = device.state()
    device.write(5, 1, 0)
    device.reset()
    assert not any(line.level for line in lines)
    device.restore(state)
    assert [n for n, line in enumerate(lines) if line.level] == [5, 23]


def test_its_memory_reads_back_and_is_saved():
    device = TestMemory()
    device.write(MEMORY_SIZE - 8, 8, 0x0102_0304_0506_0708)
    assert device.read(MEMORY_SIZE - 1, 1) == 1
    state = device.state()
    device.reset()
    assert device.read(MEMORY_SIZE - 8, 8) == 0
    device.restore(state)
    assert device.read(MEMORY_SIZE - 8, 4) == 0x0506_0708


def number(window, register):
    offset, size = REGISTERS[register].offset, REGISTERS[register].size
    return sum(window.read(offset + n, 1) << 8 * n for n in range(size))


@pytest.mark.parametrize("bar", [0, 1])
@pytest.mark.parametrize("test", range(len(TESTS)))
def test_each_test_counts_the_writes_that_it_asks_for(bar, test):
    function = PciTestDevice("t")
    window, other = function.windows[bar], function.windows[1 - bar]
    window.write(0, 1, test)
    assert number(window, "WIDTH") == 1
    offset, data = number(window, "OFFSET"), number(window, "DATA")
    assert offset < BARS[bar].size
    window.write(offset, 1, data)
    window.write(offset + 8, 1, data)
    other.write(offset % BARS[1 - bar].size or 1, 1, data)
    assert number(window, "COUNT") == 1
    window.write(offset, 1, data ^ 1)
    assert number(window, "COUNT") == (2 if TESTS[test] == "wildcard-eventfd" else 1)
    name = bytes(window.read(16 + n, 1) for n in range(32)).rstrip(b"\0").decode()
    assert name == f"{'portio' if bar else 'mmio'}-{TESTS[test]}"


@pytest.mark.parametrize("test", [len(TESTS), 0xFF])
def test_a_number_that_is_no_test_stops(test):
    window = PciTestDevice("t").windows[0]
    window.write(0, 1, 0)
    window.write(0, 1, test)
    assert number(window, "WIDTH") == number(window, "OFFSET") == 0


def test_the_counter_wraps_and_is_saved():
    function = PciTestDevice("t")
    window = function.windows[1]
    window.write(0, 1, 1)
    function.restore({**function.state(), "count": 0xFFFF_FFFF})
    window.write(number(window, "OFFSET"), 1, 0)
    assert number(window, "COUNT") == 0
    state = function.state()
    function.reset()
    assert number(window, "WIDTH") == 0
    function.restore(state)
    assert function.state() == state
    assert number(window, "WIDTH") == 1


@pytest.mark.parametrize("device", [TestPorts(), TestLines([Line()] * LINES), TestMemory(),
                                    PciTestDevice("t")])  # fmt: skip
def test_a_state_of_another_version_is_refused(device):
    with pytest.raises(ValueError, match="version"):
        device.restore({**device.state(), "version": 2})
