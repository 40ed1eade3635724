"""What a driver may write when, by which interface: each row, on a device that has both."""

import pytest

from pykvm.devices.virtio.writes import TABLE, Stage, Write
from tests.support.virtio_driver import (
    ACKNOWLEDGE,
    DRIVER,
    DRIVER_OK,
    FAILED,
    FEATURES_OK,
    NEEDS_RESET,
    NOWHERE,
    RING_RESET,
    RINGS,
    VERSION_1,
    Legacy,
    Modern,
)
from tests.support.virtio_net import Bench
from tests.support.virtio_probe import READY, Own

ROWS = """
              NEW    FOUND  DRIVER SETTLED RUNNING LEGACY BROKEN
ACKNOWLEDGE   LM     LM     LM     LM      LM      LM     LM
DRIVER        -      LM     -      -       -       -      -
FEATURES      LM     LM     LM     -       -       -      -
FEATURES_OK   -      -      M      -       -       -      -
DRIVER_OK     -      -      L      M       -       -      -
FAILED        LM     LM     LM     LM      LM      LM     LM
QUEUE_SIZE    M      M      M      M       M       -      -
QUEUE_PLACE   LM     LM     LM     M       M       L      -
QUEUE_ENABLE  LM     LM     LM     M       M       L      -
QUEUE_RESET   LM     LM     LM     M       M       L      -
"""
"""L by the legacy interface, M by the modern one."""

STEPS = {"ACKNOWLEDGE": ACKNOWLEDGE, "DRIVER": DRIVER, "FEATURES_OK": FEATURES_OK,
         "DRIVER_OK": DRIVER_OK, "FAILED": FAILED}  # fmt: skip
BY_STAGE = {"NEW": 0, "FOUND": ACKNOWLEDGE, "DRIVER": ACKNOWLEDGE | DRIVER, "SETTLED": READY,
            "RUNNING": READY | DRIVER_OK, "LEGACY": ACKNOWLEDGE | DRIVER | DRIVER_OK,
            "BROKEN": READY | DRIVER_OK | NEEDS_RESET}  # fmt: skip
QUEUE, OTHER = 2, 1


def _cells():
    stages, *rows = (line.split() for line in ROWS.split("\n") if line)
    for write, *cells in rows:
        for stage, cell in zip(stages, cells, strict=True):
            for letter in "LM":
                yield write, stage, letter == "L", letter in cell


def test_the_table_is_whole_and_says_what_the_rows_do():
    assert {(write, stage) for write, stage, *_ in _cells()} == {
        (write.name, stage.name) for write in Write for stage in Stage
    }
    for write, stage, legacy, allowed in _cells():
        assert bool(TABLE[Write[write]][0 if legacy else 1] & Stage[stage]) == allowed


def _bring(one, stage):
    """A driver comes as far as ``stage``, by registers."""
    modern, legacy = Modern(one), Legacy(one)
    driver = legacy if stage == "LEGACY" else modern
    modern.accept(VERSION_1 | RING_RESET | Own.FIRST)
    for step in (ACKNOWLEDGE, DRIVER, FEATURES_OK, DRIVER_OK):
        if BY_STAGE[stage] & step:
            driver.status = step
    if stage == "BROKEN":
        modern.put("QUEUE_SELECT", OTHER)
        modern.place(NOWHERE, NOWHERE, NOWHERE)
        modern.put("QUEUE_ENABLE", 1)
    assert modern.status == BY_STAGE[stage]
    return modern, legacy


def _written(device, modern, legacy, name, by_legacy):
    """Write what ``name`` says; whether the device took it."""
    queue = device.queues[QUEUE]
    for driver in (modern, legacy):
        driver.put("QUEUE_SELECT", QUEUE)
    if name in STEPS:
        before = device.status
        (legacy if by_legacy else modern).status = STEPS[name]
        held = name == "ACKNOWLEDGE" and before & ACKNOWLEDGE  # nothing is left to write
        return bool(held or device.status & ~before & STEPS[name])
    if name == "FEATURES":
        before = device.features
        if by_legacy:
            legacy.put("GUEST_FEATURES", Own.SECOND)
        else:
            modern.accept(Own.SECOND)
        return device.features != before
    if name == "QUEUE_SIZE":
        if by_legacy:
            legacy.put("QUEUE_SIZE", 4)
        else:
            modern.put("QUEUE_SIZE", 4)
        return queue.size == 4
    if name == "QUEUE_PLACE":
        if by_legacy:
            legacy.put("QUEUE_PFN", RINGS >> 12)
        else:
            modern.place(RINGS, RINGS, RINGS)
        return queue.descriptors == RINGS
    if name == "QUEUE_ENABLE":
        if by_legacy:
            legacy.put("QUEUE_PFN", RINGS >> 12)
        else:
            modern.put("QUEUE_ENABLE", 1)
        return queue.enabled
    assert name == "QUEUE_RESET"
    queue.enabled = True
    if by_legacy:
        legacy.put("QUEUE_PFN", 0)
    else:
        modern.put("QUEUE_RESET", 1)
    return not queue.enabled


@pytest.mark.parametrize(
    ("write", "stage", "by_legacy", "allowed"),
    [pytest.param(*cell, id="-".join((*cell[:2], "LM"[not cell[2]]))) for cell in _cells()],
)
def test_a_write_is_taken_in_its_time_and_ignored_out_of_it(
    rig, write, stage, by_legacy, allowed
):  # fmt: skip
    one = rig()
    modern, legacy = _bring(one, stage)
    if write == "QUEUE_RESET" and stage == "LEGACY":
        one.device.features |= RING_RESET  # so that the table alone forbids it
    assert _written(one.device, modern, legacy, write, by_legacy) == allowed


def test_a_reset_is_always_taken_and_opens_everything(rig):
    for stage in BY_STAGE:
        for number in range(2):
            one = rig()
            drivers = _bring(one, stage)
            drivers[number].status = 0
            assert one.device.status == one.device.features == 0
            assert not any(queue.enabled for queue in one.device.queues)
            assert Modern(one).start().status == READY | DRIVER_OK


@pytest.mark.parametrize("trace", [False, True])
def test_features_by_the_modern_interface_after_a_legacy_driver_ok_change_nothing(trace):
    bench = Bench(native=False, transport="transitional", pairs=2, memory=4 << 20, trace=trace)
    legacy, modern, device = Legacy(bench.rig), Modern(bench.rig), bench.rig.device
    legacy.start(0, queues=range(5))
    modern.accept((1 << 64) - 1)
    modern.status = FEATURES_OK
    assert device.features == 0
    assert legacy.status == ACKNOWLEDGE | DRIVER | DRIVER_OK
    for index in range(5):
        legacy.kick(index)
        modern.kick(index)
    for on in (False, True):  # the card's engine looks at features again
        bench.rig.master(on)
    bench.cable.arrive(bytes(60))
    bench.close()
