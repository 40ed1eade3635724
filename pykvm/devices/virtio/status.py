"""The device status field: the steps of the initialisation (VIRTIO 1.2, 2.1 and 3.1)."""

from __future__ import annotations

from enum import IntFlag


class Status(IntFlag):
    """Bits in the order in which a driver sets them."""

    ACKNOWLEDGE = 1
    DRIVER = 2
    FEATURES_OK = 8
    DRIVER_OK = 4
    NEEDS_RESET = 64
    FAILED = 128
