"""Network cards of a machine: each ``--nic`` becomes a card in a slot, over its backend."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from pykvm.backends.net import open_net_backend
from pykvm.boot.image import read_file
from pykvm.devices.pci import rom
from pykvm.errors import ImageError, UsageError
from pykvm.interfaces import NetBackend
from pykvm.machine.config import NicConfig
from pykvm.machine.pci import gsi_of
from pykvm.net.vnet import Offload

if TYPE_CHECKING:
    from pykvm.devices.e1000.engine import Engine, Surroundings
    from pykvm.machine.machine import Machine

_SEGMENTED = Offload.CSUM | Offload.TSO4 | Offload.TSO6
_OWN_MAC = bytes.fromhex("525400123456")


def plug_nics(machine: Machine, stack: ExitStack) -> None:
    """Build and plug every card; ``stack`` closes the backends. Raises UsageError, HostError."""
    if machine.config.nics:
        from pykvm._native import lib
        from pykvm.machine import quota

        lib.pk_processors_limit(quota.processors())
    for number, nic in enumerate(machine.config.nics):
        name = f"{nic.model}-{number}"
        mac = nic.mac or _OWN_MAC[:5] + bytes((_OWN_MAC[5] + number,))
        backend = open_net_backend(nic.backend, machine.loop, machine.say, queues=nic.queues)
        stack.callback(_close, machine, backend)
        if nic.pcap is not None:
            from pykvm.backends.net_pcap import PcapBackend

            backend = PcapBackend(backend, nic.pcap)
            stack.callback(_close, machine, backend)
        if nic.engine in ("native", "vcpu") and backend.native_fd is None:
            raise UsageError(f"--nic: engine={nic.engine} needs the backend null or tap, no pcap")
        plug = _plug_e1000 if nic.model == "e1000" else _plug_virtio
        plug(machine, stack, nic, name, mac, backend)


def _plug_e1000(
    machine: Machine, stack: ExitStack, nic: NicConfig, name: str, mac: bytes, backend: NetBackend
) -> None:
    from pykvm.devices.e1000 import E1000

    if nic.tso == "card":
        backend.offloads = Offload.NONE
    _check_coalescing(nic, backend)
    slot = machine.pci.free_slot()
    card = E1000(
        name, mac, irq=machine.irq(name, gsi_of(slot)), loop=machine.loop,
        memory=machine.memory, backend=backend, trace=machine.teller(name),
        engine=_e1000_engine(machine, nic),
        report=partial(machine.device_error, name), doorbells=machine.vm.doorbells,
    )  # fmt: skip
    stack.callback(card.close)
    machine.add_card(name, card)
    machine.pci.plug(slot, card, _rom(nic))


def _plug_virtio(
    machine: Machine, stack: ExitStack, nic: NicConfig, name: str, mac: bytes, backend: NetBackend
) -> None:
    from pykvm.devices.virtio.net import Net
    from pykvm.devices.virtio.net.engines import choose
    from pykvm.devices.virtio.net.vhost import WITHHELD as VHOST_WITHHELD
    from pykvm.machine.virtio import plug

    traced = machine.traced
    if traced and nic.engine in ("native", "vcpu"):
        raise UsageError(f"--nic: a traced card is worked in Python: drop engine={nic.engine}")
    by_kernel = _vhost(nic, backend, traced)
    make = choose(nic.engine, backend, traced=traced, poll=nic.poll, vhost=by_kernel)
    card = Net(
        mac, backend, make, pairs=nic.queues, entries=nic.ring, mtu=nic.mtu,
        withheld=int(VHOST_WITHHELD) if by_kernel else 0,
    )  # fmt: skip
    stack.callback(card.close)
    plug(machine, stack, name, card, transport=nic.transport, packed=nic.packed, rom=_rom(nic))
    machine.add_card(name, card)


def _rom(nic: NicConfig) -> bytes:
    """The card's option ROM, empty without one. Raises ImageError."""
    if nic.rom is None:
        return b""
    data = read_file(nic.rom, "the option ROM", 1 << 30)
    if not data.startswith(rom.SIGNATURE) or len(data) > rom.MOST:
        raise ImageError(
            f"{nic.rom}: not an option ROM; it begins with 55 aa and has up to {rom.MOST >> 10}K"
        )
    return data


def _vhost(nic: NicConfig, backend: NetBackend, traced: bool) -> bool:
    """Whether vhost-net works the card's rings. Raises UsageError where it never can, HostError
    where this host has none."""
    from pykvm.devices.virtio.net import vhost

    able = -1 not in (backend.native_fds or (-1,)) and not nic.packed and nic.engine is None
    if nic.vhost == "on":
        if not able or traced:
            raise UsageError(
                "--nic: vhost=on needs the backend tap, no pcap, no trace, no packed=on, no engine="
            )
        vhost.check()
        return True
    return nic.vhost == "auto" and able and not traced and vhost.available()


def _check_coalescing(nic: NicConfig, backend: NetBackend) -> None:
    """Merged frames need C to write them and a host that cuts them again."""
    able = backend.native_fd is not None and _SEGMENTED in backend.offloads
    if nic.coalesce and (nic.engine == "python" or not able):
        raise UsageError(
            "--nic: coalesce=on needs the backend null or tap, no pcap, no engine=python, "
            "no tso=card"
        )


def _e1000_engine(machine: Machine, nic: NicConfig) -> Callable[[Surroundings], Engine] | None:
    """What moves the frames, None for the card's own choice. A traced card shows every frame, so it
    merges none."""
    from pykvm.devices.e1000.engines import named

    if nic.coalesce and not machine.traced:
        return named(nic.engine or "native", coalesce=True)
    return named(nic.engine) if nic.engine else None


def _close(machine: Machine, backend: NetBackend) -> None:
    """Backends are called with the lock held, to the last."""
    with machine.lock:
        backend.close()
