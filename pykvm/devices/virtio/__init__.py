"""Virtio (VIRTIO 1.2, with its legacy interface): rings, transports, and a file for each device."""
