"""What a driver may write when, and by which interface: one table (VIRTIO 1.2, 3.1 and 4.1.4).

A transitional device has both interfaces at once, and nothing but this keeps a driver from using
the one to undo what was settled by the other. A write out of its time is ignored. Besides, the
set-up of a queue is frozen while the queue is enabled (``queue.py``), and a modern driver takes a
queue back only with RING_RESET. Kicks, vectors and the device's own configuration are always let
through: they settle nothing.
"""

from __future__ import annotations

from enum import Enum, IntFlag, auto

from pykvm.devices.virtio.status import Status


class Stage(IntFlag):
    """How far a driver has come."""

    NEW = auto()
    FOUND = auto()  # ACKNOWLEDGE
    DRIVER = auto()
    SETTLED = auto()  # FEATURES_OK: a modern driver, features are final
    RUNNING = auto()  # and DRIVER_OK
    LEGACY = auto()  # DRIVER_OK without FEATURES_OK: a legacy driver, features are final
    BROKEN = auto()  # NEEDS_RESET


class Write(Enum):
    """What is written; a step of the status field is a write of its own."""

    ACKNOWLEDGE = auto()
    DRIVER = auto()
    FEATURES = auto()
    FEATURES_OK = auto()
    DRIVER_OK = auto()
    FAILED = auto()
    QUEUE_SIZE = auto()
    QUEUE_PLACE = auto()  # its addresses
    QUEUE_ENABLE = auto()  # by the legacy interface with its address
    QUEUE_RESET = auto()  # by the legacy interface with address 0


_NEVER = Stage(0)
_OPEN = Stage.NEW | Stage.FOUND | Stage.DRIVER
_MODERN = _OPEN | Stage.SETTLED | Stage.RUNNING
_LEGACY = _OPEN | Stage.LEGACY
_ALWAYS = _MODERN | _LEGACY | Stage.BROKEN

TABLE = {
    # what                legacy interface   modern interface
    Write.ACKNOWLEDGE: (_ALWAYS, _ALWAYS),
    Write.DRIVER: (Stage.FOUND, Stage.FOUND),
    Write.FEATURES: (_OPEN, _OPEN),
    Write.FEATURES_OK: (_NEVER, Stage.DRIVER),
    Write.DRIVER_OK: (Stage.DRIVER, Stage.SETTLED),
    Write.FAILED: (_ALWAYS, _ALWAYS),
    Write.QUEUE_SIZE: (_NEVER, _MODERN),
    Write.QUEUE_PLACE: (_LEGACY, _MODERN),
    Write.QUEUE_ENABLE: (_LEGACY, _MODERN),
    Write.QUEUE_RESET: (_LEGACY, _MODERN),
}


def stage(status: Status) -> Stage:
    """Where a driver is that has brought the field to ``status``."""
    if status & Status.NEEDS_RESET:
        return Stage.BROKEN
    if status & Status.FEATURES_OK:
        return Stage.RUNNING if status & Status.DRIVER_OK else Stage.SETTLED
    if status & Status.DRIVER_OK:
        return Stage.LEGACY
    if status & Status.DRIVER:
        return Stage.DRIVER
    return Stage.FOUND if status & Status.ACKNOWLEDGE else Stage.NEW


def may(write: Write, status: Status, *, legacy: bool) -> bool:
    """Whether ``write`` has its time at ``status``."""
    return bool(stage(status) & TABLE[write][0 if legacy else 1])


def advance(status: Status, written: int, *, legacy: bool, features_fit: bool) -> Status:
    """The status after the driver wrote ``written`` (not 0: that is a reset).

    A bit once set stays (2.1.1). Bits are looked at in the order of the specification, so that a
    driver that skips a step stays before it, which it sees when it reads the field back.
    """
    for step, write in _STEPS:
        fits = features_fit or step is not Status.FEATURES_OK
        if written & step and fits and may(write, status, legacy=legacy):
            status |= step
    return status


_STEPS = (
    (Status.ACKNOWLEDGE, Write.ACKNOWLEDGE),
    (Status.DRIVER, Write.DRIVER),
    (Status.FEATURES_OK, Write.FEATURES_OK),
    (Status.DRIVER_OK, Write.DRIVER_OK),
    (Status.FAILED, Write.FAILED),
)
