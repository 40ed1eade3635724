"""What the machine tells by fw_cfg: itself, its image, and the user's own items (``--fw-cfg``)."""

from __future__ import annotations

import struct

from pykvm.boot import memmap
from pykvm.boot.image import read_file
from pykvm.boot.plan import Facts
from pykvm.devices import fwcfg as f
from pykvm.errors import ImageError, UsageError
from pykvm.hints import TYPE_CHECKING
from pykvm.machine.board import COM1
from pykvm.record import Record

if TYPE_CHECKING:
    from pykvm.machine.config import Config
    from pykvm.machine.machine import Machine

E820 = "etc/e820"
SERCON = "etc/sercon-port"
"""The port of a serial console; SeaBIOS talks there, too."""
MOST_BYTES = 16 << 20
_E820_ROW = struct.Struct("<QQI")


class FwCfgItem(Record, kw_only=True):
    """One item of the user's: a file of the host, or the text itself."""

    name: str
    file: str | None = None
    string: str = ""

    @classmethod
    def parse(cls, text: str) -> FwCfgItem:
        """``name=opt/x,file=F`` or ``name=opt/x,string=S``; the last may contain commas. Raises
        UsageError."""
        name, comma, source = text.removeprefix("name=").partition(",")
        key, _, value = source.partition("=")
        if not text.startswith("name=") or not comma or key not in ("file", "string"):
            raise UsageError(f"--fw-cfg: {text!r}; write name=opt/x,file=F or name=opt/x,string=S")
        if not name.isascii() or not name.isprintable() or not 0 < len(name) <= f.MOST_NAME:
            raise UsageError(
                f"--fw-cfg: the name {name!r}; it takes up to {f.MOST_NAME} ASCII characters"
            )
        if name == E820:
            raise UsageError(f"--fw-cfg: {E820} is the machine's own")
        return cls(name=name, file=value) if key == "file" else cls(name=name, string=value)

    def data(self) -> bytes:
        """What it holds. Raises ImageError."""
        if self.file is None:
            return self.string.encode(errors="surrogateescape")
        return read_file(self.file, "the fw_cfg item", MOST_BYTES)


def device(machine: Machine) -> f.FwCfg:
    """The device of ``machine``. Raises ImageError for a file of the user's."""
    config, memory = machine.config, machine.memory
    line = config.append.encode(errors="surrogateescape") + b"\0"
    image = () if config.firmware else (config.image,)
    kernel, initrd = _Files(config, image), _Files(config, config.initrds)
    items: dict[int, f.Item] = {
        f.RAM_SIZE: struct.pack("<Q", config.memory),
        f.CPUS: struct.pack("<H", config.cpus),
        f.MOST_CPUS: struct.pack("<H", config.cpus),
        f.KERNEL_SIZE: kernel.size,
        f.KERNEL_DATA: kernel.data,
        f.INITRD_SIZE: initrd.size,
        f.INITRD_DATA: initrd.data,
        f.CMDLINE_SIZE: struct.pack("<I", len(line)),
        f.CMDLINE_DATA: line,
    }
    ranges = memmap.ranges(Facts(memory.low_size, memory.high_size))
    files = {E820: b"".join(_E820_ROW.pack(r.start, r.size, r.kind) for r in ranges)}
    if config.firmware:  # there is no screen
        files[SERCON] = struct.pack("<H", COM1)
    if config.firmware and config.acpi:
        from pykvm.machine.firmware import table_loader

        files |= table_loader.files(config.cpus)
    files |= {item.name: item.data() for item in config.fw_cfg}
    return f.FwCfg(memory, items, files)


class _Files:
    """Files of the host as one item, read again only by a guest that asks for it."""

    def __init__(self, config: Config, paths: tuple[str, ...]) -> None:
        self._config, self._paths = config, paths

    def data(self) -> bytes:
        try:
            return b"".join(
                read_file(path, "the fw_cfg item", self._config.memory) for path in self._paths
            )
        except ImageError:  # they were there when the guest started
            return b""

    def size(self) -> bytes:
        return struct.pack("<I", len(self.data()) & 0xFFFF_FFFF)
