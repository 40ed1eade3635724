"""``<linux/kvm.h>`` as the compiler laid it out: structures, ioctl numbers, names of numbers."""

from __future__ import annotations

import fcntl
import os
from functools import cache

from pykvm._native import ffi, lib
from pykvm.errors import KvmError
from pykvm.hints import Any

__all__ = ["call", "call_long", "capability", "exit_names", "ffi", "lib"]


@cache
def exit_names() -> dict[int, str]:
    """Every exit reason that the header names: number to name without ``KVM_EXIT_``."""
    names = [name.removeprefix("KVM_EXIT_") for name in dir(lib) if name.startswith("KVM_EXIT_")]
    # Sub-codes of one exit share the prefix: KVM_EXIT_IO_IN is a direction, not a reason.
    sub = ("IO_IN", "IO_OUT", "HYPERV_", "XEN_", "EMULATION_", "INTERNAL_ERROR_")
    return {getattr(lib, f"KVM_EXIT_{name}"): name for name in names if not name.startswith(sub)}


def capability(name: str) -> int | None:
    """The number of ``KVM_CAP_<name>``, if the header names it."""
    return getattr(lib, f"KVM_CAP_{name}", None)


def call(fd: int, name: str, argument: Any = 0) -> int:
    """Issue the ioctl ``name`` (``KVM_...``) on ``fd``.

    ``argument`` is a small integer, or a cffi structure or array that the kernel may fill in.
    Returns the ioctl's result; raises KvmError.
    """
    try:
        if isinstance(argument, int):
            return fcntl.ioctl(fd, getattr(lib, name), argument)
        return int(fcntl.ioctl(fd, getattr(lib, name), ffi.buffer(argument)))
    except OSError as e:
        number = e.errno or 0
        raise KvmError(name, number, os.strerror(number)) from e


def call_long(fd: int, name: str, argument: int) -> int:
    """The same for an integer above 2 GiB, which ``fcntl.ioctl`` refuses to pass."""
    result = int(lib.pk_ioctl(fd, getattr(lib, name), argument))
    if result < 0:
        raise KvmError(name, -result, os.strerror(-result))
    return result
