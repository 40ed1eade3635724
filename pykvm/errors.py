"""Every error that pykvm raises on purpose.

    PykvmError
    |-- UsageError            bad option or argument                        exit status 2
    |   `-- ImageError        a guest image that cannot be used             exit status 2
    |-- HostError             this host cannot do it                        exit status 4
    |   `-- KvmError          a KVM ioctl failed
    |-- GuestCrash            the guest crashed                             exit status 6
    |-- DeviceError           the guest asked a device for the impossible; ends nothing
    |   `-- GuestMemoryError  a guest address outside RAM
    |-- MachineError          a machine, or a vCPU of it, cannot do that now: it has run, is closed
    `-- PlugError             a device that cannot be plugged in as it is
        `-- RangeError        a bus range that is empty, overflows or overlaps

The first three end ``pykvm`` with their message as one line on stderr, so the message says what to
do. ``DeviceError`` is caught where the device is driven: the guest caused it and the machine lives.
Anything else is a bug of ours and keeps its traceback.
"""

from __future__ import annotations


class PykvmError(Exception):
    """Base of the tree; ``exit_status`` is what the command line ends with."""

    exit_status = 1


class UsageError(PykvmError):
    """A bad option or argument; the message names it and what is accepted."""

    exit_status = 2


class ImageError(UsageError):
    """A guest image that is unreadable, truncated, too big, or of an unknown kind."""


class HostError(PykvmError):
    """The host lacks something; the message names it and the command that mends it."""

    exit_status = 4


class KvmError(HostError):
    """A KVM ioctl failed.

    Attributes: ``call`` (the ioctl's name in ``<linux/kvm.h>``) and ``errno``.
    """

    def __init__(self, call: str, errno: int, message: str) -> None:
        super().__init__(f"{call}: {message}")
        self.call = call
        self.errno = errno


class GuestCrash(PykvmError):
    """The guest cannot go on: triple fault, KVM internal error, unhandled exit."""

    exit_status = 6


class DeviceError(PykvmError):
    """The guest drove a device outside what the device can do."""


class GuestMemoryError(DeviceError):
    """A guest-physical range that is not wholly inside one RAM slot.

    Attributes: ``address`` (guest-physical) and ``length`` (bytes).
    """

    def __init__(self, address: int, length: int) -> None:
        super().__init__(f"guest address {address:#x}, {length} bytes: not RAM")
        self.address = address
        self.length = length


class MachineError(PykvmError, RuntimeError):
    """Asked at a moment, or by a thread, at which the machine or a vCPU of it cannot do that; the
    message says what would have to be otherwise."""


class PlugError(PykvmError, ValueError):
    """A device that lacks something, or whose name, slot or interrupt line cannot be had."""


class RangeError(PlugError):
    """A bus range that is empty, overflows its address space, or overlaps another."""
