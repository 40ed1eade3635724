"""Message-signalled interrupts by eventfd: KVM delivers them itself, whoever signals."""

from __future__ import annotations

from pykvm.kvm.vm import GSI_COUNT, Vm

_MOST = 1024


class IrqfdMessages:
    """``interfaces.Messages`` by irqfd, over routes beyond the board's own inputs; called with the
    machine's lock held."""

    def __init__(self, vm: Vm) -> None:
        self._vm = vm
        self._routes: dict[int, tuple[int, int]] = {}  # GSI: (address, data)
        self._gsis: dict[int, int] = {}  # by eventfd
        self._bound: set[int] = set()

    def send(self, address: int, data: int) -> None:
        self._vm.signal_msi(address, data)

    def connect(self, fd: int, address: int, data: int) -> None:
        gsi = self._gsis.get(fd)
        if gsi is None:
            gsi = next(n for n in range(GSI_COUNT, GSI_COUNT + _MOST) if n not in self._routes)
            self._gsis[fd] = gsi
        if self._routes.get(gsi) != (address, data):
            self._routes[gsi] = (address, data)
            self._vm.set_message_routes(self._routes)
        if fd not in self._bound:
            self._vm.irqfd(fd, gsi)
            self._bound.add(fd)

    def disconnect(self, fd: int) -> None:
        if fd in self._bound:
            self._bound.discard(fd)
            self._vm.irqfd(fd, self._gsis[fd], assign=False)
