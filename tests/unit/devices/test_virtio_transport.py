"""Virtio's transport and status machine, through the register windows (VIRTIO 1.2, 2, 3.1, 4.1)."""

import itertools
from enum import IntFlag

import pytest

from pykvm.devices.virtio import registers as r
from pykvm.devices.virtio.device import VirtioDevice
from pykvm.devices.virtio.rng import Rng
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
    MODERN_BAR,
    MSIX_BAR,
    NEEDS_RESET,
    NOWHERE,
    PACKED,
    RING_RESET,
    RINGS,
    VERSION_1,
    Legacy,
    Modern,
    Rig,
)  # fmt: skip
from tests.support.virtqueue import SplitDriver

READY = ACKNOWLEDGE | DRIVER | FEATURES_OK
NO_VECTOR = 0xFFFF


class Own(IntFlag):
    """Features of the probe."""

    FIRST = 1 << 0
    SECOND = 1 << 5


class Probe:
    """A device type that answers each chain with ``answer`` and notes what it is told."""

    kind = 4
    class_code = 0x00FF00
    features = int(Own.FIRST | Own.SECOND)
    needs = {Own.SECOND: Own.FIRST}
    flags = Own
    queue_sizes = (64, 16, 8)
    config_size = 8
    device: VirtioDevice

    def __init__(self):
        self.calls = []
        self.written = []
        self.answer = b"answer"

    def attach(self, device):
        self.device = device

    def read_config(self, offset, size):
        return int.from_bytes(bytes(range(1, 9))[offset : offset + size], "little")

    def write_config(self, offset, size, value):
        self.written.append((offset, size, value))

    def start(self):
        self.calls.append("start")

    def stop(self):
        self.calls.append("stop")

    def queue_started(self, queue):
        self.calls.append(("queue started", queue.index))

    def queue_stopped(self, queue):
        self.calls.append(("queue stopped", queue.index))

    def kicked(self, queue):
        self.calls.append(("kicked", queue.index))
        self.device.serve(queue, lambda chain: chain.write(self.answer))

    def pause(self):
        return lambda: None

    def state(self):
        return {"answer": self.answer}

    def restore(self, state):
        self.answer = state["answer"]

    def kicks(self):
        """Queues that were kicked since the last call."""
        kicked = [call[1] for call in self.calls if call[0] == "kicked"]
        self.calls.clear()
        return kicked


@pytest.fixture
def rig():
    made = []

    def make(kind=None, **options):
        made.append(Rig(kind or Probe(), **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def driver(rig):
    """A modern driver before it has touched anything."""
    return Modern(rig())


DRIVERS = [(Modern, {}), (Legacy, {}), (Legacy, {"transport": "legacy"}),
           (Modern, {"transport": "modern"})]  # fmt: skip


def served(driver, index=0):
    """Whether a chain on a queue is answered, with the bytes and the length that it should be."""
    driver.rig.memory.write(BUFFERS, bytes(16))
    token = driver.offer(index, (BUFFERS, 16, True))
    used = driver.used(index)
    return used == [(token, 6)] and driver.rig.memory.read(BUFFERS, 7) == b"answer\0"


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


# -- interrupts -----------------------------------------------------------------------------------


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

        def again(self, chain):
            self.count = getattr(self, "count", 0) + 1
            ring.offer(0)
            ring.publish()
            return 0

    one = rig(Endless())
    driver = Modern(one).start()
    ring = driver.rings[0]
    driver.offer(0, (BUFFERS, 16, True))
    assert one.kind.count == 128, "two rings' worth, and then the loop's turn"
    for _ in range(100):
        driver.kick(0)
    assert len(one.loop.live()) == 1, "kicks do not pile up"
    one.loop.timers[0].callback()
    assert one.kind.count > 128
    driver.status = 0
    one.loop.advance(1)
    assert one.loop.live() == []


# -- state ----------------------------------------------------------------------------------------


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


# -- virtio-rng -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "options"), DRIVERS)
def test_rng_fills_buffers_with_random_bytes(rig, kind, options):
    driver = kind(rig(Rng(), **options)).start()
    assert driver.rig.device.type.kind == 4
    fills = set()
    for _ in range(3):
        driver.rig.memory.write(BUFFERS, bytes(64))
        token = driver.offer(0, (BUFFERS, 10, True), (BUFFERS + 20, 22, True))
        assert driver.used(0) == [(token, 32)]
        data = driver.rig.memory.read(BUFFERS, 64)
        assert data[10:20] + data[42:] == bytes(32)
        fills.add(data)
    assert len(fills) == 3


def test_rng_gives_at_most_a_page_however_much_is_asked(rig):
    driver = Modern(rig(Rng())).start()
    token = driver.offer(0, (BUFFERS, 0x10000, True))
    assert driver.used(0) == [(token, 4096)]
    assert driver.rig.memory.read(BUFFERS + 4096, 4096) == bytes(4096)


def test_rng_has_no_answer_to_a_buffer_that_is_not_writable(rig):
    driver = Modern(rig(Rng())).start()
    token = driver.offer(0, (BUFFERS, 16, False))
    assert driver.used(0) == [(token, 0)]


def test_the_trace_shows_features_kicks_chains_and_interrupts(rig):
    driver = Modern(rig(Rng(), trace=True)).start()
    driver.offer(0, (BUFFERS, 16, True))
    told = [what for what, _ in driver.rig.traced]
    assert told == ["features", "kick", "pop", "push", "interrupt"]
    assert SplitDriver is type(driver.rings[0])
