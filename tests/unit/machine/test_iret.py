"""IRET, case by case of its pseudocode: what it pops, where from, what it loads and refuses."""

import struct
from types import SimpleNamespace

import pytest

from pykvm.machine.finish.fault import CannotFinish, Fault
from pykvm.machine.finish.iret import iret
from pykvm.machine.finish.state import State
from pykvm.memory import GuestMemory

GP, NP, SS, PF = 13, 11, 12, 14
PE, PG, LMA, NT, VM, IF, IOPL3 = 1, 1 << 31, 1 << 10, 1 << 14, 1 << 17, 1 << 9, 3 << 12
GDT, LDT, STACK = 0x1000, 0x1800, 0x4000
CODE32, CODE16, CODE64 = 0x00CF_9B00_0000_FFFF, 0x0000_9B01_0000_FFFF, 0x00AF_9B00_0000_FFFF
DATA, SMALL_CODE = 0x00CF_9300_0000_FFFF, 0x0040_9B00_0000_0FFF
DPL3, PRESENT, ACCESSED, CONFORMING = 3 << 45, 1 << 47, 1 << 40, 1 << 42
# The table: index times 8 is the selector.
TABLE = [
    0, CODE32, DATA, CODE16, SMALL_CODE, CODE64, CODE32 | DPL3, DATA | DPL3, CODE32 & ~PRESENT,
    CODE32 & ~ACCESSED, CODE32 | CONFORMING, CODE32 | CONFORMING | DPL3, CODE64 | 1 << 54,
    DATA & ~PRESENT, 0x0000_8900_0000_0067, DATA & ~ACCESSED, CODE64 | DPL3,
]  # fmt: skip
FLAT, STACK_DATA, SIXTEEN, LIMITED, LONG, USER, USER_DATA, ABSENT = (8 * n for n in range(1, 9))
FRESH, CONFORMS, CONFORMS_3, BOTH, ABSENT_DATA, TSS, FRESH_DATA, LONG_3 = (
    8 * n for n in range(9, 17)
)


def segment(selector, *, base=0, limit=0xFFFF_FFFF, type=3, dpl=0, db=1, l=0):  # noqa: E741
    return SimpleNamespace(
        selector=selector, base=base, limit=limit, type=type, dpl=dpl, db=db, l=l, s=1,
        present=1, g=1, avl=0, unusable=0,
    )  # fmt: skip


class Vcpu:
    def __init__(self, *, flags=2, long=False, level=0, bits=32, rsp=STACK, cr0=PE):
        self.regs = SimpleNamespace(rip=0x500, rsp=rsp, rflags=flags)
        self.sregs = SimpleNamespace(
            cr0=cr0, cr3=0, cr4=0, efer=LMA if long else 0,
            cs=segment(FLAT, type=0xB, dpl=level, db=bits == 32, l=int(long)),
            ss=segment(STACK_DATA, dpl=level),
            gdt=SimpleNamespace(base=GDT, limit=len(TABLE) * 8 - 1),
            ldt=SimpleNamespace(base=LDT, limit=7, unusable=0),
        )  # fmt: skip
        self.events = SimpleNamespace(nmi=SimpleNamespace(masked=1))
        self.kept = []

    def get_regs(self):
        return self.regs

    def get_sregs(self):
        return self.sregs

    def set_sregs(self, sregs):
        self.kept.append("sregs")

    def get_events(self):
        return self.events

    def set_events(self, events):
        self.kept.append("events")


@pytest.fixture
def memory():
    with GuestMemory(0x2_0000) as memory:
        for n, bits in enumerate(TABLE):
            memory.write_u64(GDT + n * 8, bits)
        memory.write_u64(LDT, CODE32)
        yield memory


FORMATS = {"iret": "H", "iretd": "I", "iretq": "Q"}


def run(memory, vcpu, *frame, mnemonic="iretd", at=STACK, **quirk):
    memory.write(at, struct.pack(f"<{len(frame)}{FORMATS[mnemonic]}", *frame))
    state = State(vcpu, memory, None, None, **quirk)
    return iret(state, SimpleNamespace(mnemonic=mnemonic, size=1))


def refused(memory, vcpu, *frame, **kwargs):
    """The fault; nothing has changed."""
    before = (vcpu.regs.rsp, vcpu.regs.rflags, vcpu.sregs.cs.selector)
    with pytest.raises(Fault) as fault:
        run(memory, vcpu, *frame, **kwargs)
    assert (vcpu.regs.rsp, vcpu.regs.rflags, vcpu.sregs.cs.selector) == before
    assert not vcpu.kept
    return fault.value.vector, fault.value.error_code


def test_a_32_bit_frame_is_popped(memory):
    vcpu = Vcpu()
    assert run(memory, vcpu, 0x1234_5678, FLAT | 0xABCD_0000, IF | 0x2 | 0x8D5) == 0x1234_5678
    assert vcpu.regs.rsp == STACK + 12
    assert vcpu.regs.rflags == IF | 0x2 | 0x8D5
    assert vcpu.sregs.ss.selector == STACK_DATA


def test_a_16_bit_frame_is_popped_and_leaves_the_upper_flags(memory):
    vcpu = Vcpu(flags=2 | 1 << 21 | 1 << 18)
    assert run(memory, vcpu, 0x1234, SIXTEEN, 0x8D7, mnemonic="iret") == 0x1234
    assert vcpu.regs.rsp == STACK + 6
    assert vcpu.regs.rflags == 1 << 21 | 1 << 18 | 0x8D7


def test_the_code_segment_is_what_its_descriptor_says(memory):
    vcpu = Vcpu()
    run(memory, vcpu, 0x1234, SIXTEEN, 2)
    cs = vcpu.sregs.cs
    assert (cs.selector, cs.base, cs.limit, cs.type) == (SIXTEEN, 0x10000, 0xFFFF, 0xB)
    assert (cs.db, cs.l, cs.g, cs.s, cs.present, cs.dpl, cs.unusable) == (0, 0, 0, 1, 1, 0, 0)
    run(memory, vcpu, 0x1234, FLAT, 2, at=vcpu.regs.rsp)
    assert (cs.base, cs.limit, cs.db, cs.g) == (0, 0xFFFF_FFFF, 1, 1)


def test_the_next_nmi_may_come(memory):
    vcpu = Vcpu()
    run(memory, vcpu, 0, FLAT, 2)
    assert vcpu.events.nmi.masked == 0
    assert vcpu.kept == ["sregs", "events"]


def test_a_segment_that_was_not_accessed_is_now(memory):
    run(memory, Vcpu(), 0, FRESH, 2)
    assert memory.read_u64(GDT + FRESH) == CODE32


def test_a_segment_of_the_ldt_is_found(memory):
    vcpu = Vcpu()
    run(memory, vcpu, 5, 4, 2)
    assert vcpu.sregs.cs.selector == 4
    vcpu = Vcpu()
    vcpu.sregs.ldt.unusable = 1
    assert refused(memory, vcpu, 5, 4, 2) == (GP, 4)
    assert refused(memory, Vcpu(), 5, 12, 2) == (GP, 12)


@pytest.mark.parametrize("iopl", range(4))
@pytest.mark.parametrize("level", range(4))
def test_only_the_privileged_load_the_privileged_flags(memory, level, iopl):
    memory.write_u64(GDT + FLAT, CODE32 | level << 45)
    vcpu = Vcpu(flags=2 | iopl << 12, level=level)
    run(memory, vcpu, 0, FLAT | level, 2 | IF | (3 - iopl) << 12 | 1 << 19)
    assert bool(vcpu.regs.rflags & IF) == (level <= iopl)
    assert (vcpu.regs.rflags & IOPL3) >> 12 == (3 - iopl if level == 0 else iopl)
    assert bool(vcpu.regs.rflags & 1 << 19) == (level == 0)


@pytest.mark.parametrize(
    ("selector", "fault"),
    [
        (0, (GP, 0)),
        (len(TABLE) * 8, (GP, len(TABLE) * 8)),
        (STACK_DATA, (GP, STACK_DATA)),
        (TSS, (GP, TSS)),
        (USER, (GP, USER)),  # not conforming, another level's
        (CONFORMS_3, (GP, CONFORMS_3)),  # conforming, but of a lower level
        (ABSENT, (NP, ABSENT)),
    ],
)
def test_what_is_no_code_segment_of_this_level_is_refused(memory, selector, fault):
    assert refused(memory, Vcpu(), 0, selector, 2) == fault


def test_a_return_inward_is_refused(memory):
    assert refused(memory, Vcpu(level=3), 0, FLAT, 2) == (GP, FLAT)


def test_a_conforming_segment_runs_at_the_level_of_its_caller(memory):
    vcpu = Vcpu(level=3)
    run(memory, vcpu, 7, CONFORMS | 3, 2)
    assert (vcpu.sregs.cs.selector, vcpu.sregs.ss.dpl) == (CONFORMS | 3, 3)


def test_a_target_beyond_the_segment_is_refused(memory):
    assert run(memory, Vcpu(), 0xFFF, LIMITED, 2) == 0xFFF
    assert refused(memory, Vcpu(), 0x1000, LIMITED, 2) == (GP, 0)


@pytest.mark.parametrize(
    ("flags", "frame_flags", "cr0", "why"),
    [
        (2 | NT, 2, PE, "interrupted task"),
        (2, 2 | VM, PE, "virtual-8086"),
        (2 | VM, 2, PE, "protected mode"),
        (2, 2, 0, "protected mode"),
    ],
)
def test_what_is_not_done_says_so(memory, flags, frame_flags, cr0, why):
    with pytest.raises(CannotFinish, match=why):
        run(memory, Vcpu(flags=flags, cr0=cr0), 0, FLAT, frame_flags)


def test_another_privilege_level_is_not_done(memory):
    with pytest.raises(CannotFinish, match="privilege level"):
        run(memory, Vcpu(), 0, USER | 3, 2)


# -- the stack -------------------------------------------------------------------------------------


def test_the_stack_has_a_base(memory):
    vcpu = Vcpu(rsp=0x100)
    vcpu.sregs.ss.base = STACK
    assert run(memory, vcpu, 9, FLAT, 2, at=STACK + 0x100) == 9
    assert vcpu.regs.rsp == 0x10C


def test_where_kvm_forgets_the_base_the_frame_is_read_where_it_is(memory):
    vcpu = Vcpu(rsp=0x100)
    vcpu.sregs.ss.base = STACK
    assert run(memory, vcpu, 9, FLAT, 2, at=0x100, stack_base=lambda: False) == 9
    assert vcpu.regs.rsp == 0x10C


def test_a_16_bit_stack_keeps_the_upper_half_of_esp_and_wraps(memory):
    vcpu = Vcpu(rsp=0xABCD_FFFE)
    vcpu.sregs.ss.db = 0
    memory.write(0xFFFE, struct.pack("<H", 0x77))
    assert run(memory, vcpu, FLAT, 2, mnemonic="iret", at=0) == 0x77
    assert vcpu.regs.rsp == 0xABCD_0004


def test_a_frame_beyond_the_stack_is_refused(memory):
    vcpu = Vcpu()
    vcpu.sregs.ss.limit = STACK + 10
    assert refused(memory, vcpu, 0, FLAT, 2) == (SS, 0)
    vcpu.sregs.ss.limit += 1
    run(memory, vcpu, 0, FLAT, 2)


def test_a_stack_that_expands_down_holds_what_is_above_its_limit(memory):
    vcpu = Vcpu()
    vcpu.sregs.ss.type, vcpu.sregs.ss.limit = 7, STACK
    assert refused(memory, vcpu, 0, FLAT, 2) == (SS, 0)
    vcpu.sregs.ss.limit -= 1
    run(memory, vcpu, 0, FLAT, 2)


def test_a_stack_that_is_not_mapped_is_a_page_fault(memory):
    vcpu = Vcpu(cr0=PE | PG)
    vcpu.sregs.cr3 = 0x8000  # an empty table
    with pytest.raises(Fault) as fault:
        run(memory, vcpu, 0, FLAT, 2)
    assert (fault.value.vector, fault.value.cr2) == (PF, STACK)


# -- 64-bit mode -----------------------------------------------------------------------------------


def long_vcpu(**kwargs):
    return Vcpu(long=True, bits=64, **kwargs)


@pytest.mark.parametrize("mnemonic", ["iretd", "iretq"])
def test_in_64_bit_mode_the_frame_has_a_stack(memory, mnemonic):
    vcpu = long_vcpu()
    assert run(memory, vcpu, 0x77, LONG, 2, 0x9999, FRESH_DATA, mnemonic=mnemonic) == 0x77
    assert (vcpu.regs.rsp, vcpu.sregs.ss.selector, vcpu.sregs.cs.l) == (0x9999, FRESH_DATA, 1)
    assert memory.read_u64(GDT + FRESH_DATA) == DATA


def test_64_bit_mode_needs_no_stack_segment(memory):
    vcpu = long_vcpu()
    run(memory, vcpu, 0x77, LONG, 2, 0x9999, 0, mnemonic="iretq")
    assert (vcpu.sregs.ss.selector, vcpu.sregs.ss.dpl) == (0, 0)


def test_compatibility_mode_and_ring_3_do(memory):
    assert refused(memory, long_vcpu(), 0, FLAT, 2, 0, 0, mnemonic="iretq") == (GP, 0)
    user = long_vcpu(level=3)
    assert refused(memory, user, 0, LONG_3 | 3, 2, 0, 3, mnemonic="iretq") == (GP, 0)


@pytest.mark.parametrize(
    ("selector", "fault"),
    [
        (USER_DATA, (GP, USER_DATA)),
        (STACK_DATA | 3, (GP, STACK_DATA)),
        (FLAT, (GP, FLAT)),
        (ABSENT_DATA, (SS, ABSENT_DATA)),
    ],
)
def test_what_is_no_stack_of_this_level_is_refused(memory, selector, fault):
    assert refused(memory, long_vcpu(), 0, LONG, 2, 0, selector, mnemonic="iretq") == fault


def test_long_mode_has_its_own_refusals(memory):
    nested = long_vcpu(flags=2 | NT)
    assert refused(memory, nested, 0, LONG, 2, 0, STACK_DATA, mnemonic="iretq") == (GP, 0)
    frame = (1 << 47, LONG, 2, 0, STACK_DATA)
    assert refused(memory, long_vcpu(), *frame, mnemonic="iretq") == (GP, 0)
    assert refused(memory, long_vcpu(), 0, BOTH, 2, 0, 16, mnemonic="iretq") == (GP, BOTH)
    with pytest.raises(Fault) as fault:
        iret(
            State(long_vcpu(rsp=(1 << 47) - 4), memory, None, None),
            SimpleNamespace(mnemonic="iretq"),
        )
    assert (fault.value.vector, fault.value.error_code) == (SS, 0)


def test_from_64_bit_mode_to_compatibility_mode(memory):
    vcpu = long_vcpu()
    run(memory, vcpu, 0x77, FLAT, 2 | VM, 0x9999, STACK_DATA, mnemonic="iretq")
    assert (vcpu.sregs.cs.l, vcpu.sregs.cs.db, vcpu.regs.rsp) == (0, 1, 0x9999)
    assert not vcpu.regs.rflags & VM
