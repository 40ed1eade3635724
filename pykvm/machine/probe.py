"""What this host's KVM really does: a few bytes of code on a vCPU of its own.

Capabilities do not tell it. A KVM in software may show guests its own features whatever CPUID it is
given, execute a hypercall for ever, and push an interrupt's frame where no stack is.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable

from pykvm.hints import Any
from pykvm.kvm.abi import lib
from pykvm.kvm.system import CpuidEntry, Kvm, install_kick
from pykvm.kvm.vcpu import Vcpu
from pykvm.kvm.vm import Vm
from pykvm.machine.cpufeatures import FEATURES
from pykvm.memory import GuestMemory

_CODE = 0x1000
_LOOK = bytes.fromhex("66b801000000 0fa2 e680")  # mov eax, 1; cpuid; out 0x80, al
_CALL = bytes.fromhex(
    "66b8ffffffff 0f01c1 e680"
)  # mov eax, -1 (no such call); vmcall; out 0x80, al
_HANDLER = bytes.fromhex("e680")  # out 0x80, al
_GDT, _IDT, _STACK, _STACK_BASE = 0x2000, 0x3000, 0x8000, 0x4000
_CODE_SEGMENT, _STACK_SEGMENT, _VECTOR = 0x08, 0x10, 0x20
_FRAME = 12  # EIP, CS, EFLAGS
_PATIENCE = 0.1
_RFLAGS_FIXED = 0x2


def shows_features(kvm: Kvm) -> bool:
    """Whether a guest sees the features that it is given: it looks for SSE3 with the bit hidden."""
    hidden = FEATURES["pni"][1]
    leaves = [
        e.replace(ecx=e.ecx & ~hidden) if e.function == 1 else e for e in kvm.supported_cpuid()
    ]
    ecx = _ecx_after(kvm, _LOOK, leaves)
    return ecx is not None and not ecx & hidden


def takes_hypercalls(kvm: Kvm) -> bool:
    """Whether a hypercall returns."""
    return _ecx_after(kvm, _CALL, kvm.supported_cpuid()) is not None


def uses_stack_base(kvm: Kvm) -> bool:
    """Whether an interrupt in protected mode is pushed where the stack is: SS's base plus ESP."""
    with GuestMemory(1 << 16) as memory:
        gate = struct.pack("<HHHH", _CODE, _CODE_SEGMENT, 0x8E00, 0)
        memory.write(_IDT + _VECTOR * len(gate), gate)
        memory.write(_GDT + _CODE_SEGMENT, (0x00CF_9B00_0000_FFFF).to_bytes(8, "little"))
        _run(kvm, memory, _HANDLER, _interrupted)
        proper, wrong = (
            any(memory.read(base + _STACK - _FRAME, _FRAME)) for base in (_STACK_BASE, 0)
        )
        return proper or not wrong  # on a busy host there may be neither in time


def _interrupted(vcpu: Vcpu) -> None:
    """Put the vCPU in 32-bit protected mode, about to take an interrupt."""
    sregs = vcpu.get_sregs()
    sregs.cr0 |= 1
    for segment, selector, kind in ((sregs.cs, _CODE_SEGMENT, 0xB), (sregs.ss, _STACK_SEGMENT, 3)):
        segment.selector, segment.type, segment.limit = selector, kind, 0xFFFF_FFFF
        segment.g = segment.db = 1
    sregs.ss.base = _STACK_BASE
    sregs.gdt.base, sregs.gdt.limit = _GDT, 0xFF
    sregs.idt.base, sregs.idt.limit = _IDT, 0x7FF
    vcpu.set_sregs(sregs)
    regs = vcpu.get_regs()
    regs.rsp = _STACK
    vcpu.set_regs(regs)
    events = vcpu.get_events()
    events.interrupt.injected, events.interrupt.nr = 1, _VECTOR
    vcpu.set_events(events)


def _ecx_after(kvm: Kvm, code: bytes, leaves: list[CpuidEntry]) -> int | None:
    """ECX when ``code`` reaches its OUT in real mode; None if it does not."""
    with GuestMemory(1 << 16) as memory:
        regs = _run(kvm, memory, code, lambda vcpu: vcpu.set_cpuid(leaves))
        return None if regs is None else int(regs.rcx)


def enter(vcpu: Vcpu) -> bool:
    """Run the guest to its first exit, for a tenth of a second; whether it left by an IN or OUT."""
    install_kick()
    left: list[int] = []

    def run() -> None:
        vcpu.attach()
        left.append(lib.pk_vcpu_run(vcpu.native, 0))
        vcpu.detach()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        thread.join(_PATIENCE)
    finally:  # also of a KeyboardInterrupt: the caller unmaps what it runs on
        vcpu.kick()
        thread.join()
    return left[0] == lib.PK_OTHER and bool(vcpu.run_state.exit_reason == lib.KVM_EXIT_IO)


def _run(kvm: Kvm, memory: GuestMemory, code: bytes, prepare: Callable[[Vcpu], None]) -> Any:
    """The registers when ``code`` reaches its OUT; None if it does not in a tenth of a second."""
    with Vm(kvm, memory) as vm:
        memory.write(_CODE, code)
        vcpu = vm.create_vcpu()
        sregs = vcpu.get_sregs()
        sregs.cs.base = sregs.cs.selector = 0
        vcpu.set_sregs(sregs)
        regs = vcpu.get_regs()
        regs.rip, regs.rflags = _CODE, _RFLAGS_FIXED
        vcpu.set_regs(regs)
        prepare(vcpu)
        return vcpu.get_regs() if enter(vcpu) else None
