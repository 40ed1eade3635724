"""IRET to the same privilege level: back from an interrupt's handler (SDM volume 2, IRET).

KVM's emulator knows it in real mode only, where it does not come here. Returns to another privilege
level, to an interrupted task (NT) and to virtual-8086 mode are left alone.
"""

from __future__ import annotations

from typing import Any

from pykvm.machine.finish import segments
from pykvm.machine.finish.fault import GP, SS, CannotFinish, Fault
from pykvm.machine.finish.paging import is_canonical
from pykvm.machine.finish.segments import RPL, Descriptor
from pykvm.machine.finish.state import AC, AF, CF, OF, PF_, SF, TF, ZF, State

SIZES = {"iret": 2, "iretd": 4, "iretq": 8}
"""Bytes of each value on the stack."""
_IF, _DF, _IOPL, _NT, _RF, _VM = 1 << 9, 1 << 10, 3 << 12, 1 << 14, 1 << 16, 1 << 17
_VIF, _VIP, _ID = 1 << 19, 1 << 20, 1 << 21
_CR0_PE, _EFER_LMA = 1 << 0, 1 << 10
_CODE, _EXPAND_DOWN = 8, 4  # of a segment's type


def iret(state: State, insn: Any) -> int:
    """Returns RIP. Raises Fault or CannotFinish before anything has changed."""
    size, level = SIZES[insn.mnemonic.split()[-1]], state.sregs.ss.dpl
    ia32e = bool(state.sregs.efer & _EFER_LMA)
    _check_mode(state, ia32e)
    stack = _Stack(state)
    rip, selector, flags = (stack.pop(size) for _ in range(3))
    if flags & _VM and level == 0 and not ia32e:
        raise CannotFinish("iret to virtual-8086 mode cannot be finished")
    code = _code(state, selector & 0xFFFF, level)
    to_long, data, rsp = ia32e and code.long, None, stack.pointer
    if state.long:  # the frame has a stack, whatever the level
        rsp = stack.pop(size)
        data = _data(state, stack.pop(size) & 0xFFFF, level, to_long)
    if not is_canonical(state.sregs, rip) if to_long else rip > code.limit:
        raise Fault(GP, 0)
    for segment in (code, data):
        if segment is not None:
            segments.mark(state, segment)
    if data is not None:
        data.fill(state.sregs.ss)
    code.fill(state.sregs.cs)
    state.vcpu.set_sregs(state.sregs)
    _allow_nmi(state)
    state.regs.rsp = rsp
    mask = _loaded(state.regs.rflags, size, level)
    state.regs.rflags = state.regs.rflags & ~mask | flags & mask
    return rip


def _check_mode(state: State, ia32e: bool) -> None:
    if not state.sregs.cr0 & _CR0_PE or state.regs.rflags & _VM:
        raise CannotFinish("iret outside protected mode cannot be finished")
    if state.regs.rflags & _NT:
        if ia32e:
            raise Fault(GP, 0)
        raise CannotFinish("iret to an interrupted task (NT) cannot be finished")


def _code(state: State, selector: int, level: int) -> Descriptor:
    if selector & RPL > level:
        raise CannotFinish("iret to another privilege level cannot be finished")
    if selector & RPL < level:
        raise Fault(GP, selector & ~RPL)
    return segments.code(state, selector, level)


def _data(state: State, selector: int, level: int, to_long: bool) -> Descriptor:
    if selector == level < 3 and to_long:
        return segments.null_stack(selector)
    return segments.stack(state, selector, level)


def _loaded(rflags: int, size: int, level: int) -> int:
    """The flags that come from the stack."""
    mask = CF | PF_ | AF | ZF | SF | TF | _DF | OF | _NT
    if level <= (rflags & _IOPL) >> 12:
        mask |= _IF
    if level == 0:
        mask |= _IOPL
    if size > 2:
        mask |= _RF | AC | _ID
        mask |= _VIF | _VIP if level == 0 else 0
    return mask


def _allow_nmi(state: State) -> None:
    """The next NMI may come (SDM volume 3, 6.7.1)."""
    events = state.vcpu.get_events()
    if events.nmi.masked:
        events.nmi.masked = 0
        state.vcpu.set_events(events)


class _Stack:
    """What is on the guest's stack, read from its top on; RSP itself stays.

    A KVM in software may have pushed the frame at ESP, without the base of SS: there it is read
    then, and one that the guest itself has made would not be found.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._segment = state.sregs.ss
        wide = 0xFFFF_FFFF if self._segment.db else 0xFFFF
        self._mask = (1 << 64) - 1 if state.long else wide
        self._at = state.regs.rsp & self._mask
        self._base = 0 if state.long else self._segment.base
        if self._base and not state.stack_base():
            self._base = 0

    @property
    def pointer(self) -> int:
        """What RSP is when all that was read is taken off."""
        return int(self._state.regs.rsp & ~self._mask | self._at)

    def pop(self, size: int) -> int:
        """``size`` bytes. Raises Fault."""
        at, last = self._at, self._at + size - 1
        if not self._holds(at, last):
            raise Fault(SS, 0)
        linear = self._base + at
        if not self._state.long:
            linear &= 0xFFFF_FFFF
        value = int.from_bytes(self._state.load(linear, size), "little")
        self._at = last + 1 & self._mask
        return value

    def _holds(self, first: int, last: int) -> bool:
        if self._state.long:
            return all(is_canonical(self._state.sregs, at) for at in (first, last))
        if self._segment.type & (_CODE | _EXPAND_DOWN) == _EXPAND_DOWN:
            return bool(first > self._segment.limit and last <= self._mask)
        return bool(last <= self._segment.limit)
