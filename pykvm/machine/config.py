"""What a machine is made of, as plain values, from the command line or from a test."""

from __future__ import annotations

from collections.abc import Sequence

from pykvm.boot.plan import Start
from pykvm.devices.fwcfg import MOST_FILES
from pykvm.errors import UsageError
from pykvm.hints import Any
from pykvm.machine.cpumodel import HOST, CpuModel
from pykvm.machine.fwcfg import FwCfgItem
from pykvm.record import Record

MIN_MEMORY = 1 << 20
MAX_MEMORY = 1 << 40
MAX_CPUS = 64
MAX_NICS = 8
NIC_MODELS: dict[str, tuple[str, ...]] = {
    "e1000": ("backend", "mac", "pcap", "rom", "engine", "coalesce", "tso"),
    "virtio-net": (
        "backend", "mac", "pcap", "rom", "engine", "transport", "queues", "ring", "packed", "mtu",
        "poll", "vhost",
    ),
}  # fmt: skip
"""The options that each model takes."""
ENGINES = ("native", "vcpu", "python")
SEGMENTERS = ("host", "card")
TRANSPORTS = ("transitional", "legacy", "modern")
MAX_QUEUES = 8
MIN_RING, MAX_RING = 64, 32768
MIN_MTU, MAX_MTU = 68, 65535
MAX_DISKS = 8


class NicConfig(Record, kw_only=True):
    """One network card. ``mac`` None is one of pykvm's own; ``pcap`` is a file to record to,
    ``rom`` a file with its option ROM; ``engine`` is what moves its frames, None the fastest that
    can; with ``coalesce`` it merges successive frames of one TCP flow on their way to the host;
    ``tso`` is who cuts large segments and sums them: the host where it can, or the card. The rest
    is for virtio-net:
    ``queues`` pairs at most, ``ring`` entries at most in each of their queues, ``packed`` rings
    offered, ``poll`` whether its threads look for work before they sleep, ``vhost`` whether the
    kernel's vhost-net works its rings: on, off or auto."""

    model: str
    backend: str = "null"
    mac: bytes | None = None
    pcap: str | None = None
    rom: str | None = None
    engine: str | None = None
    coalesce: bool = False
    tso: str = "host"
    transport: str = "transitional"
    queues: int = 1
    ring: int = 1024
    packed: bool = False
    mtu: int = 1500
    poll: bool = True
    vhost: str = "off"

    @classmethod
    def parse(cls, text: str) -> NicConfig:
        """``e1000,backend=tap:tap0,mac=52:54:00:00:00:01,pcap=FILE``; raises UsageError."""
        model, *options = text.split(",")
        if model not in NIC_MODELS:
            raise UsageError(f"--nic: no model {model!r}; it takes {', '.join(NIC_MODELS)}")
        values: dict[str, Any] = {}
        for option in options:
            key, equals, value = option.partition("=")
            if key not in NIC_MODELS[model] or not equals or not value:
                takes = ", ".join(f"{name}=" for name in NIC_MODELS[model])
                raise UsageError(f"--nic: {option!r}; {model} takes {takes}")
            if key in values:
                raise UsageError(f"--nic: {key} is given twice")
            values[key] = _nic_value(model, key, value)
        return cls(model=model, **values)


def _nic_value(model: str, key: str, value: str) -> Any:
    match key:
        case "mac":
            return _mac(value)
        case "engine":
            return _one_of(key, value, ENGINES)
        case "tso":
            return _one_of(key, value, SEGMENTERS)
        case "transport":
            return _one_of(key, value, TRANSPORTS)
        case "packed" | "poll" | "coalesce":
            return _one_of(key, value, ("on", "off")) == "on"
        case "vhost":
            return _one_of(key, value, ("on", "off", "auto"))
        case "queues":
            return _number(key, value, 1, MAX_QUEUES)
        case "ring":
            return _power_of_two(key, value, MIN_RING, MAX_RING)
        case "mtu":
            return _number(key, value, MIN_MTU, MAX_MTU)
    return value


def _one_of(key: str, value: str, accepted: Sequence[str]) -> str:
    if value not in accepted:
        raise UsageError(f"--nic: no {key} {value!r}; it takes {', '.join(accepted)}")
    return value


def _number(key: str, value: str, least: int, most: int) -> int:
    if not value.isdecimal() or not least <= int(value) <= most:
        raise UsageError(f"--nic: {key}={value}; it takes from {least} to {most}")
    return int(value)


def _power_of_two(key: str, value: str, least: int, most: int) -> int:
    if not value.isdecimal() or not least <= int(value) <= most or int(value).bit_count() != 1:
        raise UsageError(f"--nic: {key}={value}; it takes a power of two from {least} to {most}")
    return int(value)


def _mac(text: str) -> bytes:
    parts = text.split(":")
    try:
        mac = bytes(int(part, 16) for part in parts if 1 <= len(part) <= 2)
    except ValueError:
        mac = b""
    if len(parts) != 6 or len(mac) != 6 or mac[0] & 1:
        raise UsageError(f"--nic: {text!r} is not a unicast MAC address; write 52:54:00:12:34:56")
    return mac


def _options(flag: str, words: list[str], takes: str) -> dict[str, str]:
    """``key=value`` words, each of the keys in ``takes`` (``"readonly=on,serial=S"``) once at most;
    raises UsageError."""
    keys = [word.partition("=")[0] for word in takes.split(",")]
    values: dict[str, str] = {}
    for word in words:
        key, _, value = word.partition("=")
        if key not in keys or not value:
            raise UsageError(f"{flag}: {word!r}; it takes {takes.replace(',', ', ')}")
        if key in values:
            raise UsageError(f"{flag}: {key} is given twice")
        values[key] = value
    if values.setdefault("transport", "transitional") not in TRANSPORTS:
        raise UsageError(
            f"{flag}: no transport {values['transport']!r}; it takes {', '.join(TRANSPORTS)}"
        )
    return values


class DiskConfig(Record, kw_only=True):
    """One disk: a file or block device of the host. ``serial`` None is one of pykvm's own."""

    path: str
    readonly: bool = False
    serial: str | None = None
    transport: str = "transitional"

    @classmethod
    def parse(cls, text: str) -> DiskConfig:
        """``FILE,readonly=on,serial=S,transport=T``; raises UsageError."""
        path, *words = text.split(",")
        values = _options("--disk", words, "readonly=on,serial=S,transport=T")
        serial, readonly = values.get("serial"), values.get("readonly", "off")
        if not path:
            raise UsageError("--disk: it takes FILE,readonly=on,serial=S")
        if readonly not in ("on", "off"):
            raise UsageError(f"--disk: readonly={readonly}; it takes on and off")
        if serial is not None and (len(serial) > 20 or not serial.isascii()):
            raise UsageError(f"--disk: serial={serial}; it takes up to 20 ASCII characters")
        return cls(
            path=path, readonly=readonly == "on", serial=serial, transport=values["transport"]
        )


class Config(Record, kw_only=True):
    """One machine. ``mode`` None means auto; sizes are bytes, ``timeout`` seconds. ``kaslr`` leaves
    the unpacking of a bzImage to the guest; without ``acpi`` no ACPI tables are placed. With
    ``firmware`` the image is a ROM to start in.

    Raises UsageError for a value that no machine can have.
    """

    image: str
    mode: Start | None = None
    load_address: int | None = None
    entry: int | None = None
    memory: int = 128 << 20
    cpus: int = 1
    cpu: CpuModel = HOST
    append: str = ""
    initrd: str | tuple[str, ...] | None = None
    kaslr: bool = False
    serial: str = "stdio"
    debugcon: str = "null"
    timeout: float | None = None
    nics: tuple[NicConfig, ...] = ()
    rng: bool = False
    disks: tuple[DiskConfig, ...] = ()
    console: str | None = None
    acpi: bool = True
    firmware: bool = False
    testdev: bool = False
    fw_cfg: tuple[FwCfgItem, ...] = ()

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
        if self.console == self.serial == "stdio":
            raise UsageError(
                "--console stdio: the serial port has the terminal; give that --serial null, pty "
                "or file:PATH"
            )
        if self.debugcon == "stdio" and "stdio" in (self.serial, self.console):
            raise UsageError(
                "--debugcon stdio: another one has the terminal; write --serial null, or give this "
                "one null, pty or file:PATH"
            )
        names = [item.name for item in self.fw_cfg]
        for name in names:
            if names.count(name) > 1:
                raise UsageError(f"--fw-cfg: {name} is given twice")
        if len(names) >= MOST_FILES:
            raise UsageError(f"--fw-cfg: {len(names)} items; it takes at most {MOST_FILES - 1}")
        if len(self.disks) > MAX_DISKS:
            raise UsageError(f"--disk: {len(self.disks)} disks; it takes at most {MAX_DISKS}")
        if self.timeout is not None and not 0 < self.timeout < 1e9:
            raise UsageError(f"--timeout: {self.timeout:g}; it takes seconds above 0")

    @property
    def initrds(self) -> tuple[str, ...]:
        """The files to hand to the guest, none to many."""
        if self.initrd is None:
            return ()
        return (self.initrd,) if isinstance(self.initrd, str) else self.initrd
