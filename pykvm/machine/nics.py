"""Network cards of a machine: each ``--nic`` becomes a card in a slot, over its backend."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from pykvm.backends.net import open_net_backend
from pykvm.devices.e1000 import E1000
from pykvm.devices.e1000.engines import named
from pykvm.errors import UsageError
from pykvm.interfaces import NetBackend
from pykvm.machine.observe import teller
from pykvm.machine.pci import gsi_of

if TYPE_CHECKING:
    from pykvm.machine.machine import Machine

_OWN_MAC = bytes.fromhex("525400123456")


def plug_nics(machine: Machine, stack: ExitStack) -> None:
    """Build and plug every card; ``stack`` closes the backends. Raises UsageError, HostError."""
    for number, nic in enumerate(machine.config.nics):
        slot = machine.pci.free_slot()
        name = f"{nic.model}-{number}"
        mac = nic.mac or _OWN_MAC[:5] + bytes((_OWN_MAC[5] + number,))
        backend = open_net_backend(nic.backend, machine.loop, machine.say)
        stack.callback(_close, machine, backend)
        if nic.pcap is not None:
            from pykvm.backends.net_pcap import PcapBackend

            backend = PcapBackend(backend, nic.pcap)
            stack.callback(_close, machine, backend)
        if nic.engine in ("native", "vcpu") and backend.native_fd is None:
            raise UsageError(f"--nic: engine={nic.engine} needs the backend null or tap, no pcap")
        card = E1000(
            name, mac, irq=machine.irq(name, gsi_of(slot)), loop=machine.loop,
            memory=machine.memory, backend=backend, trace=teller(machine, name),
            engine=named(nic.engine) if nic.engine else None,
            report=partial(machine.device_error, name), doorbells=machine.vm.doorbells,
        )  # fmt: skip
        stack.callback(card.close)
        machine.cards.append(card)
        machine.pci.plug(slot, card)


def _close(machine: Machine, backend: NetBackend) -> None:
    """Backends are called with the lock held, to the last."""
    with machine.lock:
        backend.close()
