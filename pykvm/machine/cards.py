"""A PCI card for each option that asks for one."""

from __future__ import annotations

from contextlib import ExitStack

from pykvm.hints import TYPE_CHECKING
from pykvm.machine.pci import INTX_GSIS

if TYPE_CHECKING:
    from pykvm.machine.machine import Machine


def plug_cards(machine: Machine, stack: ExitStack) -> None:
    """Plug them in; ``stack`` gets what has to be given back. Raises UsageError, HostError."""
    # A guest without cards starts without loading any of them.
    config = machine.config
    if config.testdev:
        from pykvm.machine.testdevs import plug_testdevs

        plug_testdevs(machine)
    if not (config.nics or config.disks or config.console or config.rng):
        return
    machine.vm.set_level_triggered(INTX_GSIS)
    if config.nics:
        from pykvm.machine.nics import plug_nics

        plug_nics(machine, stack)
    if config.disks:
        from pykvm.machine.disks import plug_disks

        plug_disks(machine, stack)
    if config.console is not None:
        from pykvm.machine.console import plug_console

        plug_console(machine, stack, config.console)
    if config.rng:
        from pykvm.devices.virtio.rng import Rng
        from pykvm.machine.virtio import plug

        plug(machine, stack, "virtio-rng", Rng())
