"""``pykvm bench boot``: from the command to the guest's first serial byte, next to QEMU.

QEMU starts the same file as a PC, whose firmware runs first, and as a microvm, whose firmware is
short. The guests are one of a few instructions, by multiboot, and what kernels one has. Beside
that, what unpacking a stock kernel costs pykvm, once and from the cache.
"""

from __future__ import annotations

import os
import struct
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pykvm.bench import qemu
from pykvm.bench.figures import Figure, ratios, table
from pykvm.bench.firstbyte import milliseconds
from pykvm.boot import image

PEERS = ("microvm", "pc")
HEATS = (("pykvm", "microvm"), ("pc",))
"""Who is measured in turn. A PC's long start leaves memory and caches cold for whoever is next, so
it has rounds of its own."""
MEMORY_MIB = 128
SMALL = "small guest"
LINUX_BANNER, SMALL_BANNER = b"Linux version", b"first byte\n"

# Both consoles, so that the kernel talks from its first line on; the rest is what a KVM in
# software needs (docs/guests.md), and no harm elsewhere.
LINUX_OPTIONS = (
    "console=ttyS0 earlyprintk=serial,ttyS0,115200 noxsave clearcpuid=smap,smep,popcnt,cx16 "
    "no_timer_check tsc=reliable panic=-1 reboot=k"
)

_MULTIBOOT, _ADDRESSES_VALID, _LOADED_AT = 0x1BAD_B002, 1 << 16, 0x10_0000
_UNPACKED_INTO = 1 << 30  # bytes of RAM that an unpacked kernel may take


@dataclass
class Boots:
    """Milliseconds of one guest, by who ran it: a figure per round; or why there are none."""

    name: str
    times: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    missing: dict[str, str] = field(default_factory=dict)

    def add(self, who: str, measured: float | str) -> None:
        """A figure; or a reason, after which ``who`` is not asked again."""
        if isinstance(measured, str):
            self.missing[who] = measured
            self.times.pop(who, None)
        else:
            self.times[who].append(measured)

    def ratio(self, peer: str) -> Figure | None:
        """The peer's time by pykvm's, round by round: above 1, pykvm is ahead."""
        ours, theirs = self.times.get("pykvm"), self.times.get(peer)
        return ratios(theirs, ours) if ours and theirs else None


@dataclass
class Results:
    """What was measured: a ``Boots`` per guest, and milliseconds of unpacking."""

    boots: list[Boots] = field(default_factory=list)
    stock: str | None = None
    unpacked_ms: list[float] = field(default_factory=list)
    cached_ms: list[float] = field(default_factory=list)
    qemu_version: str | None = None


def small_guest() -> bytes:
    """A multiboot image (flat, with addresses) that prints its banner and ends."""
    header = struct.pack(
        "<8I",
        *(_MULTIBOOT, _ADDRESSES_VALID, -(_MULTIBOOT + _ADDRESSES_VALID) & 0xFFFF_FFFF),
        *(_LOADED_AT, _LOADED_AT, 0, 0, _LOADED_AT + 32),
    )
    out = b"".join(bytes((0xB0, byte, 0xEE)) for byte in SMALL_BANNER)  # mov al, byte; out dx, al
    # mov dx, 0x3f8; ...; xor eax, eax; out 0xf4, al; cli; hlt
    return header + bytes.fromhex("66ba f803") + out + bytes.fromhex("31c0 e6f4 fa f4")


def measure(
    rounds: int,
    kernels: Sequence[str] = (),
    stock: str | None = None,
    *,
    within: float = 60,
    with_qemu: bool = True,
) -> Results:
    """Start every guest ``rounds`` times under everybody, as `HEATS` says. Raises ImageError."""
    results = Results(stock=stock)
    for kernel in kernels:
        image.plan(kernel, memory=MEMORY_MIB << 20)  # one that is none is told at once
    if with_qemu and qemu.path():
        results.qemu_version = qemu.version()
    with tempfile.TemporaryDirectory() as directory:
        small = os.path.join(directory, "small.bin")
        Path(small).write_bytes(small_guest())
        guests = [(SMALL, small, "", SMALL_BANNER)]
        guests += [(os.path.basename(path), path, LINUX_OPTIONS, LINUX_BANNER) for path in kernels]
        for name, path, append, banner in guests:
            boots = Boots(name)
            results.boots.append(boots)
            for together in HEATS if results.qemu_version else (("pykvm",),):
                _measure_together(boots, together, rounds, path, append, banner, within)
    for _ in range(rounds if stock else 0):
        first, again = unpack_milliseconds(str(stock))
        results.unpacked_ms.append(first)
        results.cached_ms.append(again)
    return results


def _measure_together(
    boots: Boots, contestants: tuple[str, ...], rounds: int, path: str, append: str, banner: bytes,
    within: float,
) -> None:  # fmt: skip
    # The first of each fills the host's caches: nobody's first start is compared.
    for n in range(rounds + 1):
        for who in contestants[:: -1 if n % 2 else 1]:  # each goes first in turn
            if who in boots.missing:
                continue
            measured = milliseconds(_command(who, path, append), banner, within)
            if n or isinstance(measured, str):
                boots.add(who, measured)


def _command(who: str, path: str, append: str) -> list[str]:
    if who != "pykvm":
        return qemu.command(path, append, machine=who, memory=MEMORY_MIB)
    return [
        *(sys.executable, "-m", "pykvm", "run", path),
        *("--memory", str(MEMORY_MIB), "--append", append),
    ]


def unpack_milliseconds(path: str) -> tuple[float, float]:
    """From a bzImage to the plan of what goes where: with an empty cache, and out of it.

    The cache is one of its own. Raises ImageError.
    """
    before = os.environ.get("XDG_CACHE_HOME")
    with tempfile.TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        try:
            taken = []
            for _ in range(2):
                started = time.perf_counter()
                image.plan(path, memory=_UNPACKED_INTO)
                taken.append((time.perf_counter() - started) * 1000)
        finally:
            if before is None:
                del os.environ["XDG_CACHE_HOME"]
            else:
                os.environ["XDG_CACHE_HOME"] = before
    return taken[0], taken[1]


def as_dict(results: Results) -> dict[str, Any]:
    """The ``--json`` form, version 1: milliseconds."""
    guests = []
    for boots in results.boots:
        against = {peer: ratio for peer in PEERS if (ratio := boots.ratio(peer))}
        guests.append(
            {
                "guest": boots.name,
                "first_byte_ms": {who: Figure.of(v).as_dict() for who, v in boots.times.items()},
                "missing": boots.missing,
                "ratio_to_pykvm": {peer: ratio.as_dict() for peer, ratio in against.items()},
            }
        )
    unpacking = None
    if results.unpacked_ms:
        unpacking = {
            "kernel": results.stock,
            "first_ms": Figure.of(results.unpacked_ms).as_dict(),
            "cached_ms": Figure.of(results.cached_ms).as_dict(),
        }
    return {
        "version": 1,
        "bench": "boot",
        "qemu": results.qemu_version,
        "guests": guests,
        "unpacking": unpacking,
    }


def text(results: Results) -> str:
    """The table for people."""
    header = ["first byte of", "pykvm (ms)"]
    for peer in PEERS:
        header += [f"{peer} (ms)", "x pykvm"]
    rows = []
    notes = []
    for boots in results.boots:
        row = [boots.name]
        for who in ("pykvm", *PEERS):
            times, ratio = boots.times.get(who), boots.ratio(who)
            row.append(Figure.of(times).text(0) if times else "-")
            if who != "pykvm":
                row.append(f"{ratio.median:.2f}" if ratio else "-")
        rows.append(row)
        notes += [f"{boots.name}, {who}: {why}" for who, why in boots.missing.items()]
    if len(results.boots) == 1:
        notes.append("Linux: left out, no --kernel FILE")
    made = table(header, rows) + (
        "\n\nmedian (lowest-highest), pykvm and microvm in turn, ratios round by round; "
        f"{qemu.named(results.qemu_version)}.\n"
    )
    if results.unpacked_ms:
        first, cached = Figure.of(results.unpacked_ms), Figure.of(results.cached_ms)
        made += f"\nunpacking {os.path.basename(str(results.stock))}: {first.text(0)} ms, "
        made += f"from the cache {cached.text(0)} ms.\n"
    else:
        notes.append("unpacking: left out, no --stock FILE")
    return made + "".join(f"{note}\n" for note in notes)
