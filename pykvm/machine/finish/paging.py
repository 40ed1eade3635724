"""From a linear to a physical address by the guest's own page tables (SDM volume 3, chapter 4).

KVM_TRANSLATE would say where, but not whether the access is allowed, nor with which error code it
fails.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pykvm.kvm.abi import ffi, lib
from pykvm.machine.finish.fault import GP, PF, CannotFinish, Fault
from pykvm.memory import GuestMemory

_CR0_PG, _CR0_WP = 1 << 31, 1 << 16
_CR4_PSE, _CR4_PAE, _CR4_LA57, _CR4_SMAP = 1 << 4, 1 << 5, 1 << 12, 1 << 21
_EFER_LMA = 1 << 10
_RFLAGS_AC = 1 << 18
_PRESENT, _WRITE, _USER, _ACCESSED, _DIRTY, _LARGE = 1, 2, 4, 0x20, 0x40, 0x80
_ADDRESS = 0x000F_FFFF_FFFF_F000
_TRIES = 16


class Access(NamedTuple):
    """What is to be done at an address, and by whom."""

    write: bool
    user: bool

    @property
    def error_code(self) -> int:
        """Of the page fault when the page is not present (SDM volume 3, figure 4-12)."""
        return (_WRITE if self.write else 0) | (_USER if self.user else 0)


def translate(memory: GuestMemory, sregs: Any, rflags: int, linear: int, access: Access) -> int:
    """The physical address of ``linear``, which wraps at 2^64. Raises Fault; GuestMemoryError for
    tables outside RAM; CannotFinish when they do not stand still."""
    linear &= (1 << 64) - 1
    if not sregs.cr0 & _CR0_PG:
        return linear
    for _ in range(_TRIES):
        physical = _walk(memory, sregs, rflags, linear, access)
        if physical is not None:
            return physical
    raise CannotFinish("the guest's page tables change all the time")


def is_canonical(sregs: Any, linear: int) -> bool:
    """Whether 64-bit mode takes it for an address (SDM volume 1, 3.3.7.1)."""
    top = 57 if sregs.cr4 & _CR4_LA57 else 48
    return linear >> top - 1 in (0, (1 << 65 - top) - 1)


def _walk(
    memory: GuestMemory, sregs: Any, rflags: int, linear: int, access: Access
) -> int | None:  # fmt: skip
    """One walk; None when an entry changed under it."""
    size, shifts, table = _shape(sregs, linear)
    writable = user = True
    for shift in shifts:
        at = table + (linear >> shift) % (1 << (10 if size == 4 else 9)) * size
        entry = _read(memory, at, size)
        if not entry & _PRESENT:
            raise Fault(PF, access.error_code, linear)
        root = size == 8 and shifts[0] == 30 and shift == 30  # PAE's four have no rights
        if not root:
            writable &= bool(entry & _WRITE)
            user &= bool(entry & _USER)
        leaf = shift == shifts[-1] or (not root and _is_large(entry, shift, sregs))
        if leaf:
            _check(sregs, rflags, linear, access, writable, user)
        marks = 0 if root else _ACCESSED | (_DIRTY if leaf and access.write else 0)
        if entry & marks != marks and not _mark(memory, at, size, entry, entry | marks):
            return None
        if leaf:
            base = entry & _ADDRESS if size == 8 else entry & 0xFFFF_F000
            return base >> shift << shift | linear & (1 << shift) - 1
        table = entry & _ADDRESS if size == 8 else entry & 0xFFFF_F000
    raise AssertionError("every walk ends in a leaf")


def _shape(sregs: Any, linear: int) -> tuple[int, tuple[int, ...], int]:
    """Bytes of an entry, the shift of each level, and the root's address."""
    if sregs.efer & _EFER_LMA:
        if not is_canonical(sregs, linear):
            raise Fault(GP, 0)
        five = sregs.cr4 & _CR4_LA57
        return 8, (48, 39, 30, 21, 12) if five else (39, 30, 21, 12), sregs.cr3 & _ADDRESS
    if sregs.cr4 & _CR4_PAE:
        return 8, (30, 21, 12), sregs.cr3 & 0xFFFF_FFE0
    return 4, (22, 12), sregs.cr3 & 0xFFFF_F000


def _is_large(entry: int, shift: int, sregs: Any) -> bool:
    if not entry & _LARGE or shift not in (30, 22, 21):
        return False
    return shift != 22 or bool(sregs.cr4 & _CR4_PSE)


def _check(
    sregs: Any, rflags: int, linear: int, access: Access, writable: bool, user: bool
) -> None:  # fmt: skip
    """SDM volume 3, 4.6.1."""
    wrong = access.user and not user
    wrong |= access.write and not writable and (access.user or bool(sregs.cr0 & _CR0_WP))
    if user and not access.user and sregs.cr4 & _CR4_SMAP and not rflags & _RFLAGS_AC:
        wrong = True
    if wrong:
        raise Fault(PF, access.error_code | _PRESENT, linear)


def _read(memory: GuestMemory, at: int, size: int) -> int:
    return memory.read_u64(at) if size == 8 else memory.read_u32(at)


def _mark(memory: GuestMemory, at: int, size: int, old: int, new: int) -> bool:
    """Set accessed and dirty as the CPU would: without losing what others write meanwhile."""
    if size == 4:
        whole = memory.read_u64(at & ~7)
        shift = (at & 4) * 8
        if whole >> shift & 0xFFFF_FFFF != old:
            return False
        old, new = whole, whole & ~(0xFFFF_FFFF << shift) | new << shift
    expected = ffi.new("uint64_t *", old)
    result = lib.pk_guest_cas8(memory.native(), at & ~7, expected, new)
    return bool(result == lib.PK_CAS_EXCHANGED)
