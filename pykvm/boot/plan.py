"""What every image kind boils down to: bytes to place, and where and how to start."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

from pykvm.errors import ImageError


class Mode(Enum):
    """The CPU mode that a guest is entered in."""

    REAL = "real"
    PROTECTED = "protected"
    LONG = "long"


@dataclass(frozen=True)
class Segment:
    """``data`` at guest-physical ``address``; ``size`` bytes in all, the rest zero."""

    address: int
    data: bytes | memoryview
    size: int
    what: str  # for messages: "segment 2", "the image", "the initrd"

    @property
    def end(self) -> int:
        return self.address + self.size


@dataclass(frozen=True)
class Plan:
    """A guest ready to be placed: what goes where, and the first instruction."""

    kind: str  # "flat", "ELF64"
    mode: Mode
    entry: int
    segments: tuple[Segment, ...]


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
