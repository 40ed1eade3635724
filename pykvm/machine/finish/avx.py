"""AVX moves between a register and memory: how optimized code copies to and from a device.

KVM's emulator has long known SSE's moves but not these, on any host (SDM volume 2, VMOVDQU and
others).
"""

from __future__ import annotations

from typing import Any

from pykvm.machine.finish.fault import GP, NM, UD, CannotFinish, Fault
from pykvm.machine.finish.state import State, opcode

ALIGNED = (
    "vmovdqa", "vmovaps", "vmovapd", "vmovntdq", "vmovntps", "vmovntpd", "vmovntdqa",
)  # fmt: skip
UNALIGNED = ("vmovdqu", "vmovups", "vmovupd", "vlddqu")
_REGISTER, _MEMORY = 1, 3
_CR0_TS, _CR4_OSXSAVE, _XCR0_AVX = 1 << 3, 1 << 18, 0x6
_EVEX = 0x62
_HALF = 16


def move(state: State, insn: Any) -> None:
    """Do the move. Raises Fault, or CannotFinish for one with EVEX or without memory."""
    to, source = insn.operands
    if opcode(insn) == _EVEX or {to.type, source.type} != {_REGISTER, _MEMORY}:
        raise CannotFinish(f"{insn.mnemonic} in this form cannot be finished")
    if not state.sregs.cr4 & _CR4_OSXSAVE or state.vcpu.get_xcr0() & _XCR0_AVX != _XCR0_AVX:
        raise Fault(UD)
    if state.sregs.cr0 & _CR0_TS:
        raise Fault(NM)
    register, memory = (to, source) if to.type == _REGISTER else (source, to)
    name = insn.reg_name(register.reg)
    number, size = int(name[3:]), 2 * _HALF if name[0] == "y" else _HALF
    linear = state.linear(memory, insn)
    if insn.mnemonic in ALIGNED and linear % size:
        raise Fault(GP, 0)
    fpu = state.fpu
    if memory is to:
        whole = fpu.xmm[number] | fpu.high[number] << _HALF * 8
        state.store(linear, (whole & (1 << size * 8) - 1).to_bytes(size, "little"))
        return
    data = state.load(linear, size)
    fpu.xmm[number] = int.from_bytes(data[:_HALF], "little")
    fpu.high[number] = int.from_bytes(data[_HALF:], "little")  # 0 after a 128-bit load
    fpu.keep(high=True)
