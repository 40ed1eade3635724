"""Exceptions and software interrupts, handed to KVM as events: it delivers them by the guest's IDT.

A trap is injected with RIP past its instruction, which is then what the handler returns to.
"""

from __future__ import annotations

from typing import Any

from pykvm.errors import GuestMemoryError
from pykvm.machine.finish.fault import GP, NP, CannotFinish, Fault
from pykvm.machine.finish.state import State

BREAKPOINT, OVERFLOW = 3, 4
_EFER_LMA = 1 << 10
_IDT_ERROR = 2  # the error code is about a gate (SDM volume 3, figure 6-7)


def inject(state: State, fault: Fault) -> None:
    """An exception at the instruction that KVM reported: RIP stays."""
    if fault.cr2 is not None:
        state.sregs.cr2 = fault.cr2
        state.vcpu.set_sregs(state.sregs)
    _exception(state, fault.vector, fault.error_code)


def breakpoint_trap(state: State, insn: Any) -> None:
    """INT3: #BP."""
    state.commit(state.regs.rip + insn.size)
    _exception(state, BREAKPOINT, None)


def software_interrupt(state: State, insn: Any) -> None:
    """INT n. A gate that CPL may not use is #GP (SDM volume 3, 6.12.1.2)."""
    vector = insn.operands[0].imm & 0xFF
    present, dpl = _gate(state, vector)
    if state.sregs.ss.dpl > dpl:
        raise Fault(GP, vector << 3 | _IDT_ERROR)
    if not present:
        raise Fault(NP, vector << 3 | _IDT_ERROR)
    state.commit(state.regs.rip + insn.size)
    events = state.vcpu.get_events()
    events.interrupt.injected = 1
    events.interrupt.nr = vector
    events.interrupt.soft = 1
    state.vcpu.set_events(events)


def _exception(state: State, vector: int, error_code: int | None) -> None:
    events = state.vcpu.get_events()
    events.exception.injected = 1
    events.exception.nr = vector
    events.exception.has_error_code = error_code is not None
    events.exception.error_code = error_code or 0
    state.vcpu.set_events(events)


def _gate(state: State, vector: int) -> tuple[bool, int]:
    """Whether the vector's gate is present, and its DPL."""
    size = 16 if state.sregs.efer & _EFER_LMA else 8
    if vector * size + size - 1 > state.sregs.idt.limit:
        raise Fault(GP, vector << 3 | _IDT_ERROR)
    linear = state.sregs.idt.base + vector * size
    physical = state.vcpu.translate(linear)
    try:
        access = state.memory.read(-1 if physical is None else physical, 8)[5]
    except GuestMemoryError as e:
        raise CannotFinish("the IDT is not in RAM") from e
    return bool(access & 0x80), access >> 5 & 3
