"""Kicks without exits: KVM signals an eventfd for the guest's write."""

from __future__ import annotations

from pykvm.kvm.vm import Vm

_WIDTH = 2  # a queue's number has 16 bits


class IoeventfdKicks:
    """``interfaces.Kicks``; called with the machine's lock held."""

    def __init__(self, vm: Vm) -> None:
        self._vm = vm
        self._at: dict[int, list[tuple[int, bool, int | None]]] = {}

    def listen(self, fd: int, address: int, *, io: bool, value: int | None = None) -> None:
        self._vm.ioeventfd(fd, address, _WIDTH, pio=io, match=value)
        self._at.setdefault(fd, []).append((address, io, value))

    def ignore(self, fd: int) -> None:
        for address, io, value in self._at.pop(fd, []):
            self._vm.ioeventfd(fd, address, _WIDTH, pio=io, match=value, assign=False)
