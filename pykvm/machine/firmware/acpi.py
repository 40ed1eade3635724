"""ACPI tables (ACPI 6.4, chapter 5.2), where a kernel looks for them without firmware's help.

    0xf0000   RSDP     0xf0040   FACS     then DSDT, FADT, MADT, XSDT, RSDT, at multiples of 16

Addresses and interrupt lines are those of ``board.py`` and ``pci.py``. The DSDT is ``dsdt.asl``,
compiled by ``make dsdt``.
"""

from __future__ import annotations

import os
import struct

from pykvm.boot.plan import Segment
from pykvm.devices.power import PM1_CNT, PM1_EN, PM1_STS, PM_TMR
from pykvm.machine import board, pci

RSDP, END = 0xF0000, 0xF8000
DSDT_FILE = os.path.join(os.path.dirname(__file__), "dsdt.aml")  # pathlib costs 3 ms

_OEM, _TABLE, _CREATOR = b"PYKVM ", b"PYKVM PC", b"PKVM"
_HEADER = struct.Struct("<4sIBB6s8sI4sI")
_CHECKSUM_AT, _OEM_AT = 9, 10
_CREATOR_AT = 28

# Lines that are not as an ISA bus has them. IRQ 0 is: KVM's timer is at input 0.
_OVERRIDES = (board.SCI, *pci.INTX_GSIS)

_FLAGS = (
    1 << 0  # WBINVD works
    | 1 << 2  # C1 on every processor
    | 1 << 5  # no sleep button
    | 1 << 6  # RTC alarms wake nobody
    | 1 << 8  # PM_TMR has 32 bits
    | 1 << 10  # RESET_REG is there
)
_BOOT_ARCH = 1 << 0 | 1 << 2  # legacy devices, but no VGA and no keyboard
_RESET_VALUE = 0x06
_CENTURY = 0x32
_IO, _BYTE, _WORD, _DWORD = 1, 1, 2, 3
_FADT = struct.Struct("<IIxBHI4B8I8B4H5BHxI12sBHBQQ" + "12s" * 8)
_GAS = struct.Struct("<BBBBQ")
_NOWHERE = bytes(_GAS.size)
_POINTERS = {b"FACP": [(36, 4), (40, 4), (140, 8)], b"RSD ": [(16, 4), (24, 8)]}


def segments(cpus: int) -> list[Segment]:
    """The tables of a machine with ``cpus`` processors."""
    placed: list[Segment] = []
    facs = RSDP + 0x40
    at = facs + 64

    def place(table: bytes) -> int:
        nonlocal at
        placed.append(_segment(at, table))
        at = placed[-1].end + 15 & ~15
        return placed[-1].address

    with open(DSDT_FILE, "rb") as file:
        dsdt = place(file.read())
    listed = [place(_fadt(facs, dsdt)), place(_madt(cpus))]
    xsdt = place(_table(b"XSDT", 1, struct.pack(f"<{len(listed)}Q", *listed)))
    rsdt = place(_table(b"RSDT", 1, struct.pack(f"<{len(listed)}I", *listed)))
    placed.append(_segment(facs, struct.pack("<4sI24xB", b"FACS", 64, 2).ljust(64, b"\0")))
    placed.append(_segment(RSDP, _rsdp(rsdt, xsdt)))
    return placed


def pointers(table: bytes) -> list[tuple[int, int]]:
    """Which fields of a table are addresses of others: where, and how many bytes."""
    entry = {b"XSDT": 8, b"RSDT": 4}.get(table[:4])
    if entry:
        return [(at, entry) for at in range(_HEADER.size, len(table), entry)]
    return _POINTERS.get(table[:4], [])


def checksums(table: bytes) -> list[tuple[int, int]]:
    """Which bytes of a table are checksums: where, and of how many bytes from its start on."""
    if table[:4] == b"RSD ":
        return [(8, 20), (32, 36)]
    return [] if table[:4] == b"FACS" else [(_CHECKSUM_AT, len(table))]


def signed_by_us(table: bytes) -> bytes:
    """``table`` with pykvm for its creator instead of the compiler that made it."""
    changed = bytearray(table)
    changed[_CREATOR_AT : _CREATOR_AT + 8] = _CREATOR + (1).to_bytes(4, "little")
    return _summed(changed, _CHECKSUM_AT)


def _segment(address: int, data: bytes) -> Segment:
    return Segment(address, data, len(data), "an ACPI table (--no-acpi leaves them out)")


def _summed(data: bytearray, at: int, size: int | None = None) -> bytes:
    """``data`` with the byte ``at`` that makes its first ``size`` bytes add up to 0."""
    data[at] = 0
    data[at] = -sum(data[:size]) & 0xFF
    return bytes(data)


def _table(signature: bytes, revision: int, body: bytes) -> bytes:
    size = _HEADER.size + len(body)
    header = _HEADER.pack(signature, size, revision, 0, _OEM, _TABLE, 1, _CREATOR, 1)
    return _summed(bytearray(header + body), _CHECKSUM_AT)


def _rsdp(rsdt: int, xsdt: int) -> bytes:
    """5.2.5.3: the first 20 bytes have a checksum of their own, as ACPI 1.0 had only those."""
    fields = struct.pack("<8sB6sBIIQB3x", b"RSD PTR ", 0, _OEM, 2, rsdt, 36, xsdt, 0)
    return _summed(bytearray(_summed(bytearray(fields), 8, 20)), 32)


def _port(port: int, size: int, width: int) -> bytes:
    """A generic address structure (5.2.3.2) for ``size`` bytes of ports."""
    return _GAS.pack(_IO, size * 8, 0, width, port)


def _fadt(facs: int, dsdt: int) -> bytes:
    """5.2.9, in the form of revision 3."""
    event, control = board.ACPI + PM1_STS.offset, board.ACPI + PM1_CNT.offset
    timer = board.ACPI + PM_TMR.offset
    event_size = PM1_STS.size + PM1_EN.size
    body = _FADT.pack(
        *(facs, dsdt, 0, board.SCI),
        *(0, 0, 0, 0, 0),  # SMI command: none, so ACPI mode is always on
        *(event, 0, control, 0, 0, timer, 0, 0),
        *(event_size, PM1_CNT.size, 0, PM_TMR.size, 0, 0, 0, 0),
        *(0xFFF, 0xFFF, 0, 0),  # latencies of C2 and C3: too high to use
        *(0, 0, 0, 0, _CENTURY),
        *(_BOOT_ARCH, _FLAGS),
        *(_port(board.RESET_CONTROL, 1, _BYTE), _RESET_VALUE, 0, 0),
        *(0, dsdt),
        *(_port(event, event_size, _WORD), _NOWHERE),
        *(_port(control, PM1_CNT.size, _WORD), _NOWHERE, _NOWHERE),
        *(_port(timer, PM_TMR.size, _DWORD), _NOWHERE, _NOWHERE),
    )
    return _table(b"FACP", 3, body)


def _madt(cpus: int) -> bytes:
    """5.2.12: who takes interrupts. The number of a vCPU is its APIC ID."""
    rows = [struct.pack("<BBBBI", 0, 8, number, number, 1) for number in range(cpus)]
    rows.append(struct.pack("<BBBBII", 1, 12, board.IOAPIC_ID, 0, board.IOAPIC, 0))
    rows += [struct.pack("<BBBBIH", 2, 10, 0, gsi, gsi, board.LEVEL_HIGH) for gsi in _OVERRIDES]
    rows.append(struct.pack("<BBBHB", 4, 6, 0xFF, 0, 1))  # NMI: LINT1 of every processor
    pics = 1  # PCAT_COMPAT: a pair of 8259s is there too
    return _table(b"APIC", 3, struct.pack("<II", board.LAPIC, pics) + b"".join(rows))
