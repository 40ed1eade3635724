"""What a machine is made of, as plain values, from the command line or from a test."""

from __future__ import annotations

from dataclasses import dataclass

from pykvm.boot.plan import Mode
from pykvm.errors import UsageError

MIN_MEMORY = 1 << 20
MAX_MEMORY = 1 << 40
MAX_CPUS = 64


@dataclass(frozen=True, kw_only=True)
class Config:
    """One machine. ``mode`` None means auto; sizes are bytes, ``timeout`` seconds.

    Raises UsageError for a value that no machine can have.
    """

    image: str
    mode: Mode | None = None
    load_address: int | None = None
    entry: int | None = None
    memory: int = 128 << 20
    cpus: int = 1
    append: str = ""
    initrd: str | None = None
    serial: str = "stdio"
    timeout: float | None = None

    def __post_init__(self) -> None:
        if not MIN_MEMORY <= self.memory <= MAX_MEMORY:
            raise UsageError(
                f"--memory: {self.memory} bytes; it takes from {MIN_MEMORY >> 20}M "
                f"to {MAX_MEMORY >> 40}T"
            )
        if self.memory % 4096:
            raise UsageError(f"--memory: {self.memory} bytes is not a multiple of 4K")
        if not 1 <= self.cpus <= MAX_CPUS:
            raise UsageError(f"--cpus: {self.cpus}; it takes from 1 to {MAX_CPUS}")
        if self.timeout is not None and not 0 < self.timeout < 1e9:
            raise UsageError(f"--timeout: {self.timeout:g}; it takes seconds above 0")
