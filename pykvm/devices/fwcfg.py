"""fw_cfg: numbered items that a monitor gives to firmware and kernels (QEMU, docs/specs/fw_cfg).

A selector chooses an item, which is then read byte by byte, or by DMA: the guest writes the address
of a request, and the device reads, skips or selects as it says. Items are read-only. Past an item's
end zeros are read.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

from pykvm.errors import DeviceError
from pykvm.interfaces import State
from pykvm.memory import GuestMemory
from pykvm.registers import Access, Field, Register, RegisterMap

SIGNATURE, ID, RAM_SIZE, CPUS, MOST_CPUS = 0x00, 0x01, 0x03, 0x05, 0x0F
KERNEL_SIZE, INITRD_SIZE, KERNEL_DATA, INITRD_DATA = 0x08, 0x0B, 0x11, 0x12
CMDLINE_SIZE, CMDLINE_DATA = 0x14, 0x15
FILE_DIR, FIRST_FILE = 0x19, 0x20
MOST_FILES, MOST_NAME = 256, 55

Item = bytes | Callable[[], bytes]
"""What an item holds, or what reads it when it is first wanted."""

CONTROL = (
    Field("ERROR", 0),
    Field("READ", 1),
    Field("SKIP", 2),
    Field("SELECT", 3),
    Field("WRITE", 4),
    Field("KEY", 16, 16),
)
"""Of a DMA request: what to do, and what came of it."""
_ERROR, _READ, _SKIP, _SELECT, _WRITE = (f.mask for f in CONTROL[:5])
_REQUEST = struct.Struct(">IIQ")  # control, length, address
_FILE = struct.Struct(">IHxx56s")
_DMA_SIGNATURE = int.from_bytes(b"QEMU CFG", "big")
_FEATURES = 0x3  # the ports, and DMA
_DATA, _DMA_HIGH, _DMA_LOW = 1, 4, 8
SIZE = 12
REGISTERS = RegisterMap(
    "fw_cfg",
    [
        Register("SELECT", 0, 2, Access.WO),
        Register("DATA", _DATA, 1, Access.RO),
        Register("DMA_HIGH", _DMA_HIGH, 4, doc="big endian"),
        Register("DMA_LOW", _DMA_LOW, 4, doc="big endian; writing it starts the request"),
    ],
)


class FwCfg:
    """``items`` by number, ``files`` by name, which get numbers from 0x20 in the order of names."""

    registers = REGISTERS
    access_width = 4
    bank = 0
    name = "fwcfg"

    def __init__(
        self, memory: GuestMemory, items: Mapping[int, Item], files: Mapping[str, bytes]
    ) -> None:
        self._memory = memory
        self._items: dict[int, Item] = {
            SIGNATURE: b"QEMU",
            ID: struct.pack("<I", _FEATURES),
            **items,
            **dict(enumerate((files[name] for name in sorted(files)), FIRST_FILE)),
            FILE_DIR: _directory(files),
        }
        self.reset()

    def reset(self) -> None:
        self.selected = self.offset = self.address = 0

    def _item(self) -> bytes:
        """The selected item; empty where there is none."""
        item = self._items.get(self.selected, b"")
        if callable(item):
            item = self._items[self.selected] = item()
        return item

    def _next(self) -> int:
        """The next byte of the selected item; 0 past its end."""
        item, at = self._item(), self.offset
        self._skip(1)
        return item[at] if at < len(item) else 0

    def _skip(self, size: int) -> None:
        self.offset = min(self.offset + size, len(self._item()))

    def _choose(self, key: int) -> None:
        self.selected, self.offset = key, 0

    def read(self, offset: int, size: int) -> int:
        if offset == _DATA and size == 1:
            return self._next()
        if offset >= _DMA_HIGH:
            signature = _DMA_SIGNATURE.to_bytes(8, "big")
            at = offset - _DMA_HIGH
            return int.from_bytes(signature[at : at + size], "little")
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        if offset == 0 and size == 2:
            self._choose(value)
        elif size == 4 and offset in (_DMA_HIGH, _DMA_LOW):
            half = int.from_bytes(value.to_bytes(4, "little"), "big")
            if offset == _DMA_HIGH:
                self.address = half << 32
            else:
                address, self.address = self.address | half, 0
                self._run(address)

    def _run(self, address: int) -> None:
        """A DMA request; raises DeviceError when its address is not in RAM."""
        control, size, target = _REQUEST.unpack(self._memory.read(address, _REQUEST.size))
        if control & _SELECT:
            self._choose(control >> 16)
        done = 0
        try:
            if control & _READ:
                self._copy(size, target)
            elif control & _WRITE:
                done = _ERROR  # nothing can be written
            elif control & _SKIP:
                self._skip(size)
        except DeviceError:
            done = _ERROR
        self._memory.write(address, struct.pack(">I", done))

    def _copy(self, size: int, target: int) -> None:
        """To ``target``, zeros past the item's end; nothing when it is not all RAM."""
        self._memory.view(target, size).release()
        with memoryview(self._item()) as item, item[self.offset : self.offset + size] as data:
            self._memory.write(target, data)
            done = len(data)
        self._memory.fill(target + done, size - done)
        self._skip(size)

    def state(self) -> State:
        return {
            "version": 1,
            "selected": self.selected,
            "offset": self.offset,
            "address": self.address,
        }

    def restore(self, state: State) -> None:
        if state["version"] != 1:
            raise ValueError(f"{self.name}: state version {state['version']}")
        self.selected, self.offset = state["selected"], state["offset"]
        self.address = state["address"]


def _directory(files: Mapping[str, bytes]) -> bytes:
    rows = [
        _FILE.pack(len(files[name]), key, name.encode())
        for key, name in enumerate(sorted(files), FIRST_FILE)
    ]
    return struct.pack(">I", len(rows)) + b"".join(rows)
