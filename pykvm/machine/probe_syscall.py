"""Whether a guest's programs can call its kernel: SYSCALL, from ring 3 in 64-bit mode.

A KVM in software may leave the guest in ring 3 there; what then has to be done is in
``finish/syscalls.py``.
"""

from __future__ import annotations

import os
import struct

from pykvm.hints import Any
from pykvm.kvm.system import Kvm
from pykvm.kvm.vcpu import Vcpu
from pykvm.kvm.vm import Vm
from pykvm.machine import probe
from pykvm.machine.cpu import (
    CR0_ET,
    CR0_NE,
    CR0_PE,
    CR0_PG,
    CR4_PAE,
    EFER_LMA,
    EFER_LME,
    LSTAR,
    RFLAGS_FIXED,
    STAR,
)
from pykvm.memory import GuestMemory

_PROGRAM, _KERNEL, _FOUND, _TABLES = 0x1000, 0x2000, 0x3000, 0x4000
_CALL = bytes.fromhex("0f05")  # syscall
_ARRIVED = bytes.fromhex("8c0c2500300000 e680")  # mov [_FOUND], cs; out 0x80, al
_NEVER = 0xFFFF
_EFER_SCE = 1 << 0
_KERNEL_CODE, _CODE, _DATA = 0x08, 0x20, 0x18  # selectors; no table is read
_HARDWARE = ("kvm_intel", "kvm_amd")
_NEEDED = ("SET_GUEST_DEBUG", "X86_USER_SPACE_MSR", "X86_MSR_FILTER")
_MAPPED = 0x7  # present, writable, for ring 3 too
_LARGE = 0x80


def may_stay(kvm: Kvm) -> bool:
    """Whether this KVM is of the kind whose system calls may stay in ring 3, and has what it takes
    to bring them to ring 0. Costs nothing."""
    if any(os.path.exists(f"/sys/module/{name}") for name in _HARDWARE):
        return False
    return all(kvm.capability(name) for name in _NEEDED)


def must_be_finished(kvm: Kvm) -> bool:
    """Whether system calls stay in ring 3, and can be brought to ring 0."""
    return may_stay(kvm) and ring(kvm) == 3


def ring(kvm: Kvm, caller: int = 3) -> int | None:
    """The ring in which the kernel's entry ran when ring ``caller`` called: 0 where all is well;
    None if it was not reached in a tenth of a second."""
    with GuestMemory(1 << 16) as memory, Vm(kvm, memory) as vm:
        for at, data in (
            (_PROGRAM, _CALL),
            (_KERNEL, _ARRIVED),
            (_FOUND, struct.pack("<H", _NEVER)),
            (_TABLES, struct.pack("<Q", _TABLES + 0x1000 | _MAPPED)),
            (_TABLES + 0x1000, struct.pack("<Q", _TABLES + 0x2000 | _MAPPED)),
            (_TABLES + 0x2000, struct.pack("<Q", _LARGE | _MAPPED)),  # the first 2 MiB
        ):
            memory.write(at, data)
        vcpu = vm.create_vcpu()
        vcpu.set_cpuid(kvm.supported_cpuid())
        _start(vcpu, caller)
        probe.enter(vcpu)
        (found,) = struct.unpack("<H", memory.read(_FOUND, 2))
        return None if found == _NEVER else found & 3


def _start(vcpu: Vcpu, level: int) -> None:
    sregs = vcpu.get_sregs()
    sregs.cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_PG
    sregs.cr3, sregs.cr4 = _TABLES, CR4_PAE
    sregs.efer = EFER_LME | EFER_LMA | _EFER_SCE
    _segment(sregs.cs, _CODE | level, 0xB)
    sregs.cs.l, sregs.cs.db = 1, 0
    for name in ("ds", "es", "fs", "gs", "ss"):
        _segment(getattr(sregs, name), _DATA | level, 0x3)
    vcpu.set_sregs(sregs)
    vcpu.set_msr(STAR, _KERNEL_CODE << 32)
    vcpu.set_msr(LSTAR, _KERNEL)
    regs = vcpu.get_regs()
    regs.rip, regs.rflags = _PROGRAM, RFLAGS_FIXED
    vcpu.set_regs(regs)


def _segment(segment: Any, selector: int, kind: int) -> None:
    segment.base, segment.limit, segment.selector, segment.type = 0, 0xFFFF_FFFF, selector, kind
    segment.present = segment.s = segment.db = segment.g = 1
    segment.dpl, segment.l, segment.unusable = selector & 3, 0, 0
