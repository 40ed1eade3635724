"""What can be observed of a running guest, as typed values.

Events are facts, not text: renderers and the statistics decide how to show them. They carry no
reference to the machine, so they can be kept for as long as one likes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pykvm.registers import Register


@dataclass(frozen=True, slots=True)
class Code:
    """Where the guest was at an exit.

    ``before`` and ``after`` are up to 15 bytes on each side of RIP (fewer where the page is not
    mapped). KVM reports some exits with RIP on the instruction and some past it; the disassembler
    uses both sides and the access itself to find the one that exited. ``registers`` are the
    general registers by lower-case name, for effective addresses and DX.
    """

    rip: int
    bits: int  # 16, 32 or 64: how the code segment decodes
    before: bytes
    after: bytes
    registers: Mapping[str, int]
    past: bool | None = None  # RIP is already past the instruction; None when not known


FINISHED = "FINISHED"
"""The reason of an exit for an instruction that KVM could not emulate and pykvm has finished:
``device`` is then the means (``event``, ``direct``, ``unicorn``, ``fault``), ``detail`` which."""


@dataclass(frozen=True, slots=True)
class ExitEvent:
    """One VM exit, told after it was answered, and before whatever answering it made happen.

    ``time_ns`` is when pykvm began to answer it.
    ``reason`` is KVM's name without the prefix: ``IO``, ``MMIO``, ``HLT``, ``SHUTDOWN`` ... For IO
    and MMIO the access is given: ``address`` is the port or guest-physical address, ``size`` its
    bytes, ``value`` what was written or answered, ``count`` the repeats of a string instruction
    (one event for all of them, ``value`` is then the last one's). ``device`` is None for an
    address that nobody claims. ``guest_ns`` is time inside KVM_RUN before this exit, ``user_ns``
    the time to answer it.
    """

    time_ns: int
    vcpu: int
    reason: str
    address: int | None = None
    size: int = 0
    count: int = 1
    write: bool = False
    value: int = 0
    device: str | None = None
    offset: int = 0
    register: Register | None = None
    guest_ns: int = 0
    user_ns: int = 0
    detail: str = ""
    code: Code | None = None


@dataclass(frozen=True, slots=True)
class IrqEvent:
    """A device drove its interrupt line."""

    time_ns: int
    device: str
    line: str  # "IRQ4", "INTA", "MSI-X 2"
    level: bool


@dataclass(frozen=True, slots=True)
class DeviceEvent:
    """Something inside a device that no register access shows: a frame, a byte, a time-out."""

    time_ns: int
    device: str
    what: str
    details: Mapping[str, Any] = field(default_factory=dict)


Event = ExitEvent | IrqEvent | DeviceEvent
