"""Finding the instruction that exited, from the bytes around RIP and the access."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykvm.trace.disasm import disassemble, exiting_instruction, instruction_at
from pykvm.trace.events import Code, ExitEvent

RIP = 0x101000
OUTS = [  # encoding, size, port (None: in DX), text; in 64-bit mode
    ("ee", 1, None, "out dx, al"),
    ("66ef", 2, None, "out dx, ax"),
    ("ef", 4, None, "out dx, eax"),
    ("e680", 1, 0x80, "out 0x80, al"),
    ("66e780", 2, 0x80, "out 0x80, ax"),
    ("e780", 4, 0x80, "out 0x80, eax"),
]


def exit_event(before="", after="", *, bits=64, past=None, registers=None, **access):
    code = Code(RIP, bits, bytes.fromhex(before), bytes.fromhex(after), registers or {}, past)
    return ExitEvent(0, 0, access.pop("reason", "IO"), code=code, **access)


def mmio(before="", after="", **access):
    return exit_event(before, after, reason="MMIO", **{"address": 0xFEB00000, "size": 4} | access)


def test_disassembly_gives_addresses_bytes_and_intel_syntax():
    lines = disassemble(bytes.fromhex("b801000000 0f0b"), 0x1000, 64)
    assert [tuple(line) for line in lines] == [
        (0x1000, bytes.fromhex("b801000000"), "mov eax, 1"),
        (0x1005, bytes.fromhex("0f0b"), "ud2"),
    ]


def test_disassembly_stops_after_the_count_and_at_bytes_that_are_no_instruction():
    assert len(disassemble(b"\x90" * 9, 0, 64, 3)) == 3
    assert [line.text for line in disassemble(b"\x90\x06\x90", 0, 64)] == ["nop"]


def test_the_same_bytes_mean_another_instruction_in_another_mode():
    texts = [disassemble(b"\xef", 0, bits)[0].text for bits in (16, 32, 64)]
    assert texts == ["out dx, ax", "out dx, eax", "out dx, eax"]


@given(
    out=st.sampled_from(OUTS),
    before=st.binary(max_size=15),
    after=st.binary(max_size=15),
    value=st.integers(0, 0xFFFFFFFF),
)
def test_every_out_is_found_behind_rip_whatever_surrounds_it(out, before, after, value):
    encoding, size, port, text = out
    value &= (1 << 8 * size) - 1
    # Prefixes would belong to it, and wider ones make another instruction of it.
    before = before.rstrip(bytes.fromhex("66 67 f0 f2 f3 2e 36 3e 26 64 65") + bytes(range(64, 80)))
    behind = (before + bytes.fromhex(encoding))[-15:]
    event = exit_event(
        behind.hex(), after.hex(), past=True, address=port or 0x3F8, size=size, write=True,
        value=value, registers={"rdx": 0x3F8, "rax": value},
    )  # fmt: skip
    assert exiting_instruction(event) == text


@pytest.mark.parametrize(("encoding", "size", "port", "text"), OUTS)
def test_an_out_is_found_on_rip_where_hardware_reports_it(encoding, size, port, text):
    event = exit_event(
        "9090", encoding + "9090", past=False, address=port or 0x3F8, size=size, write=True,
        registers={"rdx": 0x3F8},
    )  # fmt: skip
    assert exiting_instruction(event) == text


@pytest.mark.parametrize("past", [True, False, None])
@pytest.mark.parametrize(("encoding", "size", "port", "text"), OUTS)
def test_an_out_is_found_when_the_side_is_not_known(encoding, size, port, text, past):
    before, after = ("90", encoding) if past is False else ("90" + encoding, "90")
    event = exit_event(
        before, after, past=None, address=port or 0x3F8, size=size, write=True,
        registers={"rdx": 0x3F8},
    )  # fmt: skip
    assert exiting_instruction(event) == text


@pytest.mark.parametrize(
    ("encoding", "size", "port", "text"),
    [
        ("ec", 1, 0x3FD, "in al, dx"),
        ("66ed", 2, 0x3FD, "in ax, dx"),
        ("ed", 4, 0x3FD, "in eax, dx"),
        ("e471", 1, 0x71, "in al, 0x71"),
        ("e571", 4, 0x71, "in eax, 0x71"),
    ],
)
def test_an_in_is_found_on_rip(encoding, size, port, text):
    event = exit_event(
        "ee", encoding + "a801", past=False, address=port, size=size, registers={"rdx": 0x3FD}
    )
    assert exiting_instruction(event) == text


def test_the_value_tells_an_out_behind_rip_from_one_on_it():
    event = exit_event("e680", "e780", address=0x80, size=1, write=True, value=7,
                       registers={"rax": 7})  # fmt: skip
    assert exiting_instruction(event) == "out 0x80, al"


def test_string_output_in_the_middle_of_its_count_is_on_rip():
    event = exit_event(
        "ee", "f36e", past=True, address=0x3F8, size=1, write=True, value=0x41,
        registers={"rdx": 0x3F8, "rcx": 4, "rax": 0x99},
    )  # fmt: skip
    assert exiting_instruction(event).startswith("rep outsb")


def test_string_output_that_came_in_one_exit_is_not_taken_for_a_plain_out():
    event = exit_event("ee", "f36e", address=0x3F8, size=1, count=9, write=True,
                       registers={"rdx": 0x3F8, "rcx": 9})  # fmt: skip
    assert exiting_instruction(event).startswith("rep outsb")


def test_string_input_is_found():
    event = exit_event("90", "f36d", address=0x1F0, size=4, count=128, registers={"rdx": 0x1F0})
    assert exiting_instruction(event).startswith("rep insd")


def test_the_last_round_of_a_string_output_is_behind_rip():
    event = exit_event("f36e", "90", past=True, address=0x3F8, size=1, write=True,
                       registers={"rdx": 0x3F8, "rcx": 0})  # fmt: skip
    assert exiting_instruction(event).startswith("rep outsb")


@pytest.mark.parametrize(
    ("encoding", "size", "text"),
    [
        ("8918", 4, "mov dword ptr [rax], ebx"),
        ("66 c7 00 34 12", 2, "mov word ptr [rax], 0x1234"),
        ("48 8918", 8, "mov qword ptr [rax], rbx"),
        ("c7 04 88 01 00 00 00", 4, "mov dword ptr [rax + rcx*4], 1"),
        ("89 1d 00 01 00 00", 4, "mov dword ptr [rip + 0x100], ebx"),
        ("0f c3 18", 4, "movnti dword ptr [rax], ebx"),
        ("f0 0f b1 18", 4, "lock cmpxchg dword ptr [rax], ebx"),
        ("ab", 4, "stosd dword ptr [rdi], eax"),
        ("a5", 4, "movsd dword ptr [rdi], dword ptr [rsi]"),
    ],
)
def test_a_store_is_found_behind_rip(encoding, size, text):
    event = mmio("9090" + encoding, "8b01", size=size, write=True, past=True,
                 registers={"rax": 0xFEB00000})  # fmt: skip
    assert exiting_instruction(event) == text


@pytest.mark.parametrize(
    ("encoding", "size", "text"),
    [
        ("8b03", 4, "mov eax, dword ptr [rbx]"),
        ("0fb603", 1, "movzx eax, byte ptr [rbx]"),
        ("833b01", 4, "cmp dword ptr [rbx], 1"),
        ("f70301000000", 4, "test dword ptr [rbx], 1"),
        ("0903", 4, "or dword ptr [rbx], eax"),
        ("ff33", 8, "push qword ptr [rbx]"),
        ("c3", 8, "ret"),  # its stack is the device: nothing else shows that
    ],
)
def test_a_load_is_found_on_rip(encoding, size, text):
    assert exiting_instruction(mmio("8908", encoding, size=size, past=False)) == text


def test_the_address_tells_two_stores_apart():
    # 41 is either REX.B of the store or the end of what was there before.
    at = {"rax": 0xFEB00000, "r8": 0x5000}
    event = mmio("418918", "", write=True, past=True, registers=at)
    assert exiting_instruction(event) == "mov dword ptr [rax], ebx"
    event = mmio("418918", "", write=True, past=True, registers=at | {"rax": 0, "r8": 0xFEB00000})
    assert exiting_instruction(event) == "mov dword ptr [r8], ebx"


def test_under_paging_the_offset_in_the_page_tells_two_stores_apart():
    event = mmio("418918", "", address=0xFEB00010, write=True, past=True,
                 registers={"rax": 0xFFFF8000_00001010, "r8": 0x30})  # fmt: skip
    assert exiting_instruction(event) == "mov dword ptr [rax], ebx"


def test_an_address_that_does_not_fit_is_no_reason_to_show_nothing():
    event = mmio("648918", "", write=True, past=True, registers={"rax": 0x123})
    assert exiting_instruction(event) == "mov dword ptr fs:[rax], ebx"


def test_a_real_mode_store_through_a_segment_is_found():
    event = mmio("26 88 07", "90", bits=16, address=0xB8003, size=1, write=True, past=True,
                 registers={"rbx": 3})  # fmt: skip
    assert exiting_instruction(event) == "mov byte ptr es:[bx], al"


def test_half_of_a_split_store_still_finds_its_instruction():
    event = mmio("8918", "", size=2, write=True, past=True)
    assert exiting_instruction(event) == "mov dword ptr [rax], ebx"


def test_an_lea_never_explains_an_access():
    assert exiting_instruction(mmio("8d18", "8d18", past=None)) is None


def test_without_code_or_with_none_that_fits_there_is_no_answer():
    assert exiting_instruction(ExitEvent(0, 0, "IO", address=0x80, size=1)) is None
    assert exiting_instruction(mmio("9090", "9090", write=True, past=True)) is None
    assert exiting_instruction(mmio(past=False)) is None


def test_an_exit_without_an_access_shows_the_instruction_at_rip():
    assert exiting_instruction(exit_event("90", "0f0b", reason="SHUTDOWN")) == "ud2"


def test_a_halt_is_behind_rip():
    assert exiting_instruction(exit_event("faf4", "eb fe", reason="HLT")) == "hlt"


def test_the_instruction_at_rip_is_none_where_nothing_is_mapped():
    assert instruction_at(Code(RIP, 64, b"", b"", {})) is None


@given(
    before=st.binary(max_size=15),
    after=st.binary(max_size=15),
    bits=st.sampled_from([16, 32, 64]),
    size=st.sampled_from([1, 2, 4, 8]),
    past=st.sampled_from([True, False, None]),
    write=st.booleans(),
    reason=st.sampled_from(["IO", "MMIO", "HLT"]),
)
def test_no_bytes_make_it_fail(before, after, bits, size, past, write, reason):
    event = exit_event(
        before.hex(), after.hex(), bits=bits, past=past, reason=reason, size=size, write=write,
        address=None if reason == "HLT" else 0x80, registers={"rdx": 0x80, "rcx": 1},
    )  # fmt: skip
    assert exiting_instruction(event) is None or isinstance(exiting_instruction(event), str)


def test_capstone_is_not_imported_until_something_is_disassembled():
    check = "import sys, pykvm.trace.text, pykvm.crash; sys.exit('capstone' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
