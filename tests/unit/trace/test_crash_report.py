"""What a crash report says of the cause, and how it shows the CPU."""

from dataclasses import replace

import pytest

from pykvm.crash import CrashReport, Segment, guess, render
from pykvm.registers import Access, Register
from pykvm.trace.events import Code, ExitEvent

TRIPLE = "triple fault: an exception could not be delivered, nor the double fault after it"
NAMES = "rax rbx rcx rdx rsi rdi rsp rbp r8 r9 r10 r11 r12 r13 r14 r15".split()


def crash(after="0f0b", before="90", *, selector=8, base=0, bits=64, idt=0, rsp=0x80000, **more):
    values = {
        "reason": TRIPLE,
        "vcpu": 0,
        "mode": "long",
        "code": Code(
            0x100007, bits, bytes.fromhex(before), bytes.fromhex(after),
            dict.fromkeys(NAMES, 0) | {"rsp": rsp},
        ),
        "control": {"rflags": 0x246, "cr0": 0x80000011, "cr2": 0, "cr3": 0x9000, "cr4": 0x20,
                    "cr8": 0, "efer": 0x500},
        "segments": {"cs": Segment(selector, base, 0xFFFFFFFF, "code 64-bit dpl 0")},
        "tables": {"gdt": (0x500, 31), "idt": (0, idt)},
    }  # fmt: skip
    return CrashReport(**(values | more))


def test_an_undefined_instruction_without_an_idt():
    assert guess(crash()) == "the instruction at RIP is `ud2`, and the IDT is empty"


@pytest.mark.parametrize(
    ("mode", "limit", "short"),
    [
        ("long", 16 * 9 - 2, True),
        ("long", 16 * 9 - 1, False),
        ("compatibility", 16 * 9 - 2, True),
        ("protected", 8 * 9 - 2, True),
        ("protected", 8 * 9 - 1, False),
        ("real", 4 * 9 - 1, False),
    ],
)
def test_an_idt_without_room_for_a_double_fault_is_named(mode, limit, short):
    assert ("too small" in guess(crash(mode=mode, idt=limit))) is short


def test_a_breakpoint_is_found_behind_rip_where_a_trap_leaves_it():
    assert guess(crash("90", "b8cc")).startswith("the instruction before RIP is `int3`")
    assert guess(crash("cc", "90")).startswith("the instruction at RIP is `int3`")


@pytest.mark.parametrize(
    ("code", "selector", "privileged"),
    [
        ("f4", 0x1B, True),
        ("f4", 0x08, False),
        ("0f22d8", 0x1B, True),  # mov cr3, rax
        ("0f30", 0x1B, True),  # wrmsr
        ("4889d8", 0x1B, False),  # mov rax, rbx
    ],
)
def test_a_privileged_instruction_in_ring_3_is_named(code, selector, privileged):
    assert ("privileged, at CPL 3" in guess(crash(code, selector=selector))) is privileged


def test_zeros_at_rip_are_empty_memory():
    assert "ran into empty memory" in guess(crash("00" * 15))


def test_bytes_that_no_cpu_knows_are_called_so():
    assert "no instruction" in guess(crash("06"))


def test_a_rip_and_a_stack_outside_ram_are_both_named():
    report = crash("", code_is_mapped=False, stack_is_mapped=False, rsp=0xF0000000)
    assert guess(report) == (
        "RIP 0x100007 is not in RAM: a jump or a return went astray, "
        "and the stack at RSP 0xf0000000 is not in RAM"
    )


def test_a_stack_of_which_nothing_is_known_is_not_mentioned():
    assert "stack" not in guess(crash(stack_is_mapped=None))


def test_the_last_page_fault_is_named_when_the_instruction_explains_nothing():
    control = crash().control | {"cr2": 0xDEAD000}
    assert "CR2 = 0xdead000" in guess(crash("8b00", control=control))
    assert "CR2" not in guess(crash("0f0b", control=control))
    assert "CR2" not in guess(crash("8b00", control=control | {"cr0": 0x11}))  # paging is off


def test_an_instruction_that_kvm_does_not_emulate_is_named_with_what_to_do():
    reason = "KVM internal error 1: KVM could not emulate the instruction"
    assert guess(crash("0f58c1", reason=reason)) == (
        "the instruction at RIP is `addps xmm0, xmm1` "
        "(build the guest with -mgeneral-regs-only for a KVM that emulates ring 0)"
    )
    assert guess(crash("f30fb8c0", reason=reason)) == "the instruction at RIP is `popcnt eax, eax`"


def test_reason_detail_and_guess_come_first():
    lines = render(crash(detail="error code 0x2")).splitlines()
    assert lines[0] == f"pykvm: guest crash: {TRIPLE}"
    assert lines[1:3] == ["  error code 0x2", f"  {guess(crash())}"]
    assert lines[3] == "vcpu 0, long mode, CPL 0, RIP 0x100007"


@pytest.mark.parametrize(
    ("mode", "selector", "cpl"),
    [("real", 0x1003, 0), ("virtual-8086", 0x1000, 3), ("long", 0x33, 3), ("protected", 8, 0)],
)
def test_the_privilege_level_depends_on_the_mode(mode, selector, cpl):
    assert f"{mode} mode, CPL {cpl}," in render(crash(mode=mode, selector=selector))


def test_a_segmented_rip_is_shown_with_its_linear_address():
    report = crash(mode="real", selector=0x1000, base=0x10000, bits=16)
    assert "RIP 0x100007 (linear 0x110007)" in render(report)
    assert "linear" not in render(crash())


def test_flags_and_control_registers_are_decoded():
    lines = [line.strip() for line in render(crash()).splitlines()]
    for line in ("rflags=246  PF ZF IF", "cr0=80000011  PE ET PG", "cr4=20  PAE",
                 "efer=500  LME LMA", "cr2=0  cr3=9000  cr8=0"):  # fmt: skip
        assert line in lines


def test_the_arrow_is_at_rip_and_addresses_line_up():
    report = crash("0f0b 90", "b001 e680")
    code = replace(report.code, rip=0x1000002)
    lines = render(replace(report, code=code)).splitlines()
    listing = lines[lines.index("code:") + 1 :][:4]
    assert [line[:16] for line in listing] == [
        "      0xfffffe: ", "     0x1000000: ", "  -> 0x1000002: ", "     0x1000004: ",
    ]  # fmt: skip
    assert [line[16:].split("  ")[-1].split()[0] for line in listing] == [
        "mov",
        "out",
        "ud2",
        "nop",
    ]


def test_the_last_16_exits_are_shown_as_the_trace_shows_them():
    thr = Register("THR", 0, access=Access.WO)
    events = tuple(
        ExitEvent(n, 0, "IO", 0x3F8, 1, write=True, value=0x41 + n, device="uart0", register=thr)
        for n in range(20)
    )
    lines = render(crash(recent=events)).splitlines()
    start = lines.index("last 16 exits, oldest first:")
    assert lines[start + 1] == "  0  IO    out 0x03f8/1  uart0.THR = 0x45 'E'"
    assert len(lines) == start + 17
    assert "last exit:" in render(crash(recent=events[:1]))


def test_a_device_s_state_is_one_line_whatever_it_holds():
    state = {"version": 1, "text": "a\nb", "bytes": b"", "on": True, "ring": list(range(99))}
    line = render(crash(devices={"nic": state})).splitlines()[-1]
    assert line.startswith(r"  nic: text='a\nb' bytes=- on=True ring=[0, 1, ")
    assert line.endswith("...")


@pytest.mark.parametrize("bits", [16, 32, 64])
@pytest.mark.parametrize("after", ["", "06", "0f", "ff" * 15])
@pytest.mark.parametrize("before", ["", "ff" * 15])
def test_no_bytes_keep_a_report_from_being_made(before, after, bits):
    assert render(crash(after, before, bits=bits, code_is_mapped=bool(after)))
