"""Virtio's register windows: identity, queues, configuration, capabilities (VIRTIO 1.2, 4.1)."""

import pytest

from pykvm.devices.virtio import registers as r
from tests.support.virtio_driver import (
    ACKNOWLEDGE,
    BUFFERS,
    DRIVER,
    DRIVER_OK,
    MEMORY,
    MODERN_BAR,
    NEEDS_RESET,
    NOWHERE,
    RINGS,
    VERSION_1,
    Legacy,
    Modern,
)
from tests.support.virtio_probe import DRIVERS, NO_VECTOR, READY, served

# -- who it is ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("transport", "device", "revision", "bars"),
    [
        ("transitional", 0x1005, 0, {0, 1, 4}),
        ("legacy", 0x1005, 0, {0, 1}),
        ("modern", 0x1044, 1, {1, 4}),
    ],
)
def test_each_transport_has_its_identity_and_its_windows(rig, transport, device, revision, bars):
    one = rig(transport=transport)
    assert one.config.read(0, 4) == device << 16 | 0x1AF4
    assert one.config.read(8, 1) == revision
    assert set(one.function.windows) == bars
    if transport != "modern":
        assert one.config.read(0x2E, 2) == 4, "legacy drivers find the type there (4.1.2.3)"


def test_the_capabilities_lead_to_the_parts_of_the_window(rig):
    one = rig()
    where = {}
    for kind in (1, 2, 3, 4):
        at = one.capability(9, of_type=kind)
        assert one.config.read(at + 4, 1) == MODERN_BAR
        where[kind] = one.config.read(at + 8, 4), one.config.read(at + 12, 4)
    assert where == {1: (0, 0x3C), 2: (r.NOTIFY, 12), 3: (r.ISR, 1), 4: (r.CONFIG, 8)}
    assert one.config.read(one.capability(9, of_type=2) + 16, 4) == r.NOTIFY_STEP


# -- configuration space of the device ------------------------------------------------------------


@pytest.mark.parametrize(("kind", "options"), DRIVERS)
@pytest.mark.parametrize("msix", [False, True])
def test_the_devices_own_configuration_is_read_and_written(rig, kind, options, msix):
    one = rig(**options)
    if msix:
        one.enable_msix()
    driver = kind(one)
    assert driver.config(0, 4) == 0x0403_0201
    assert driver.config(5, 1) == 6
    driver.set_config(2, 2, 0xBEEF)
    assert one.kind.written == [(2, 2, 0xBEEF)]


def test_the_generation_counts_changes_and_a_live_driver_is_interrupted(driver):
    before = driver.get("GENERATION")
    driver.rig.device.config_changed()
    assert driver.get("GENERATION") == (before + 1) & 0xFF
    assert not driver.rig.line.level
    driver.start()
    for _ in range(256):
        driver.rig.device.config_changed()
    assert driver.get("GENERATION") == (before + 1) & 0xFF, "it wraps"
    assert driver.get("ISR") == 2
    assert not driver.rig.line.level


# -- queues ---------------------------------------------------------------------------------------


def test_queues_that_are_not_there_read_as_nothing_and_swallow_writes(driver):
    before = driver.rig.function.state()["device"]
    for index in (3, 4, 0x7FFF, 0xFFFF):
        driver.put("QUEUE_SELECT", index)
        assert driver.get("QUEUE_SELECT") == index
        assert driver.get("QUEUE_SIZE") == driver.get("QUEUE_ENABLE") == 0
        assert driver.get("QUEUE_VECTOR") == NO_VECTOR
        driver.place(RINGS, RINGS, RINGS)
        for name in ("QUEUE_SIZE", "QUEUE_VECTOR", "QUEUE_ENABLE", "QUEUE_RESET"):
            driver.put(name, 1)
    assert driver.rig.function.state()["device"] == before


@pytest.mark.parametrize("transport", ["transitional", "legacy"])
def test_queues_that_are_not_there_are_nothing_to_a_legacy_driver_either(rig, transport):
    legacy = Legacy(rig(transport=transport)).start()
    for index in (3, 0xFFFF):
        legacy.put("QUEUE_SELECT", index)
        legacy.put("QUEUE_PFN", 0x10)
        assert legacy.get("QUEUE_SIZE") == legacy.get("QUEUE_PFN") == 0


@pytest.mark.parametrize("index", [3, 4, 0x7FFF, 0x8000, 0xFFFF])
def test_cve_2011_2512_a_kick_of_no_queue_is_ignored(rig, index):
    one = rig()
    driver = Modern(one).start()
    one.kind.kicks()
    driver.window.write(r.NOTIFY + index * r.NOTIFY_STEP, 2, index)
    Legacy(one).kick(index)
    assert one.kind.kicks() == []
    assert not driver.status & NEEDS_RESET
    assert served(driver)


def test_a_queue_may_be_smaller_than_the_device_allows_but_never_larger(driver):
    driver.put("QUEUE_SELECT", 1)
    for wanted, gets in ((8, 8), (17, 8), (0, 8), (0xFFFF, 8), (16, 16)):
        driver.put("QUEUE_SIZE", wanted)
        assert driver.get("QUEUE_SIZE") == gets


@pytest.mark.parametrize("live", [False, True])
def test_cve_2026_5747_a_queue_is_frozen_once_it_is_enabled(driver, live):
    driver.status = ACKNOWLEDGE | DRIVER
    driver.accept(VERSION_1)
    driver.status = READY
    ring = driver.set_up(0, 16)
    if live:
        driver.status = READY | DRIVER_OK
    driver.put("QUEUE_SELECT", 0)
    driver.place(NOWHERE, NOWHERE, NOWHERE)
    driver.put("QUEUE_SIZE", 64)
    driver.put("QUEUE_ENABLE", 0)
    assert driver.get("QUEUE_SIZE") == 16
    assert driver.get("QUEUE_ENABLE") == 1
    assert driver.get("QUEUE_DESC_LO") == ring.descriptors
    driver.status = READY | DRIVER_OK
    assert served(driver)


def test_cve_2026_5747_a_legacy_queue_is_frozen_once_it_is_placed(rig):
    legacy = Legacy(rig()).start()
    before = legacy.get("QUEUE_PFN")
    legacy.put("QUEUE_PFN", 0x7_FFFF)
    assert legacy.get("QUEUE_PFN") == before
    assert served(legacy)


def test_a_legacy_ring_lies_as_the_specification_says(rig):
    legacy = Legacy(rig()).start(queues=(0, 1, 2))
    for index, ring in legacy.rings.items():
        queue = legacy.rig.device.queues[index]
        assert queue.layout[1:] == (ring.descriptors, ring.driver, ring.device)
        assert ring.device % 4096 == 0
        assert served(legacy, index)


def test_a_legacy_driver_takes_a_queue_back_with_page_0(rig):
    legacy = Legacy(rig()).start(queues=(0, 1))
    assert served(legacy)
    legacy.put("QUEUE_SELECT", 0)
    legacy.put("QUEUE_PFN", 0)
    assert legacy.get("QUEUE_PFN") == 0
    legacy.offer(0, (BUFFERS, 16, True))
    assert legacy.used(0) == []
    assert served(legacy, 1)
    legacy.set_up(0)
    assert served(legacy)


@pytest.mark.parametrize("page", [MEMORY >> 12, (MEMORY >> 12) - 1, 0xE_0000, 0xFFFF_FFFF])
def test_a_legacy_ring_outside_of_ram_breaks_the_device(rig, page):
    legacy = Legacy(rig())
    legacy.start(queues=())
    legacy.put("QUEUE_SELECT", 0)
    legacy.put("QUEUE_PFN", page)
    assert legacy.status & NEEDS_RESET
    assert len(legacy.rig.told) == 1


def test_a_queue_is_reset_by_itself_and_set_up_anew(driver):
    driver.start()
    for size in (16, 8):
        assert served(driver)
        driver.put("QUEUE_SELECT", 0)
        driver.put("QUEUE_RESET", 1)
        assert driver.get("QUEUE_RESET") == driver.get("QUEUE_ENABLE") == 0
        assert driver.get("QUEUE_SIZE") == 64
        driver.offer(0, (BUFFERS, 16, True))
        assert driver.used(0) == []
        assert served(driver, 1), "the others go on"
        driver.set_up(0, size)
    assert served(driver)
    calls = [
        call
        for call in driver.rig.kind.calls
        if call in (("queue stopped", 0), ("queue started", 0))
    ]
    assert calls == [("queue stopped", 0), ("queue started", 0)] * 2


def test_without_ring_reset_the_register_does_nothing(driver):
    driver.start(VERSION_1)
    driver.put("QUEUE_SELECT", 0)
    driver.put("QUEUE_RESET", 1)
    assert driver.get("QUEUE_ENABLE") == 1
    assert served(driver)


@pytest.mark.parametrize("name", ["QUEUE_SIZE", "QUEUE_ENABLE", "STATUS", "QUEUE_DESC_LO"])
def test_a_field_is_written_whole_or_not_at_all(driver, name):
    register = driver.registers[name]
    before = driver.rig.function.state()
    for size in (1, 2, 4):
        if size != register.size:
            driver.window.write(register.offset, size, 1)
    driver.window.write(register.offset + 1, register.size, 1)
    state = driver.rig.function.state()
    assert state == before


# -- registers through configuration space --------------------------------------------------------


class Window:
    """The configuration-access capability."""

    def __init__(self, one, bar=MODERN_BAR):
        self.config, self.at = one.config, one.capability(9, of_type=5)
        self.config.write(self.at + 4, 1, bar)

    def aim(self, offset, size):
        self.config.write(self.at + 8, 4, offset)
        self.config.write(self.at + 12, 4, size)

    def read(self, offset, size):
        self.aim(offset, size)
        return self.config.read(self.at + 16, size)

    def write(self, offset, size, value):
        self.aim(offset, size)
        self.config.write(self.at + 16, size, value)


def test_registers_are_reached_through_configuration_space(rig):
    one = rig()
    driver, window = Modern(one), Window(one)
    window.write(r.MODERN["STATUS"].offset, 1, ACKNOWLEDGE)
    assert driver.status == ACKNOWLEDGE
    assert window.read(r.MODERN["STATUS"].offset, 1) == ACKNOWLEDGE
    assert window.read(r.MODERN["NUM_QUEUES"].offset, 2) == 3
    assert window.read(r.CONFIG + 4, 4) == 0x0807_0605
    window.write(r.MODERN["STATUS"].offset, 1, 0)
    driver.start()
    token = driver.offer(0, (BUFFERS, 16, True), kick=False)
    window.write(r.NOTIFY, 2, 0)
    assert driver.used(0) == [(token, 6)]
    assert window.read(r.ISR, 1) == 1
    assert not one.line.level


@pytest.mark.parametrize("bar", [0, 1, 5, 6, 0xFF])
@pytest.mark.parametrize(("offset", "size"), [(0, 4), (0xFFFF_FFFC, 4), (0x4000, 4)])
def test_a_window_onto_no_register_does_nothing(rig, bar, offset, size):
    one = rig()
    state = one.device.state()
    window = Window(one, bar)
    window.write(offset, size, 0xFFFF_FFFF)
    window.read(offset, size)
    assert one.device.state() == state


@pytest.mark.parametrize(
    ("offset", "size"),
    [(1, 4), (2, 4), (1, 2), (0, 0), (0, 3), (0, 8), (0, 0xFFFF_FFFF), (0x4000, 4),
     (0xFFFF_FFFC, 4), (0xFFFF_FFFF, 1)],
)  # fmt: skip
def test_a_window_of_an_odd_place_or_length_does_nothing(rig, offset, size):
    one = rig()
    state = one.device.state()
    window = Window(one)
    window.aim(offset, size)
    one.config.write(window.at + 16, 4, 0xFFFF_FFFF)
    one.config.read(window.at + 16, 4)
    assert one.device.state() == state
