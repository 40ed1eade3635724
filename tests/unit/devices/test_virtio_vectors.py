"""The ISR, the line and MSI-X as a virtio driver sees them (VIRTIO 1.2, 4.1.4.5, 4.1.5)."""

import pytest

from tests.support.virtio_driver import MSIX_BAR, Legacy, Modern
from tests.support.virtio_probe import DRIVERS, NO_VECTOR, served


@pytest.mark.parametrize(("kind", "options"), DRIVERS)
def test_without_msix_the_isr_holds_the_line_until_it_is_read(rig, kind, options):
    driver = kind(rig(**options)).start()
    assert served(driver)
    assert driver.rig.line.level
    assert driver.get("ISR") == 1
    assert driver.get("ISR") == 0
    assert not driver.rig.line.level
    driver.rig.device.config_changed()
    assert served(driver)
    assert driver.get("ISR") == 3


def test_reading_other_registers_leaves_the_isr(driver):
    driver.start()
    served(driver)
    for register in driver.registers:
        if register.name != "ISR" and register.access.readable:
            driver.window.read(register.offset, register.size)
    assert driver.rig.line.level


@pytest.mark.parametrize(("kind", "options"), DRIVERS)
def test_with_msix_each_queue_has_its_vector(rig, kind, options):
    one = rig(**options)
    one.enable_msix()
    driver = kind(one)
    driver.start(queues=(0, 1, 2))
    driver.put("CONFIG_VECTOR", 3)
    for index in range(2):
        driver.put("QUEUE_SELECT", index)
        driver.put("QUEUE_VECTOR", index + 1)
        assert driver.get("QUEUE_VECTOR") == index + 1
    assert served(driver, 0)
    assert served(driver, 1)
    assert served(driver, 2), "a queue without a vector works silently"
    one.device.config_changed()
    assert one.vectors() == [1, 2, 3]
    assert not one.line.level


@pytest.mark.parametrize("vector", [4, 5, 0x7FF, 0xFFFE, NO_VECTOR])
def test_a_vector_that_is_not_there_reads_back_as_none(rig, vector):
    one = rig()
    one.enable_msix()
    for driver in (Modern(one), Legacy(one)):
        driver.put("QUEUE_SELECT", 0)
        for name in ("CONFIG_VECTOR", "QUEUE_VECTOR"):
            driver.put(name, 0)
            driver.put(name, vector)
            assert driver.get(name) == NO_VECTOR


def msix_driver(one):
    """A driver with vector 1 for its first queue."""
    one.enable_msix()
    driver = Modern(one).start()
    driver.put("QUEUE_SELECT", 0)
    driver.put("QUEUE_VECTOR", 1)
    return driver


def test_a_masked_vector_waits_in_the_pba_and_comes_once(rig):
    one = rig()
    driver = msix_driver(one)
    table = one.function.windows[MSIX_BAR]
    one.vector(1, masked=True)
    assert served(driver)
    assert served(driver)
    assert one.vectors() == []
    assert table.read(table.pba_offset, 8) == 2
    one.vector(1)
    assert one.vectors() == [1]
    assert table.read(table.pba_offset, 8) == 0


def test_while_all_vectors_are_masked_they_wait(rig):
    one = rig()
    driver = msix_driver(one)
    one.enable_msix(masked=True)
    assert served(driver)
    assert one.vectors() == []
    one.config.write(one.capability(0x11) + 2, 2, 1 << 15)
    one.function.config_changed()
    assert one.vectors() == [1]


def test_switching_to_msix_lets_go_of_the_line(rig):
    one = rig()
    driver = Modern(one).start()
    assert served(driver)
    assert one.line.level
    one.enable_msix()
    assert not one.line.level


@pytest.mark.parametrize(
    ("offset", "size"),
    [(0, 1), (0, 2), (3, 4), (64, 4), (0xFFC, 8), (0x1008, 4), (0x1004, 8), (0x1FFC, 4),
     (0x1FFC, 8)],
)  # fmt: skip
def test_cve_2015_7549_and_cve_2020_13754_odd_accesses_of_table_and_pba(rig, offset, size):
    table = rig().function.windows[MSIX_BAR]
    before = table.state()
    table.write(offset, size, (1 << size * 8) - 1)
    assert table.read(offset, size) == 0
    assert table.state() == before


def test_the_pba_is_read_only(rig):
    table = rig().function.windows[MSIX_BAR]
    table.write(table.pba_offset, 8, 2**64 - 1)
    assert table.read(table.pba_offset, 8) == 0
