"""What is in memory before the guest starts: the image, what its protocol tells it, and tables."""

from __future__ import annotations

from pykvm.boot import firmware, image
from pykvm.boot.plan import Facts, Handover, Module, Plan, check_placement
from pykvm.machine.config import Config
from pykvm.machine.firmware import acpi, mptable
from pykvm.memory import GuestMemory


def read(config: Config) -> tuple[Plan, bytes]:
    """How to start what ``config`` names, and the ROM that it is, if it is one. Raises ImageError,
    UsageError."""
    if config.firmware:
        rom = firmware.read(config.image)
        return firmware.plan(rom), rom
    plan = image.plan(
        config.image,
        memory=config.memory,
        mode=config.mode,
        load_address=config.load_address,
        entry=config.entry,
        kaslr=config.kaslr,
    )
    return plan, b""


def place(plan: Plan, config: Config, memory: GuestMemory) -> Handover:
    """Write it all, after checking it all. Raises ImageError, UsageError."""
    facts = Facts(
        memory_low=memory.low_size,
        memory_high=memory.high_size,
        cpus=config.cpus,
        append=config.append,
        modules=tuple(
            Module(path, image.read_file(path, "the initrd", config.memory))
            for path in config.initrds
        ),
        rsdp=acpi.RSDP if config.acpi else 0,
    )
    handover = plan.handover(facts)
    segments = [*plan.segments, *handover.segments]
    if not config.firmware:  # which makes or places its own tables
        segments += mptable.segments(config.cpus)
        segments += acpi.segments(config.cpus) if config.acpi else []
    check_placement(config.image, segments, [(s.base, s.end) for s in memory.slots if s.writable])
    for segment in segments:
        memory.write(segment.address, segment.data)
    return handover
