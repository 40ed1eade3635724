"""What a machine is made of, as plain values, from the command line or from a test."""

from __future__ import annotations

from dataclasses import dataclass

from pykvm.boot.plan import Mode
from pykvm.errors import UsageError

MIN_MEMORY = 1 << 20
MAX_MEMORY = 1 << 40
MAX_CPUS = 64
MAX_NICS = 8
NIC_MODELS = ("e1000",)
NIC_OPTIONS = ("backend", "mac", "pcap", "engine")
ENGINES = ("native", "vcpu", "python")


@dataclass(frozen=True, kw_only=True)
class NicConfig:
    """One network card. ``mac`` None is one of pykvm's own; ``pcap`` is a file to record to;
    ``engine`` is what moves its frames, None the fastest that can."""

    model: str
    backend: str = "null"
    mac: bytes | None = None
    pcap: str | None = None
    engine: str | None = None

    @classmethod
    def parse(cls, text: str) -> NicConfig:
        """``e1000,backend=tap:tap0,mac=52:54:00:00:00:01,pcap=FILE``; raises UsageError."""
        model, *options = text.split(",")
        if model not in NIC_MODELS:
            raise UsageError(f"--nic: no model {model!r}; it takes {', '.join(NIC_MODELS)}")
        values: dict[str, str] = {}
        for option in options:
            key, equals, value = option.partition("=")
            if key not in NIC_OPTIONS or not equals or not value:
                raise UsageError(
                    f"--nic: {option!r}; it takes backend=B, mac=M, pcap=FILE and engine=E"
                )
            if key in values:
                raise UsageError(f"--nic: {key} is given twice")
            values[key] = value
        mac = _mac(values["mac"]) if "mac" in values else None
        engine = values.get("engine")
        if engine is not None and engine not in ENGINES:
            raise UsageError(f"--nic: no engine {engine!r}; it takes {', '.join(ENGINES)}")
        return cls(
            model=model, backend=values.get("backend", "null"), mac=mac, pcap=values.get("pcap"),
            engine=engine,
        )  # fmt: skip


def _mac(text: str) -> bytes:
    parts = text.split(":")
    try:
        mac = bytes(int(part, 16) for part in parts if 1 <= len(part) <= 2)
    except ValueError:
        mac = b""
    if len(parts) != 6 or len(mac) != 6 or mac[0] & 1:
        raise UsageError(f"--nic: {text!r} is not a unicast MAC address; write 52:54:00:12:34:56")
    return mac


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
    nics: tuple[NicConfig, ...] = ()
    rng: bool = False

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
        if len(self.nics) > MAX_NICS:
            raise UsageError(f"--nic: {len(self.nics)} cards; it takes at most {MAX_NICS}")
        if self.timeout is not None and not 0 < self.timeout < 1e9:
            raise UsageError(f"--timeout: {self.timeout:g}; it takes seconds above 0")
