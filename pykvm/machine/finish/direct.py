"""The instructions that are simple enough to be done right here (SDM volume 2, under their names).

Each takes the state and the decoded instruction, and changes the state or raises Fault. RIP is left
to the caller: it returns where to go on, None for behind the instruction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pykvm.kvm.abi import ffi, lib
from pykvm.machine.finish import avx, iret
from pykvm.machine.finish.fault import GP, MF, NM, UD, CannotFinish, Fault
from pykvm.machine.finish.state import AC, AF, CF, OF, PF_, SF, ZF, State

_CR0_MP, _CR0_EM, _CR0_TS = 1 << 1, 1 << 2, 1 << 3
_CR4_OSFXSR = 1 << 9
_MXCSR_BITS = 0xFFFF
_STATUS_ES = 1 << 7
_REGISTER, _MEMORY = 1, 3  # capstone: CS_OP_REG, CS_OP_MEM, the same in versions 5 and 6


def _clac(state: State, insn: Any) -> None:
    if state.user:
        raise Fault(UD)
    state.flag(AC, insn.mnemonic == "stac")


def _wait(state: State, insn: Any) -> None:
    if state.sregs.cr0 & _CR0_MP and state.sregs.cr0 & _CR0_TS:
        raise Fault(NM)
    if state.fpu.status & _STATUS_ES:
        raise Fault(MF)


def _popcnt(state: State, insn: Any) -> None:
    to, source = insn.operands
    value = _read(state, insn, source)
    state.set(insn.reg_name(to.reg), value.bit_count())
    state.flag(OF | SF | AF | CF | PF_ | ZF, False)
    state.flag(ZF, value == 0)


def _mxcsr(state: State, insn: Any) -> None:
    if state.sregs.cr0 & _CR0_EM or not state.sregs.cr4 & _CR4_OSFXSR:
        raise Fault(UD)
    if state.sregs.cr0 & _CR0_TS:
        raise Fault(NM)
    linear = state.linear(insn.operands[0], insn)
    if insn.mnemonic == "stmxcsr":
        state.store(linear, state.fpu.mxcsr.to_bytes(4, "little"))
        return
    value = int.from_bytes(state.load(linear, 4), "little")
    if value & ~_MXCSR_BITS:
        raise Fault(GP, 0)
    state.fpu.mxcsr = value
    state.fpu.keep()


def _cmpxchg16b(state: State, insn: Any) -> None:
    linear = state.linear(insn.operands[0], insn)
    if linear % 16:
        raise Fault(GP, 0)
    physical = state.physical(linear, write=True)
    regs = state.regs
    expected = ffi.new("uint64_t[2]", [regs.rax, regs.rdx])
    result = lib.pk_guest_cas16(state.memory.native(), physical, expected, regs.rbx, regs.rcx)
    if result == lib.PK_CAS_REFUSED:
        raise CannotFinish("cmpxchg16b outside RAM")
    regs.rax, regs.rdx = expected
    state.flag(ZF, result == lib.PK_CAS_EXCHANGED)


def _undefined(state: State, insn: Any) -> None:
    raise Fault(UD)


def _read(state: State, insn: Any, operand: Any) -> int:
    if operand.type == _REGISTER:
        return state.get(insn.reg_name(operand.reg))
    return int.from_bytes(state.load(state.linear(operand, insn), operand.size), "little")


Direct = Callable[[State, Any], int | None]

DIRECT: dict[str, Direct] = {
    "clac": _clac,
    "stac": _clac,
    "wait": _wait,
    "popcnt": _popcnt,
    "ldmxcsr": _mxcsr,
    "stmxcsr": _mxcsr,
    "cmpxchg16b": _cmpxchg16b,
    "ud0": _undefined,
    "ud1": _undefined,
    "ud2": _undefined,
    **dict.fromkeys(iret.SIZES, iret.iret),
    **dict.fromkeys([*avx.ALIGNED, *avx.UNALIGNED], avx.move),
}
