"""The device status field: the steps of the initialisation (VIRTIO 1.2, 2.1 and 3.1)."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntFlag


class Status(IntFlag):
    """Bits in the order in which a driver sets them."""

    ACKNOWLEDGE = 1
    DRIVER = 2
    FEATURES_OK = 8
    DRIVER_OK = 4
    NEEDS_RESET = 64
    FAILED = 128


_STEPS = (Status.ACKNOWLEDGE, Status.DRIVER, Status.FEATURES_OK, Status.DRIVER_OK, Status.FAILED)


def advance(
    status: Status, written: int, *, legacy: bool, features_fit: Callable[[], bool]
) -> Status:
    """The status after the driver wrote ``written`` (not 0: that is a reset).

    A bit once set stays (2.1.1). Bits are looked at in the order of the specification; each needs
    the one before it, so that a driver that skips a step stays before it, which it sees when it
    reads the field back. A legacy driver knows no FEATURES_OK (3.1.1).
    """
    for step in _STEPS:
        if not written & step or status & step:
            continue
        match step:
            case Status.DRIVER:
                allowed = bool(status & Status.ACKNOWLEDGE)
            case Status.FEATURES_OK:
                allowed = not legacy and bool(status & Status.DRIVER) and features_fit()
            case Status.DRIVER_OK:
                before = Status.DRIVER if legacy else Status.FEATURES_OK
                allowed = bool(status & before) and not status & Status.NEEDS_RESET
            case _:
                allowed = True
        if allowed:
            status |= step
    return status
