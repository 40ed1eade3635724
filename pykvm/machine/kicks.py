"""Kicks without exits: KVM signals an eventfd for the guest's write."""

from __future__ import annotations

import os

from pykvm.errors import HostError
from pykvm.hints import Any
from pykvm.kvm.abi import ffi, lib
from pykvm.kvm.vm import Vm


class IoeventfdKicks:
    """``interfaces.Kicks``; called with the machine's lock held."""

    def __init__(self, vm: Vm) -> None:
        self._vm = vm
        self._native: dict[int, Any] = {}

    def native(self, fd: int) -> Any:
        if fd not in self._native:
            kicks = lib.pk_kicks_new(self._vm.fd, fd)
            if kicks == ffi.NULL:
                raise MemoryError("no memory for a queue's kicks")
            self._native[fd] = ffi.gc(kicks, lib.pk_kicks_free)
        return self._native[fd]

    def listen(self, fd: int, address: int, *, io: bool, value: int | None = None) -> None:
        match = value is not None
        error = lib.pk_kicks_add(self.native(fd), address, io, match, value or 0)
        if error:
            raise HostError(f"a kick cannot be caught inside KVM: {os.strerror(error)}")

    def ignore(self, fd: int) -> None:
        kicks = self._native.get(fd)
        if kicks is not None:
            lib.pk_kicks_clear(kicks)
