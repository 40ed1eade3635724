"""The registers of virtio over PCI (VIRTIO 1.2, 4.1.4.3 to 4.1.4.8)."""

from __future__ import annotations

from pykvm.devices.virtio.queue import NO_VECTOR
from pykvm.registers import Access, Field, Register, RegisterMap, fields

_STATUS = fields("ACKNOWLEDGE:0 DRIVER:1 DRIVER_OK:2 FEATURES_OK:3 NEEDS_RESET:6 FAILED:7")
_ISR = (Field("QUEUE", 0), Field("CONFIG", 1))
_RO, _RC, _WO = Access.RO, Access.RC, Access.WO

LEGACY_CONFIG, LEGACY_CONFIG_MSIX, LEGACY_SIZE = 20, 24, 128

LEGACY = RegisterMap(
    "virtio legacy",
    [
        Register("DEVICE_FEATURES", 0x00, 4, _RO),
        Register("GUEST_FEATURES", 0x04, 4),
        Register("QUEUE_PFN", 0x08, 4, doc="the ring's address over 4096"),
        Register("QUEUE_SIZE", 0x0C, 2, _RO),
        Register("QUEUE_SELECT", 0x0E, 2),
        Register("QUEUE_NOTIFY", 0x10, 2),
        Register("STATUS", 0x12, 1, fields=_STATUS),
        Register("ISR", 0x13, 1, _RC, fields=_ISR),
        Register("CONFIG_VECTOR", 0x14, 2, reset=NO_VECTOR, bank=1),
        Register("QUEUE_VECTOR", 0x16, 2, reset=NO_VECTOR, bank=1),
        Register("CONFIG", 0x14, 1, bank=0, count=LEGACY_SIZE - LEGACY_CONFIG, stride=1),
        Register("CONFIG_MSIX", 0x18, 1, bank=1, count=LEGACY_SIZE - LEGACY_CONFIG_MSIX, stride=1),
    ],
)

# Where the parts of the modern window lie in their BAR, one page each.
COMMON, ISR, CONFIG, NOTIFY = 0x0000, 0x1000, 0x2000, 0x3000
MODERN_SIZE = 0x4000
NOTIFY_STEP = 4
COMMON_SIZE = 0x3C

MODERN = RegisterMap(
    "virtio modern",
    [
        Register("DEVICE_FEATURE_SELECT", 0x00, 4),
        Register("DEVICE_FEATURE", 0x04, 4, _RO),
        Register("DRIVER_FEATURE_SELECT", 0x08, 4),
        Register("DRIVER_FEATURE", 0x0C, 4),
        Register("CONFIG_VECTOR", 0x10, 2, reset=NO_VECTOR),
        Register("NUM_QUEUES", 0x12, 2, _RO),
        Register("STATUS", 0x14, 1, fields=_STATUS),
        Register("GENERATION", 0x15, 1, _RO),
        Register("QUEUE_SELECT", 0x16, 2),
        Register("QUEUE_SIZE", 0x18, 2),
        Register("QUEUE_VECTOR", 0x1A, 2, reset=NO_VECTOR),
        Register("QUEUE_ENABLE", 0x1C, 2),
        Register("QUEUE_NOTIFY_OFF", 0x1E, 2, _RO),
        Register("QUEUE_DESC_LO", 0x20, 4),
        Register("QUEUE_DESC_HI", 0x24, 4),
        Register("QUEUE_DRIVER_LO", 0x28, 4),
        Register("QUEUE_DRIVER_HI", 0x2C, 4),
        Register("QUEUE_DEVICE_LO", 0x30, 4),
        Register("QUEUE_DEVICE_HI", 0x34, 4),
        Register("QUEUE_NOTIFY_DATA", 0x38, 2, _RO),
        Register("QUEUE_RESET", 0x3A, 2),
        Register("ISR", ISR, 1, _RC, fields=_ISR),
        Register("CONFIG", CONFIG, 1, count=0x1000, stride=1),
        Register("NOTIFY", NOTIFY, 4, _WO, count=0x1000 // NOTIFY_STEP, stride=NOTIFY_STEP),
    ],
)

__all__ = ["LEGACY", "MODERN", "NO_VECTOR"]
