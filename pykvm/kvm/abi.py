"""``<linux/kvm.h>`` as the compiler laid it out: structures, ioctl numbers, names of numbers."""

from __future__ import annotations

import fcntl
import os
from typing import Any

from pykvm._native import ffi, lib
from pykvm.errors import KvmError

__all__ = ["CAPABILITIES", "EXIT_NAMES", "call", "call_long", "ffi", "lib"]


def _names(prefix: str) -> dict[str, int]:
    return {name[len(prefix) :]: getattr(lib, name) for name in dir(lib) if name.startswith(prefix)}


def _exit_names() -> dict[int, str]:
    # Sub-codes of one exit share the prefix: KVM_EXIT_IO_IN is a direction, not a reason.
    reasons = _names("KVM_EXIT_")
    sub = ("IO_IN", "IO_OUT", "HYPERV_", "XEN_", "EMULATION_", "INTERNAL_ERROR_")
    return {
        number: name
        for name, number in sorted(reasons.items(), reverse=True)
        if not name.startswith(sub)
    }


EXIT_NAMES: dict[int, str] = _exit_names()
"""Every exit reason that the header names: number to name without ``KVM_EXIT_``."""

CAPABILITIES: dict[str, int] = _names("KVM_CAP_")
"""Every capability that the header names: name without ``KVM_CAP_`` to number."""


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
