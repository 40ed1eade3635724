"""What this host's KVM really does: a few bytes of real-mode code on a vCPU of its own.

Capabilities do not tell it. A KVM in software may show guests its own features whatever CPUID it is
given, and execute a hypercall for ever.
"""

from __future__ import annotations

import threading
from dataclasses import replace

from pykvm.kvm.abi import lib
from pykvm.kvm.system import CpuidEntry, Kvm, install_kick
from pykvm.kvm.vm import Vm
from pykvm.machine.cpumodel import FEATURES
from pykvm.memory import GuestMemory

_CODE = 0x1000
_LOOK = bytes.fromhex("66b801000000 0fa2 e680")  # mov eax, 1; cpuid; out 0x80, al
_CALL = bytes.fromhex(
    "66b8ffffffff 0f01c1 e680"
)  # mov eax, -1 (no such call); vmcall; out 0x80, al
_PATIENCE = 0.1
_RFLAGS_FIXED = 0x2


def shows_features(kvm: Kvm) -> bool:
    """Whether a guest sees the features that it is given: it looks for SSE3 with the bit hidden."""
    hidden = FEATURES["pni"][1]
    leaves = [
        replace(e, ecx=e.ecx & ~hidden) if e.function == 1 else e for e in kvm.supported_cpuid()
    ]
    ecx = _ecx_after(kvm, _LOOK, leaves)
    return ecx is not None and not ecx & hidden


def takes_hypercalls(kvm: Kvm) -> bool:
    """Whether a hypercall returns."""
    return _ecx_after(kvm, _CALL, kvm.supported_cpuid()) is not None


def _ecx_after(kvm: Kvm, code: bytes, leaves: list[CpuidEntry]) -> int | None:
    """ECX when ``code`` reaches its OUT; None if it does not in a tenth of a second."""
    install_kick()
    with GuestMemory(1 << 16) as memory, Vm(kvm, memory) as vm:
        memory.write(_CODE, code)
        vcpu = vm.create_vcpu()
        vcpu.set_cpuid(leaves)
        sregs = vcpu.get_sregs()
        sregs.cs.base = sregs.cs.selector = 0
        vcpu.set_sregs(sregs)
        regs = vcpu.get_regs()
        regs.rip, regs.rflags = _CODE, _RFLAGS_FIXED
        vcpu.set_regs(regs)
        left: list[int] = []

        def enter() -> None:
            lib.pk_vcpu_attach(vcpu.native, True)
            left.append(lib.pk_vcpu_run(vcpu.native, 0))
            lib.pk_vcpu_attach(vcpu.native, False)

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join(_PATIENCE)
        vcpu.kick()
        thread.join()
        io = left[0] == lib.PK_OTHER and vcpu.run_state.exit_reason == lib.KVM_EXIT_IO
        return int(vcpu.get_regs().rcx) if io else None
