"""The state that a vCPU starts in, for each mode (Intel SDM volume 3, chapters 2, 3, 9)."""

from __future__ import annotations

from pykvm.boot import lowmem
from pykvm.boot.plan import Handover, Mode
from pykvm.hints import Any
from pykvm.kvm.abi import lib
from pykvm.kvm.vcpu import Vcpu

CR0_PE, CR0_MP, CR0_ET, CR0_NE, CR0_WP, CR0_PG = 1 << 0, 1 << 1, 1 << 4, 1 << 5, 1 << 16, 1 << 31
CR4_PAE, CR4_OSFXSR, CR4_OSXMMEXCPT = 1 << 5, 1 << 9, 1 << 10
EFER_LME, EFER_LMA = 1 << 8, 1 << 10
RFLAGS_FIXED = 0x2
STAR, LSTAR, SFMASK = 0xC000_0081, 0xC000_0082, 0xC000_0084


def start(vcpu: Vcpu, mode: Mode, entry: int, handover: Handover) -> None:
    """Put the boot CPU at ``entry`` in ``mode``, interrupts off, with what the protocol says."""
    sregs = vcpu.get_sregs()
    if mode is Mode.REAL:
        for name in ("cs", "ds", "es", "fs", "gs", "ss"):
            segment = getattr(sregs, name)
            segment.base = segment.selector = 0
    else:
        _flat(sregs, mode, handover)
        sregs.gdt.base, sregs.gdt.limit = lowmem.GDT, len(lowmem.gdt()) - 1
        # No IDT: an exception that the guest has not prepared for ends it, with a report.
        sregs.idt.base = sregs.idt.limit = 0
        sregs.cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE
    if mode is Mode.LONG:
        sregs.cr0 |= CR0_WP | CR0_PG
        sregs.cr3 = lowmem.PAGE_TABLES
        sregs.cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT
        sregs.efer = EFER_LME | EFER_LMA
    vcpu.set_sregs(sregs)
    regs = vcpu.get_regs()
    regs.rip = entry
    regs.rflags = RFLAGS_FIXED
    regs.rdx = 0  # the reset value is the CPU's signature
    for name, value in handover.registers.items():
        setattr(regs, name, value)
    vcpu.set_regs(regs)


def _flat(sregs: Any, mode: Mode, handover: Handover) -> None:
    _segment(sregs.cs, handover.code, 0xB)
    sregs.cs.l = mode is Mode.LONG
    sregs.cs.db = mode is not Mode.LONG
    for name in ("ds", "es", "fs", "gs", "ss"):
        _segment(getattr(sregs, name), handover.data, 0x3)


def _segment(segment: Any, selector: int, kind: int) -> None:
    segment.base = 0
    segment.limit = 0xFFFF_FFFF
    segment.selector = selector
    segment.type = kind  # code, readable, accessed; or data, writable, accessed
    segment.present = segment.s = segment.db = segment.g = 1
    segment.dpl = segment.l = segment.unusable = 0


def wait_for_sipi(vcpu: Vcpu) -> None:
    """An application processor: it sleeps until the boot CPU sends INIT and SIPI."""
    vcpu.set_mp_state(lib.KVM_MP_STATE_UNINITIALIZED)
