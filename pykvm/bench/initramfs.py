"""An initramfs made of files in memory: a cpio archive in the form "newc" that Linux unpacks.

Documentation/driver-api/early-userspace/buffer-format.rst has the format.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping

PROGRAM = stat.S_IFREG | 0o755
DIRECTORY = stat.S_IFDIR | 0o755


def archive(files: Mapping[str, tuple[int, bytes]]) -> bytes:
    """Of ``{path: (mode, content)}``; a folder comes before what is in it."""
    out = b""
    for number, (path, (mode, content)) in enumerate(
        [*files.items(), ("TRAILER!!!", (0, b""))], start=1
    ):
        name = path.encode() + b"\0"
        words = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0)
        entry = b"070701" + b"".join(b"%08X" % word for word in words) + name
        out += _padded(entry) + _padded(content)
    return out


def _padded(data: bytes) -> bytes:
    return data.ljust(len(data) + 3 & ~3, b"\0")
