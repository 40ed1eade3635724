"""One instruction on one vCPU, from the same state: native in ring 3, or finished by pykvm."""

from contextlib import contextmanager
from dataclasses import dataclass, field

from pykvm.boot import lowmem
from pykvm.boot.plan import Facts, Mode
from pykvm.bus import MMIO_SIZE, Bus
from pykvm.kvm.abi import lib
from pykvm.kvm.system import Kvm, install_kick
from pykvm.kvm.vm import Vm
from pykvm.machine import cpu, cpuid
from pykvm.machine.cpumodel import CpuModel
from pykvm.machine.finish.finisher import Finisher
from pykvm.machine.finish.fpu import Fpu
from pykvm.memory import GuestMemory

RAM = 16 << 20
CODE, DATA, DEVICE = 0x10_0000, 0x20_0000, 0x5000_0000
IDT, HANDLER = 0x30_0000, 0x31_0000
# mov byte [DEVICE], 0: leaves the guest from any ring, and changes no register
LEAVE = b"\xc6\x04\x25" + DEVICE.to_bytes(4, "little") + b"\0"
FLAGS = 0x8D5  # CF PF AF ZF SF OF
NAMES = (
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15",
)  # fmt: skip


@dataclass
class Cpu:
    """What an instruction starts from or ends with."""

    regs: dict = field(default_factory=dict)
    xmm: list = field(default_factory=lambda: [0] * 16)
    high: list = field(default_factory=lambda: [0] * 16)  # the upper halves of YMM
    x87: list = field(default_factory=list)  # raw 80-bit values from the top of the stack on
    mxcsr: int = 0x1F80
    flags: int = 0
    memory: bytes = bytes(64)
    length: int = 0  # bytes that RIP moved


class Ring:
    """A vCPU in 64-bit mode with the low 4 GiB one to one, ``DATA`` and devices included."""

    def __init__(self):
        install_kick()
        self.kvm = Kvm()
        self.memory = GuestMemory(RAM)
        self.vm = Vm(self.kvm, self.memory)
        self.vcpu = self.vm.create_vcpu()
        self.vcpu.set_cpuid(cpuid.shown(self.kvm.supported_cpuid(), CpuModel(), 0, 1))
        self.handover = lowmem.kit(Mode.LONG)(Facts(RAM))
        for segment in self.handover.segments:
            self.memory.write(segment.address, segment.data)
        self.bus = Bus("address", MMIO_SIZE)
        self.touched = []
        self.finisher = Finisher(self.vcpu, self.memory, self.bus, self._mmio)
        cpu.start(self.vcpu, Mode.LONG, CODE, self.handover)
        self.first = self.vcpu.get_sregs()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.vm.close()
        self.memory.close()
        self.kvm.close()

    def _mmio(self, bus, address, data, write):
        self.touched.append((address, bytes(data) if write else len(data), write))
        if not write:
            data[:] = bytes(n + 1 for n in range(len(data)))

    def start(self, code, state, ring):
        """Put the vCPU at ``code`` with ``state``."""
        self.memory.write(CODE, code + LEAVE)
        self.memory.write(DATA, state.memory)
        sregs = self.vcpu.get_sregs()
        for name in ("cs", "ss", "ds", "es"):
            segment = getattr(sregs, name)
            segment.dpl = ring
            segment.selector = (0x08 if name == "cs" else 0x10) | ring
        sregs.cr0, sregs.cr3, sregs.cr4 = self.first.cr0, self.first.cr3, self.first.cr4
        self.vcpu.set_sregs(sregs)
        regs = self.vcpu.get_regs()
        for name in NAMES:
            setattr(regs, name, state.regs.get(name, 0))
        regs.rip, regs.rsp, regs.rflags = CODE, lowmem.STACK_TOP, 2 | state.flags
        self.vcpu.set_regs(regs)
        fpu = Fpu(self.vcpu)
        fpu.control, fpu.status, fpu.tags, fpu.mxcsr = 0x37F, 0, 0, state.mxcsr
        fpu.status = (8 - len(state.x87) & 7) << 11
        fpu.stack = [*state.x87, *[0] * (8 - len(state.x87))]
        fpu.tags = sum(1 << (fpu.top + n & 7) for n in range(len(state.x87)))
        fpu.xmm, fpu.high = list(state.xmm), list(state.high)
        fpu.keep(high=any(state.high))

    def native(self, code, state):
        """Run it in ring 3; None if this CPU does not know it or it ended in an exception."""
        self.start(code, state, 3)
        lib.pk_vcpu_attach(self.vcpu.native, True)
        try:
            lib.pk_vcpu_run(self.vcpu.native, 0)
        finally:
            lib.pk_vcpu_attach(self.vcpu.native, False)
        run = self.vcpu.run_state
        left = run.exit_reason == lib.KVM_EXIT_MMIO and run.mmio.phys_addr == DEVICE
        lib.pk_vcpu_complete(self.vcpu.native, 0)
        if not left:
            return None
        return self.now(len(LEAVE))

    @classmethod
    @contextmanager
    def warm(cls):
        """One whose vCPU has run: the first run starts its FPU anew."""
        with cls() as made:
            made.native(b"\x90", Cpu())
            yield made

    def finished(self, code, state, ring=0):
        """Finish it without KVM; returns what was done, and the state after it."""
        self.start(code, state, ring)
        self.touched = []
        done = self.finisher.finish()
        return done, self.now(0)

    def now(self, beyond):
        regs, fpu = self.vcpu.get_regs(), Fpu(self.vcpu)
        return Cpu(
            regs={name: getattr(regs, name) for name in NAMES},
            xmm=fpu.xmm,
            high=fpu.high,
            x87=fpu.stack[: fpu.tags.bit_count()],
            mxcsr=fpu.mxcsr,
            flags=regs.rflags & FLAGS,
            memory=self.memory.read(DATA, 64),
            length=regs.rip - CODE - beyond,
        )
