"""The cards that ``pykvm bench tx`` and ``rx`` measure: guests, kinds, and what QEMU calls them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from pykvm.bench import network, qemu
from pykvm.bench.exits import Lines
from pykvm.errors import PykvmError
from pykvm.machine.config import Config, NicConfig
from pykvm.machine.machine import Machine

MERGED = "tx-tcp-merged"  # the guest's tx-tcp on a card with coalesce=on


class Filled(Protocol):
    """A card whose rings a host thread has filled."""

    def send(self, frames: int, batch: int) -> None:
        """Ring for ``batch`` frames at a time until all are sent."""


@dataclass(frozen=True)
class Card:
    """``qemu`` is what QEMU calls it; ``harness(kind, offloads)`` is the card without a guest."""

    model: str
    image: str
    qemu: str
    kinds: tuple[str, ...]
    harness: Callable[[str, bool], AbstractContextManager[Filled]]
    ring: int  # buffers that its guest uses in turn
    can_cut: bool  # whether the card itself can segment, to be measured beside the kernel
    append: str = ""

    def machine(
        self, image: str, append: str, line: Callable[[str], None], *,
        engine: str | None = None, coalesce: bool = False, serial: Lines | None = None,
    ) -> Machine:  # fmt: skip
        """A machine with the card on the measurement's TAP."""
        nic = NicConfig(
            model=self.model, backend=f"tap:{network.NAME}", engine=engine,
            coalesce=coalesce and engine != "python",
        )  # fmt: skip
        config = Config(image=image, append=f"{append} {self.append}", timeout=120, nics=(nic,))
        return Machine(config, serial=serial or Lines(line))

    def qemu_options(self) -> tuple[str, ...]:
        """The same card for QEMU."""
        netdev, device = qemu.tap_card(self.qemu, network.NAME)
        return ("-netdev", netdev, "-device", device)


def run(machine: Machine) -> None:
    """To the guest's end; raises PykvmError when it failed."""
    outcome = machine.run()
    if outcome.status != 1:
        raise PykvmError(f"the bench guest ended with {outcome.status}: {outcome.reason}")


def _e1000(kind: str, offloads: bool) -> AbstractContextManager[Filled]:
    from pykvm.bench.harness import Harness

    return Harness(offloads=offloads, coalesce=kind == MERGED).filled(kind)


def _virtio(kind: str, offloads: bool) -> AbstractContextManager[Filled]:
    from pykvm.bench.harness_virtio import VirtioHarness

    return VirtioHarness().filled(kind)


_PLAIN = ("tx-60-64", "tx-1514-64")
_EACH = ("tx-60-1", "tx-1514-1")
_WAITING = ("wait-60-1", "wait-1514-1", "wait-60-64", "wait-1514-64", "wait-tso")
_KERNEL = ("tx-60-1-kernel", "tx-1514-1-kernel")  # rung in ring 0, as a kernel's driver does
CARDS = {
    "e1000": Card(
        "e1000", "nic.elf", "e1000",
        (*_PLAIN, "tx-tcp", MERGED, "tx-tso", *_EACH, *_KERNEL, *_WAITING), _e1000,
        ring=256, can_cut=True,
    ),
    "virtio-net": Card(
        "virtio-net", "virtio_nic.elf", "virtio-net-pci",
        (*_PLAIN, "tx-tso", *_EACH, *_WAITING, "wait-tso-32"), _virtio,
        ring=1024, can_cut=False,
    ),
}  # fmt: skip
