"""System calls that stay in ring 3, finished at the faults that they end in."""

import struct

import pytest

from pykvm.kvm.abi import ffi, lib
from pykvm.machine.cpu import LSTAR, SFMASK, STAR
from pykvm.machine.finish.syscalls import SystemCalls
from pykvm.memory import GuestMemory

ENTRY, PAGE_FAULT, INVALID, CALL_80 = 0x2000, 0x3000, 0x3100, 0x3200
IDT, STACK, PROGRAM = 0x4000, 0x6000, 0x7000
KERNEL, USER = 0x10, 0x33
FETCHED_BY_USER, TO_USER = 0x15, 0x202
STEP = lib.KVM_GUESTDBG_ENABLE | lib.KVM_GUESTDBG_SINGLESTEP
WATCH = lib.KVM_GUESTDBG_ENABLE | lib.KVM_GUESTDBG_USE_HW_BP


class FakeVcpu:
    """Registers, MSRs, and what was asked of the debugger last."""

    def __init__(self):
        self.regs, self.sregs = ffi.new("struct kvm_regs *"), ffi.new("struct kvm_sregs *")
        self.msrs = {STAR: 0x10 << 32, LSTAR: ENTRY, SFMASK: 0x200 | 1 << 16}
        self.debug = (0, [])

    def get_regs(self):
        return self.regs

    def set_regs(self, regs):
        self.regs = regs

    def get_sregs(self):
        return self.sregs

    def set_sregs(self, sregs):
        self.sregs = sregs

    def get_msr(self, index):
        return self.msrs.get(index)

    def set_guest_debug(self, control, breakpoints=()):
        self.debug = (control, list(breakpoints))


@pytest.fixture
def memory():
    with GuestMemory(1 << 16) as memory:
        for vector, offset, dpl in ((14, PAGE_FAULT, 0), (6, INVALID, 0), (0x80, CALL_80, 3)):
            gate(memory, vector, offset, 0x8E | dpl << 5)
        yield memory


@pytest.fixture
def vcpu():
    vcpu = FakeVcpu()  # no paging: linear addresses are physical ones
    vcpu.sregs.idt.base, vcpu.sregs.idt.limit = IDT, 0xFFF
    return vcpu


@pytest.fixture
def calls(vcpu, memory):
    calls = SystemCalls(vcpu, memory)
    calls.starts_at(ENTRY)
    assert vcpu.debug == (WATCH, [PAGE_FAULT, INVALID])
    return calls


def gate(memory, vector, offset, kind, stack=0):
    row = struct.pack("<HHBBHII", offset & 0xFFFF, KERNEL, stack, kind, offset >> 16, 0, 0)
    memory.write(IDT + vector * 16, row)


def page_fault(vcpu, memory, *, error=FETCHED_BY_USER, rip=ENTRY, code=USER, flags=1 << 16 | 2):
    memory.write(STACK, struct.pack("<6Q", error, rip, code, flags, 0x8000, 0x2B))
    vcpu.regs.rip, vcpu.regs.rsp, vcpu.regs.rflags = PAGE_FAULT, STACK, 2


def invalid_opcode(vcpu, memory, instruction, *, code=USER):
    memory.write(PROGRAM, instruction)
    memory.write(STACK, struct.pack("<5Q", PROGRAM, code, TO_USER, 0x8000, 0x2B))
    vcpu.regs.rip, vcpu.regs.rsp = INVALID, STACK


def left_alone(vcpu, calls):
    """The handler runs as if nobody had looked, and the next fault is met again."""
    before = bytes(ffi.buffer(vcpu.regs))
    assert calls.stopped() == ""
    assert (bytes(ffi.buffer(vcpu.regs)), vcpu.debug) == (before, (STEP, []))
    vcpu.regs.rip += 1
    assert calls.stopped() == ""
    return vcpu.debug == (WATCH, [PAGE_FAULT, INVALID])


def test_syscall_goes_on_at_the_kernels_entry_in_ring_0(vcpu, memory, calls):
    page_fault(vcpu, memory)
    vcpu.regs.rcx, vcpu.regs.r11 = PROGRAM + 2, TO_USER
    assert calls.stopped() == "syscall"
    regs, cs, ss = vcpu.regs, vcpu.sregs.cs, vcpu.sregs.ss
    assert (regs.rip, regs.rsp, regs.rflags) == (ENTRY, 0x8000, 2)
    assert (regs.rcx, regs.r11) == (PROGRAM + 2, TO_USER)
    assert (cs.selector, cs.dpl, cs.l, cs.db, cs.type) == (0x10, 0, 1, 0, 0xB)
    assert (ss.selector, ss.dpl, ss.type) == (0x18, 0, 3)
    assert vcpu.debug == (WATCH, [PAGE_FAULT, INVALID])


def test_selectors_wrap_as_the_cpu_s_do(vcpu, memory, calls):
    vcpu.msrs[STAR] = 0xFFFF << 32
    page_fault(vcpu, memory)
    assert calls.stopped() == "syscall"
    assert (vcpu.sregs.cs.selector, vcpu.sregs.ss.selector) == (0xFFFC, 4)


@pytest.mark.parametrize(
    "fault",
    [
        {"flags": TO_USER},  # a jump there: interrupts are still on
        {"rip": PROGRAM},
        {"code": KERNEL},
        {"error": 0x5},  # a read
    ],
    ids=["jump", "elsewhere", "kernel", "read"],
)
def test_any_other_page_fault_is_the_guests(vcpu, memory, calls, fault):
    page_fault(vcpu, memory, **fault)
    assert left_alone(vcpu, calls)


def test_int_n_goes_to_its_gate_with_rip_behind_it(vcpu, memory, calls):
    invalid_opcode(vcpu, memory, b"\xcd\x80")
    assert calls.stopped() == "int"
    assert (vcpu.regs.rip, vcpu.regs.rsp) == (CALL_80, STACK)
    assert memory.read_u64(STACK) == PROGRAM + 2
    assert vcpu.debug == (WATCH, [PAGE_FAULT, INVALID])


@pytest.mark.parametrize(
    ("kind", "stack"),
    [(0x8E, 0), (0x6E, 0), (0xEF, 0), (0xEE, 1)],
    ids=["ring 0", "absent", "trap", "other stack"],
)
def test_a_gate_that_does_not_fit_leaves_the_invalid_opcode(vcpu, memory, calls, kind, stack):
    gate(memory, 0x80, CALL_80, kind, stack)
    invalid_opcode(vcpu, memory, b"\xcd\x80")
    assert left_alone(vcpu, calls)


def test_an_opcode_that_is_invalid_stays_so(vcpu, memory, calls):
    invalid_opcode(vcpu, memory, b"\x0f\x0b")
    assert left_alone(vcpu, calls)
    invalid_opcode(vcpu, memory, b"\xcd\x80", code=KERNEL)
    assert left_alone(vcpu, calls)


@pytest.mark.parametrize("handler", [PAGE_FAULT, INVALID])
@pytest.mark.parametrize("stack", [0xFFF0, 1 << 40, (1 << 64) - 8])
def test_a_stack_that_is_not_in_ram_is_the_guests_affair(vcpu, calls, handler, stack):
    vcpu.regs.rip, vcpu.regs.rsp = handler, stack
    assert left_alone(vcpu, calls)


def test_without_an_idt_there_is_nothing_to_watch(vcpu, memory):
    vcpu.sregs.idt.limit = 0
    calls = SystemCalls(vcpu, memory)
    calls.starts_at(ENTRY)
    assert vcpu.debug == (0, [])


def test_a_breakpoint_elsewhere_is_none_of_ours(vcpu, calls):
    vcpu.regs.rip = 0x1234
    assert calls.stopped() is None
