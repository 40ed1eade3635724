"""ELF images: static executables for x86, started by the protocol that they are made for.

In this order (``--mode`` overrides it):

1. A multiboot header in its first 8 KiB: multiboot.
2. An ELF64 with a note of "Linux" (as every vmlinux since 4.19 has): the Linux boot protocol.
3. A PVH entry note, but none of "pykvm": PVH. The guest kit's images carry both notes, the first
   for other monitors.
4. Any other: the mode of its class, with pykvm's own boot-info block.
"""

from __future__ import annotations

from pykvm.boot import elf_file, lowmem, multiboot, pvh
from pykvm.boot.elf_file import Elf
from pykvm.boot.plan import Mode, Plan, Protocol, Start
from pykvm.errors import ImageError

KIT_OWNER = b"pykvm"
_CLASSES = {(32, elf_file.EM_386): Mode.PROTECTED, (64, elf_file.EM_X86_64): Mode.LONG}


def plan(name: str, data: bytes | memoryview, mode: Start | None, entry: int | None) -> Plan:
    """The plan for an ELF image; ``mode`` is what the user asked for, if anything.

    Raises ImageError for one that is truncated, dynamic, not for x86, or has nothing to load.
    """
    elf = elf_file.read(name, data)
    native = _CLASSES.get((elf.bits, elf.machine))
    if native is None:
        raise ImageError(f"{name}: an ELF file for machine {elf.machine}, not for x86")
    if elf.kind != elf_file.ET_EXEC:
        raise ImageError(f"{name}: ELF type {elf.kind_name}; link it statically at fixed addresses")
    if isinstance(mode, Mode) and mode is not native:
        raise ImageError(
            f"{name}: a {elf.bits}-bit ELF starts in {native.value} mode, not {mode.value}"
        )
    mode = mode or _protocol(elf, data)
    if mode is Protocol.MULTIBOOT:
        return multiboot.plan(name, data, elf, entry)
    if mode is Protocol.LINUX:
        from pykvm.boot import linux

        return linux.plan_vmlinux(name, elf, entry)
    if mode is Protocol.PVH:
        return pvh.plan(name, elf, entry)
    start = elf.physical(elf.entry) if entry is None else entry
    return Plan(f"ELF{elf.bits}", native, start, elf.loads(), lowmem.kit(native))


def _protocol(elf: Elf, data: bytes | memoryview) -> Protocol | None:
    if multiboot.find(data) is not None:
        return Protocol.MULTIBOOT
    notes = {(note.owner, note.kind) for note in elf.notes()}
    owners = {owner for owner, _ in notes}
    if elf.bits == 64 and b"Linux" in owners:
        return Protocol.LINUX
    if pvh.NOTE in notes and KIT_OWNER not in owners:
        return Protocol.PVH
    return None
