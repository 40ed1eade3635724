"""The crash report as text."""

from dataclasses import replace

import pytest

from pykvm.crash import CrashReport, Segment, guess, render
from pykvm.trace.events import Code, ExitEvent

FLAT = Segment(0x8, 0, 0xFFFF_FFFF, "code 64-bit dpl 0")
NAMES = "rax rbx rcx rdx rsi rdi rsp rbp r8 r9 r10 r11 r12 r13 r14 r15".split()


@pytest.fixture
def report():
    return CrashReport(
        reason="triple fault: an exception could not be delivered",
        vcpu=0,
        mode="long",
        code=Code(0x100003, 64, bytes.fromhex("90b005"), bytes.fromhex("0f0b9090"),
                  dict.fromkeys(NAMES, 4660)),
        control={"rflags": 0x202, "cr0": 0x80000011, "cr2": 0xBAD, "cr3": 0x9000, "cr4": 0x20,
                 "cr8": 0, "efer": 0x500},
        segments={"cs": FLAT},
        tables={"gdt": (0x500, 31), "idt": (0, 0)},
        recent=(ExitEvent(0, 0, "IO", 0x80, 1, write=True, value=7, device="postcode"),),
        devices={"uart0": {"version": 1, "ier": 5, "received": b"ab" * 40}},
    )  # fmt: skip


def test_the_report_names_the_instruction_and_the_empty_idt(report):
    assert guess(report) == "the instruction at RIP is `ud2`, and the IDT is empty"


def test_everything_is_shown(report):
    text = render(report)
    for part in [
        "guest crash: triple fault", "long mode, CPL 0", "rax=0000000000001234", "IF",
        "PE ET PG", "PAE", "LME LMA", "cr2=bad", "code 64-bit dpl 0", "idt", "mov al, 5",
        "-> 0x100003: 0f 0b", "out 0x0080/1", "postcode", "uart0: ier=0x5",
    ]:  # fmt: skip
        assert part in text, part
    assert "ab" * 30 not in text  # long state is cut


def test_a_rip_outside_ram_is_the_cause_it_names(report):
    report = replace(report, code=replace(report.code, after=b""), code_is_mapped=False)
    assert "not in RAM" in guess(report)
    assert "not mapped to RAM" in render(report)


def test_bytes_that_are_no_instruction_are_shown_as_bytes(report):
    report = replace(report, code=replace(report.code, after=b"\x06\x06"))
    assert "06 06  (no instruction)" in render(report)


def test_a_crash_before_any_exit_says_so(report):
    assert "no exits before it" in render(replace(report, recent=()))
