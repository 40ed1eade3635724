"""virtio-net (VIRTIO 1.2, 5.1)."""

from pykvm.devices.virtio.net.device import Net

__all__ = ["Net"]
