"""What every image kind boils down to: bytes to place, and where and how to start."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from itertools import pairwise
from types import MappingProxyType

from pykvm.errors import ImageError, UsageError
from pykvm.record import Record


class Mode(Enum):
    """The CPU mode that a guest is entered in."""

    REAL = "real"
    PROTECTED = "protected"
    LONG = "long"


class Protocol(Enum):
    """A boot protocol of others that an image can be started by, whatever it looks like."""

    MULTIBOOT = "multiboot"
    PVH = "pvh"
    LINUX = "linux"


Start = Mode | Protocol
"""What ``--mode`` takes besides ``auto``: a mode is pykvm's own way to start a guest in it."""


class Segment(Record):
    """``data`` at guest-physical ``address``; ``size`` bytes in all, the rest zero."""

    address: int
    data: bytes | memoryview
    size: int
    what: str  # for messages: "segment 2", "the image", "the initrd"

    @property
    def end(self) -> int:
        return self.address + self.size


class Module(Record):
    """A file given with ``--initrd``."""

    name: str
    data: bytes


class Facts(Record):
    """What a machine has to tell its guest. Sizes are bytes; ``rsdp`` 0 means no ACPI."""

    memory_low: int  # RAM from 0
    memory_high: int = 0  # RAM from 4 GiB
    cpus: int = 1
    append: str = ""
    modules: tuple[Module, ...] = ()
    rsdp: int = 0


class Handover(Record):
    """How a boot protocol tells a guest its facts: tables in memory, general registers by name.

    ``code`` and ``data`` are selectors of the GDT among the segments.
    """

    segments: tuple[Segment, ...]
    registers: Mapping[str, int] = MappingProxyType({})
    code: int = 0
    data: int = 0


class Plan(Record):
    """A guest ready to be placed: what goes where, the first instruction, and the protocol."""

    kind: str  # "flat", "ELF64", "Linux"
    mode: Mode
    entry: int
    segments: tuple[Segment, ...]
    handover: Callable[[Facts], Handover]  # raises UsageError


def command_line(append: str, most: int) -> bytes:
    """``append`` with its NUL. Raises UsageError above ``most`` bytes."""
    line = append.encode(errors="surrogateescape")
    if len(line) > most:
        raise UsageError(f"--append: {len(line)} bytes, the most is {most}")
    return line + b"\0"


def check_placement(name: str, segments: list[Segment], ram: list[tuple[int, int]]) -> None:
    """Raise ImageError unless every segment lies in one RAM range and none overlaps another.

    ``ram`` holds (start, end) pairs; ``segments`` includes what pykvm itself places.
    """
    for segment in segments:
        if not any(start <= segment.address and segment.end <= end for start, end in ram):
            last = max(end for _, end in ram)
            need = f"ends at {segment.end:#x}, RAM ends at {last:#x}; give it more with --memory"
            if segment.end <= last:
                need = "reaches into the hole below 4 GiB"
            raise ImageError(f"{name}: {segment.what} at {segment.address:#x} {need}")
    ordered = sorted((s for s in segments if s.size), key=lambda s: s.address)
    for lower, upper in pairwise(ordered):
        if upper.address < lower.end:
            raise ImageError(
                f"{name}: {upper.what} at {upper.address:#x} overlaps {lower.what} "
                f"at {lower.address:#x}-{lower.end - 1:#x}"
            )
