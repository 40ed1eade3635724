"""virtio-blk: a disk (VIRTIO 1.2, 5.2)."""

from pykvm.devices.virtio.blk.device import Blk

__all__ = ["Blk"]
