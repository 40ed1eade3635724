"""Interrupt lines of the PC board: a device's wire to a GSI of the in-kernel controllers."""

from __future__ import annotations

import os
from collections.abc import Callable

from pykvm.errors import KvmError
from pykvm.hints import Any
from pykvm.kvm.abi import ffi, lib
from pykvm.kvm.vm import Vm


class Gsi:
    """One input of the controllers. Several lines may share it: it is up while any of them is."""

    def __init__(self, vm: Vm, number: int) -> None:
        self.number = number
        self.native: Any = ffi.gc(lib.pk_gsi_new(vm.fd, number), lib.pk_gsi_free)

    @property
    def rises(self) -> int:
        """How often it has gone up."""
        return int(lib.pk_gsi_rises(self.native))


class GsiLine:
    """A level line to a GSI. ``on_change(level)`` is called on each change when given (tracing).

    ``native`` is the ``struct pk_line *`` that C devices drive.
    """

    def __init__(self, gsi: Gsi) -> None:
        self._gsi = gsi
        self.native: Any = ffi.new("struct pk_line *", {"gsi": gsi.native})
        self.on_change: Callable[[bool], None] | None = None

    @property
    def gsi(self) -> int:
        return self._gsi.number

    @property
    def level(self) -> bool:
        return bool(self.native.level)

    def set(self, level: bool) -> None:
        if level == self.level:
            return
        error = lib.pk_line_set(self.native, level)
        if error:
            raise KvmError("KVM_IRQ_LINE", error, os.strerror(error))
        if self.on_change is not None:
            self.on_change(level)
