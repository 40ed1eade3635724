"""Disks of a machine: each ``--disk`` becomes a virtio-blk device in a slot, over its file."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from pykvm.backends.disk_file import FileDisk
from pykvm.devices.virtio.blk import Blk
from pykvm.machine.virtio import plug

if TYPE_CHECKING:
    from pykvm.machine.machine import Machine


def plug_disks(machine: Machine, stack: ExitStack) -> None:
    """Open and plug every disk; ``stack`` closes them. Raises HostError."""
    for number, options in enumerate(machine.config.disks):
        name = f"virtio-blk-{number}"
        disk = FileDisk(options.path, readonly=options.readonly)
        stack.callback(disk.close)
        kind = Blk(disk, options.serial if options.serial is not None else name)

        def close(kind: Blk = kind) -> None:
            with machine.lock:
                kind.close()

        plug(machine, stack, name, kind, transport=options.transport)
        stack.callback(close)
