"""Images of a few bytes, for tests of what reads them."""

import struct

X86_64, I386 = 62, 3
EXECUTABLE = 2
CODE = b"\xf4" * 16


def elf64(
    entry=0x100000, segments=((0x100000, CODE, 64),), machine=X86_64, kind=EXECUTABLE, vaddr=None,
    notes=b"",
):  # fmt: skip
    """A minimal ELF64 file: header, program headers, the segments' bytes, the notes."""
    headers, body = b"", b""
    count = len(segments) + bool(notes)
    start = 64 + 56 * count
    for address, data, size in segments:
        virtual = address if vaddr is None else vaddr
        headers += struct.pack(
            "<IIQQQQQQ", 1, 7, start + len(body), virtual, address, len(data), size, 4096
        )
        body += data
    if notes:
        at = start + len(body)
        headers += struct.pack("<IIQQQQQQ", 4, 4, at, 0, 0, len(notes), len(notes), 4)
        body += notes
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = ident + struct.pack(
        "<HHIQQQIHHHHHH", kind, machine, 1, entry, 64, 0, 0, 64, 56, count, 0, 0, 0
    )
    return header + headers + body


def elf32(entry=0x100000, data=CODE, address=None, notes=b""):
    """A minimal ELF32 file of one segment, and notes."""
    address = entry if address is None else address
    count = 1 + bool(notes)
    at = 52 + 32 * count
    ident = b"\x7fELF\x01\x01\x01" + bytes(9)
    header = ident + struct.pack(
        "<HHIIIIIHHHHHH", 2, I386, 1, entry, 52, 0, 0, 52, 32, count, 0, 0, 0
    )
    header += struct.pack("<IIIIIIII", 1, at, address, address, len(data), len(data), 7, 4096)
    if notes:
        header += struct.pack("<IIIIIIII", 4, at + len(data), 0, 0, len(notes), len(notes), 4, 4)
    return header + data + notes


def note(owner, kind, desc):
    """One ELF note."""
    name = owner + b"\0"
    return (
        struct.pack("<III", len(name), len(desc), kind)
        + name.ljust(len(name) + 3 & ~3, b"\0")
        + desc.ljust(len(desc) + 3 & ~3, b"\0")
    )


PVH = note(b"Xen", 18, struct.pack("<I", 0x100008))
LINUX = note(b"Linux", 0x100, b"\0\0\0\0")
KIT = note(b"pykvm", 1, struct.pack("<I", 1))


def multiboot(flags=0, addresses=None, body=CODE):
    """A multiboot header and ``body``; ``addresses`` are the five fields behind flag 16."""
    if addresses is not None:
        flags |= 1 << 16
    magic = 0x1BADB002
    header = struct.pack("<III", magic, flags, -(magic + flags) & 0xFFFF_FFFF)
    return header + struct.pack("<5I", *(addresses or (0, 0, 0, 0, 0))) + body


def bzimage(
    payload=b"", *, version=0x20F, loadflags=1, xloadflags=1, cmdline_size=2047,
    initrd_addr_max=0x7FFF_FFFF, pref_address=0x100_0000, init_size=0x10_0000, kernel=None,
):  # fmt: skip
    """A bzImage of one setup sector; the protected-mode kernel is 1 KiB, then the payload."""
    setup = bytearray(2 * 512)
    setup[0x1F1] = 1
    setup[0x1FE:0x200] = b"\x55\xaa"
    setup[0x200:0x202] = b"\xeb\x66"
    setup[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", setup, 0x206, version)
    setup[0x211] = loadflags
    struct.pack_into("<I", setup, 0x22C, initrd_addr_max)
    struct.pack_into("<H", setup, 0x236, xloadflags)
    struct.pack_into("<I", setup, 0x238, cmdline_size)
    struct.pack_into("<II", setup, 0x248, 1024, len(payload))
    struct.pack_into("<QI", setup, 0x258, pref_address, init_size)
    return bytes(setup) + (kernel or bytes(1024)) + payload


def sized(packed, unpacked):
    """A packed kernel with its size behind it, as the kernel's build appends it."""
    return packed + struct.pack("<I", len(unpacked))
