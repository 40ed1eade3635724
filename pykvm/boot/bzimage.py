"""The setup header of a bzImage (Documentation/x86/boot.rst, "The Real-Mode Kernel Header")."""

from __future__ import annotations

import struct

from pykvm.errors import ImageError
from pykvm.record import Record

MAGIC, MAGIC_AT = b"HdrS", 0x202
BOOT_FLAG, BOOT_FLAG_AT = b"\x55\xaa", 0x1FE
ENTRY64 = 0x200
"""Where the decompressor's 64-bit entry is in the protected-mode kernel."""

_START = 0x1F1
_SECTOR = 512
_WITH_PAYLOAD, _WITH_XLOADFLAGS = 0x208, 0x20C
_LOADED_HIGH, _KERNEL_64 = 1 << 0, 1 << 0
_INITRD_ADDR_MAX = 0x7FFF_FFFF
_CMDLINE_SIZE = 2047
_VERSION = 0x20F


class SetupHeader(Record):
    """What a loader needs of it; sizes in bytes. ``raw`` is what goes into ``boot_params``."""

    raw: bytes
    cmdline_size: int
    initrd_addr_max: int
    pref_address: int = 0
    init_size: int = 0
    kernel_at: int = 0  # in the file
    payload_at: int = 0
    payload_size: int = 0

    def kernel(self, data: bytes | memoryview) -> memoryview:
        """The protected-mode kernel: the decompressor and what it carries."""
        return memoryview(data)[self.kernel_at :]

    def payload(self, data: bytes | memoryview) -> memoryview:
        """The packed kernel."""
        return memoryview(data)[self.payload_at : self.payload_at + self.payload_size]


def is_bzimage(data: bytes | memoryview) -> bool:
    """Whether the file looks like one."""
    return (
        bytes(data[MAGIC_AT : MAGIC_AT + 4]) == MAGIC
        and bytes(data[BOOT_FLAG_AT : BOOT_FLAG_AT + 2]) == BOOT_FLAG
    )


def read(name: str, data: bytes | memoryview) -> SetupHeader:
    """The header of a bzImage that can be started in 64-bit mode. Raises ImageError."""
    if not is_bzimage(data):
        raise ImageError(f"{name}: neither a Linux bzImage nor a vmlinux")
    if len(data) < 0x270:
        raise ImageError(f"{name}: truncated: the setup header of a bzImage is cut off")
    (version,) = struct.unpack_from("<H", data, 0x206)
    if version < _WITH_XLOADFLAGS:
        raise ImageError(
            f"{name}: boot protocol {version >> 8}.{version & 0xFF:02}, older than 2.12 "
            "(Linux 3.8): it cannot be started in 64-bit mode"
        )
    (xloadflags,) = struct.unpack_from("<H", data, 0x236)
    if not data[0x211] & _LOADED_HIGH:
        raise ImageError(f"{name}: a zImage, which loads low; build a bzImage")
    if not xloadflags & _KERNEL_64:
        raise ImageError(f"{name}: a 32-bit kernel; the 64-bit boot protocol cannot start it")
    end = min(0x202 + data[0x201], _START + 0x9F)  # the byte after the jump is its distance
    (initrd_addr_max,) = struct.unpack_from("<I", data, 0x22C)
    (cmdline_size,) = struct.unpack_from("<I", data, 0x238)
    payload_offset, payload_size = struct.unpack_from("<II", data, 0x248)
    (pref_address,) = struct.unpack_from("<Q", data, 0x258)
    (init_size,) = struct.unpack_from("<I", data, 0x260)
    kernel_at = ((data[0x1F1] or 4) + 1) * _SECTOR
    header = SetupHeader(
        raw=bytes(data[_START:end]),
        cmdline_size=cmdline_size,
        initrd_addr_max=initrd_addr_max,
        pref_address=pref_address,
        init_size=max(init_size, len(data) - kernel_at),
        kernel_at=kernel_at,
        payload_at=kernel_at + payload_offset,
        payload_size=payload_size,
    )
    if kernel_at >= len(data) or header.payload_at + payload_size > len(data):
        raise ImageError(
            f"{name}: truncated: the kernel in this bzImage ends at byte "
            f"{header.payload_at + payload_size}, the file has {len(data)}"
        )
    return header


def _default() -> SetupHeader:
    """For a vmlinux, which has none: what every 64-bit kernel of the last decade says."""
    raw = bytearray(0x268 - _START)
    raw[BOOT_FLAG_AT - _START : BOOT_FLAG_AT - _START + 2] = BOOT_FLAG
    raw[MAGIC_AT - _START : MAGIC_AT - _START + 4] = MAGIC
    struct.pack_into("<H", raw, 0x206 - _START, _VERSION)
    raw[0x211 - _START] = _LOADED_HIGH
    struct.pack_into("<I", raw, 0x22C - _START, _INITRD_ADDR_MAX)
    struct.pack_into("<H", raw, 0x236 - _START, _KERNEL_64)
    struct.pack_into("<I", raw, 0x238 - _START, _CMDLINE_SIZE)
    return SetupHeader(bytes(raw), _CMDLINE_SIZE, _INITRD_ADDR_MAX)


DEFAULT = _default()
