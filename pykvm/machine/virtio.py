"""Virtio devices of a machine: a type in a PCI slot, with what the machine gives it."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from pykvm.devices.virtio.device import Type
from pykvm.devices.virtio.pci import Surroundings, VirtioPci
from pykvm.machine.pci import gsi_of

if TYPE_CHECKING:
    from pykvm.machine.machine import Machine


def plug(
    machine: Machine, stack: ExitStack, name: str, kind: Type, *,
    transport: str = "transitional", packed: bool = True, rom: bytes = b"",
) -> VirtioPci:  # fmt: skip
    """Put ``kind`` into the next free slot; ``stack`` closes it."""
    slot = machine.pci.free_slot()
    trace = machine.teller(name)
    around = Surroundings(
        machine.irq(name, gsi_of(slot)), machine.loop, machine.memory, machine.messages,
        # A traced device is kicked by exits that can be seen.
        kicks=machine.kicks if trace is None else None,
        trace=trace, report=partial(machine.device_error, name),
    )  # fmt: skip
    function = VirtioPci(name, kind, around, transport=transport, packed=packed)

    def close() -> None:
        with machine.lock:
            function.close()

    stack.callback(close)
    machine.pci.plug(slot, function, rom)
    return function
