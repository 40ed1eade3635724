"""A virtio device's state, taken in the middle of traffic and restored elsewhere."""

import pytest

from tests.support.virtio_driver import (
    BUFFERS,
    EVENT_IDX,
    MEMORY,
    NEEDS_RESET,
    NOWHERE,
    PACKED,
    Modern,
)
from tests.support.virtio_probe import served


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("msix", [False, True])
def test_a_state_in_the_middle_of_traffic_goes_on_elsewhere(rig, packed, msix):
    first, second = rig(), rig()
    if msix:
        first.enable_msix()
    driver = Modern(first)
    driver.start(without=EVENT_IDX if packed else PACKED)
    if msix:
        driver.put("QUEUE_SELECT", 0)
        driver.put("QUEUE_VECTOR", 1)
        first.vector(1, masked=True)
    for _ in range(100):
        assert served(driver)
    token = driver.offer(0, (BUFFERS, 16, True), kick=False)
    second.memory.write(0, first.memory.read(0, MEMORY))
    second.function.restore(first.function.state())
    driver.rings[0].memory = second.memory
    assert driver.used(0) == [(token, 6)], "what was offered before is served there"
    if msix:
        assert second.vectors() == []
        second.vector(1)
        assert second.vectors() == [1]
    else:
        assert second.line.level, "the interrupt came along"
    again = Modern(second)
    again.rings, again.features = driver.rings, driver.features
    for _ in range(100):
        assert served(again)
    first.function.close()


def test_a_state_of_another_version_is_refused(driver):
    state = dict(driver.rig.function.state(), version=2)
    with pytest.raises(ValueError, match="version 2"):
        driver.rig.function.restore(state)


def test_a_broken_device_is_restored_as_one(rig):
    first, second = rig(), rig()
    driver = Modern(first).start()
    driver.offer(0, (NOWHERE, 4, True))
    second.function.restore(first.function.state())
    assert Modern(second).status & NEEDS_RESET
    served_there = Modern(second).start()
    assert served(served_there)


def test_a_state_whose_ring_is_out_of_reach_is_a_broken_device(rig):
    first, second = rig(), rig()
    Modern(first).start()
    first.master(False)
    second.function.restore(first.function.state())
    assert Modern(second).status & NEEDS_RESET
