"""Features, the status machine, and what a broken ring does to it (VIRTIO 1.2, 2.1, 2.2, 3.1)."""

import itertools

import pytest

from pykvm.devices.turns import SIZE, STEP
from tests.support.virtio_driver import (
    ACKNOWLEDGE,
    BUFFERS,
    DRIVER,
    DRIVER_OK,
    EVENT_IDX,
    FAILED,
    FEATURES_OK,
    INDIRECT,
    MEMORY,
    MSIX_BAR,
    NEEDS_RESET,
    NOWHERE,
    PACKED,
    RING_RESET,
    RINGS,
    VERSION_1,
    Legacy,
    Modern,
)
from tests.support.virtio_probe import DRIVERS, READY, Own, Probe, served

# -- features -------------------------------------------------------------------------------------


def test_a_modern_driver_sees_all_features_and_a_legacy_one_the_lower_32(rig):
    one = rig()
    common = INDIRECT | EVENT_IDX
    assert Modern(one).offered() == Probe.features | common | VERSION_1 | PACKED | RING_RESET
    assert Legacy(one).offered() == Probe.features | common


def test_there_is_nothing_beyond_64_features(driver):
    for select in (2, 3, 0xFFFF_FFFF):
        driver.put("DEVICE_FEATURE_SELECT", select)
        driver.put("DRIVER_FEATURE_SELECT", select)
        driver.put("DRIVER_FEATURE", 0xFFFF_FFFF)
        assert driver.get("DEVICE_FEATURE") == driver.get("DRIVER_FEATURE") == 0
    assert driver.rig.device.features == 0


@pytest.mark.parametrize(
    "features",
    [0, Own.FIRST, VERSION_1 | 1 << 3, VERSION_1 | 1 << 63, (1 << 64) - 1, VERSION_1 | Own.SECOND],
)
def test_features_that_were_not_offered_or_lack_others_are_refused(driver, features):
    driver.status = ACKNOWLEDGE | DRIVER
    driver.accept(features)
    driver.status = READY
    assert driver.status == ACKNOWLEDGE | DRIVER
    driver.status = READY | DRIVER_OK
    assert driver.status == ACKNOWLEDGE | DRIVER
    driver.accept(VERSION_1)
    driver.status = READY
    assert driver.status == READY, "the driver may think again"


def test_features_are_final_once_they_are_ok(driver):
    driver.status = ACKNOWLEDGE | DRIVER
    driver.accept(VERSION_1 | Own.FIRST)
    driver.status = READY
    driver.accept(VERSION_1 | Own.SECOND)
    assert driver.rig.device.features == VERSION_1 | Own.FIRST
    assert driver.get("DRIVER_FEATURE") == 1


def test_a_legacy_driver_takes_only_what_it_was_offered(rig):
    legacy = Legacy(rig())
    legacy.start(0xFFFF_FFFF)
    assert legacy.get("GUEST_FEATURES") == legacy.offered()
    legacy.put("GUEST_FEATURES", 0)
    assert legacy.get("GUEST_FEATURES") == legacy.offered(), "final after DRIVER_OK"


# -- the status machine ---------------------------------------------------------------------------

BITS = [ACKNOWLEDGE, DRIVER, FEATURES_OK, DRIVER_OK]


@pytest.mark.parametrize("order", list(itertools.permutations(BITS)))
def test_a_step_counts_only_after_those_before_it(driver, order):
    driver.accept(VERSION_1)
    written, model = 0, 0
    for bit in order:
        written |= bit
        driver.status = written
        for step, before in zip(BITS, [0, *BITS], strict=False):
            if written & step and (not before or model & before):
                model |= step
        assert driver.status == model
    assert driver.status == READY | DRIVER_OK
    assert driver.rig.kind.calls.count("start") == 1


def test_a_bit_once_set_stays_until_the_reset(driver):
    driver.start()
    driver.status = ACKNOWLEDGE
    assert driver.status == READY | DRIVER_OK
    driver.status = FAILED
    assert driver.status == READY | DRIVER_OK | FAILED
    driver.status = 0
    assert driver.status == 0


def test_a_driver_cannot_set_what_is_the_devices(driver):
    driver.status = 0xFF & ~FAILED
    assert not driver.status & NEEDS_RESET


def test_a_legacy_driver_needs_no_features_ok(rig):
    legacy = Legacy(rig())
    legacy.status = DRIVER_OK
    assert legacy.status == 0
    legacy.status = ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK
    assert legacy.status == ACKNOWLEDGE | DRIVER | DRIVER_OK


@pytest.mark.parametrize(("kind", "options"), DRIVERS)
def test_a_reset_brings_everything_back(rig, kind, options):
    one = rig(**options)
    fresh = one.function.state()
    driver = kind(one)
    for _ in range(2):
        driver.start()
        one.device.config_vector = 0
        assert served(driver)
        driver.status = 0
        assert not one.line.level
        after = one.function.state()
        after["windows"][MSIX_BAR] = fresh["windows"][MSIX_BAR]
        assert after == fresh


def test_before_driver_ok_nothing_is_served_and_afterwards_what_waits_is(driver):
    driver.status = ACKNOWLEDGE | DRIVER
    driver.accept(VERSION_1)
    driver.status = READY
    driver.set_up(0)
    token = driver.offer(0, (BUFFERS, 16, True))
    assert driver.used(0) == []
    driver.status = READY | DRIVER_OK
    assert driver.used(0) == [(token, 6)]


# -- broken rings ---------------------------------------------------------------------------------


@pytest.mark.parametrize("msix", [False, True])
@pytest.mark.parametrize(("kind", "options"), DRIVERS)
def test_a_broken_ring_stops_the_device_until_it_is_reset(rig, kind, options, msix):
    one = rig(**options)
    if msix:
        one.enable_msix()
    driver = kind(one)
    driver.start(queues=(0, 1))
    if msix:
        driver.put("CONFIG_VECTOR", 0)
    driver.offer(0, (NOWHERE, 4, True))
    assert driver.status & NEEDS_RESET
    if msix:
        assert one.vectors() == [0]
    else:
        assert driver.get("ISR") == 2
    assert len(one.told) == 1
    driver.offer(1, (BUFFERS, 16, True))
    assert driver.used(1) == [], "no queue is served"
    one.device.config_changed()
    assert not one.line.level
    assert not one.vectors()
    driver.status = driver.status | DRIVER_OK
    assert driver.status & NEEDS_RESET
    driver.start()
    assert served(driver)


@pytest.mark.parametrize(
    "addresses",
    [(NOWHERE, RINGS, RINGS), (RINGS, NOWHERE, RINGS), (RINGS, RINGS, 2**64 - 4),
     (RINGS + 1, RINGS, RINGS), (MEMORY - 16, RINGS, RINGS)],
)  # fmt: skip
@pytest.mark.parametrize("live", [False, True])
def test_cve_2019_18960_a_queue_that_is_not_in_ram_breaks_the_device(driver, addresses, live):
    driver.start(VERSION_1, queues=()) if live else None
    if not live:
        driver.status = ACKNOWLEDGE | DRIVER
        driver.accept(VERSION_1)
        driver.status = READY
    driver.put("QUEUE_SELECT", 0)
    driver.place(*addresses)
    driver.put("QUEUE_ENABLE", 1)
    driver.status = READY | DRIVER_OK
    assert driver.status & NEEDS_RESET
    driver.start()
    assert served(driver)


def test_cve_2017_17381_a_split_queue_of_an_odd_size_breaks_the_device(driver):
    driver.status = ACKNOWLEDGE | DRIVER
    driver.accept(VERSION_1)
    driver.status = READY
    driver.set_up(0, 3)
    driver.status = READY | DRIVER_OK
    assert driver.status & NEEDS_RESET


@pytest.mark.parametrize("window", [0xE000_0000, 0xFEC0_0000, 0xFEE0_0000])
@pytest.mark.parametrize("write", [False, True])
def test_cve_2024_3446_a_buffer_in_a_devices_own_registers_breaks_the_device(driver, window, write):
    driver.start()
    driver.offer(0, (window, 16, write))
    assert driver.status & NEEDS_RESET


def test_a_ring_that_is_kicked_with_bus_mastering_off_breaks_the_device_and_no_more(driver):
    driver.start()
    driver.rig.master(False)
    driver.offer(0, (BUFFERS, 16, True))
    assert driver.status & NEEDS_RESET
    assert driver.used(0) == []
    driver.rig.master(True)
    driver.start()
    assert served(driver)


def test_cve_2016_5403_a_guest_that_offers_for_ever_leaves_others_their_turn(rig):
    class Endless(Probe):
        def kicked(self, queue):
            self.device.serve(queue, self.again)

        def again(self, chain, turn):
            self.count = getattr(self, "count", 0) + 1
            ring.offer(0)
            ring.publish()
            return 0

    one = rig(Endless())
    driver = Modern(one).start()
    ring = driver.rings[0]
    driver.offer(0, (BUFFERS, 16, True))
    assert 1 < one.kind.count <= SIZE // STEP, "one turn, and then the loop's"
    for _ in range(100):
        driver.kick(0)
    assert len(one.loop.live()) == 1, "kicks do not pile up"
    one.loop.timers[0].callback()
    assert one.kind.count > SIZE // STEP
    driver.status = 0
    one.loop.advance(1)
    assert one.loop.live() == []
