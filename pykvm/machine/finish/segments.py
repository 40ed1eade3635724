"""Segment descriptors of the guest's GDT and LDT (SDM volume 3, 3.4.5 and 5.2).

KVM keeps a segment's descriptor with its selector, so whoever changes the selector brings both.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pykvm.errors import GuestMemoryError
from pykvm.kvm.abi import ffi, lib
from pykvm.machine.finish.fault import GP, NP, SS, CannotFinish, Fault
from pykvm.machine.finish.state import State

RPL = 3
_LDT, _SIZE = 4, 8
_CODE, _CONFORMING, _WRITABLE, _ACCESSED = 8, 4, 2, 1  # of the type
_ACCESS_BYTE = 5
_EFER_LMA = 1 << 10
_FLAT_DATA = 0x00CF_9300_0000_FFFF
_TRIES = 16


class Descriptor(NamedTuple):
    """A descriptor, and the selector that it was found by."""

    selector: int
    linear: int  # where it is
    bits: int

    @property
    def type(self) -> int:
        return self.bits >> 40 & 0xF

    @property
    def ordinary(self) -> bool:
        """Code or data, not of the system."""
        return bool(self.bits >> 44 & 1)

    @property
    def dpl(self) -> int:
        return self.bits >> 45 & 3

    @property
    def present(self) -> bool:
        return bool(self.bits >> 47 & 1)

    @property
    def long(self) -> bool:
        return bool(self.bits >> 53 & 1)

    @property
    def db(self) -> bool:
        return bool(self.bits >> 54 & 1)

    @property
    def limit(self) -> int:
        """The last offset, in bytes."""
        limit = self.bits & 0xFFFF | self.bits >> 32 & 0xF_0000
        return limit << 12 | 0xFFF if self.bits >> 55 & 1 else limit

    def fill(self, segment: Any) -> None:
        """``segment`` (struct kvm_segment) becomes this one."""
        segment.selector = self.selector
        segment.base = self.bits >> 16 & 0xFF_FFFF | self.bits >> 32 & 0xFF00_0000
        segment.limit = self.limit
        segment.type, segment.s, segment.dpl = self.type | _ACCESSED, self.ordinary, self.dpl
        segment.present, segment.unusable = self.present, 0
        segment.avl, segment.l, segment.db = self.bits >> 52 & 1, self.long, self.db
        segment.g = self.bits >> 55 & 1


def code(state: State, selector: int, level: int) -> Descriptor:
    """The code segment of ``selector``, to return to at ``level``. Raises Fault."""
    found = _find(state, selector)
    wrong = not found.ordinary or not found.type & _CODE
    if not wrong:
        wrong = found.dpl > level if found.type & _CONFORMING else found.dpl != level
    both = found.long and found.db and state.sregs.efer & _EFER_LMA
    if wrong or both:
        raise Fault(GP, selector & ~RPL)
    if not found.present:
        raise Fault(NP, selector & ~RPL)
    return found


def stack(state: State, selector: int, level: int) -> Descriptor:
    """The stack segment of ``selector`` for code at ``level``. Raises Fault."""
    found = _find(state, selector)
    writable = found.ordinary and found.type & (_CODE | _WRITABLE) == _WRITABLE
    if selector & RPL != level or not writable or found.dpl != level:
        raise Fault(GP, selector & ~RPL)
    if not found.present:
        raise Fault(SS, selector & ~RPL)
    return found


def null_stack(selector: int) -> Descriptor:
    """What SS holds after a null selector in 64-bit mode: nothing looks at it but CPL."""
    return Descriptor(selector, 0, _FLAT_DATA | selector << 45)


def mark(state: State, found: Descriptor) -> None:
    """Set the accessed bit, as the CPU does when it loads a segment. Raises Fault."""
    if found.type & _ACCESSED:
        return
    at = state.physical(found.linear + _ACCESS_BYTE, write=True, system=True)
    whole, bit = at & ~7, _ACCESSED << at % 8 * 8
    try:
        expected = ffi.new("uint64_t *", state.memory.read_u64(whole))
    except GuestMemoryError:
        return  # a table in a device: it stays as it is
    for _ in range(_TRIES):  # other vCPUs may write beside it; in a ROM nobody can
        memory = state.memory.native()
        if lib.pk_guest_cas8(memory, whole, expected, expected[0] | bit) != lib.PK_CAS_DIFFERS:
            return


def _find(state: State, selector: int) -> Descriptor:
    if selector & ~RPL == 0:
        raise Fault(GP, 0)
    sregs, offset = state.sregs, selector & ~(RPL | _LDT)
    table = sregs.ldt if selector & _LDT else sregs.gdt
    if offset + _SIZE - 1 > table.limit or (selector & _LDT and sregs.ldt.unusable):
        raise Fault(GP, selector & ~RPL)
    linear = table.base + offset
    try:
        data = state.load(linear, _SIZE, system=True)
    except GuestMemoryError as e:
        raise CannotFinish("the descriptor table is not in RAM") from e
    return Descriptor(selector, linear, int.from_bytes(data, "little"))
