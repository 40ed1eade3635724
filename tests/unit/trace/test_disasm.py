"""Finding the instruction that exited, from either side of RIP."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykvm.trace.disasm import disassemble, exiting_instruction
from pykvm.trace.events import Code, ExitEvent

NOPS = b"\x90" * 15

OUTS = [
    ("ee", 64, 1, "out dx, al"),
    ("66ef", 64, 2, "out dx, ax"),
    ("ef", 64, 4, "out dx, eax"),
    ("e6f4", 64, 1, "out 0xf4, al"),
    ("e7f4", 32, 4, "out 0xf4, eax"),
    ("ef", 16, 2, "out dx, ax"),
    ("66ef", 16, 4, "out dx, eax"),
    ("f36e", 64, 1, "rep outsb dx, byte ptr [rsi]"),
    ("666f", 64, 2, "outsw dx, word ptr [rsi]"),
]
STORES = [
    ("8803", 64, 1, "mov byte ptr [rbx], al"),
    ("8903", 64, 4, "mov dword ptr [rbx], eax"),
    ("48894310", 64, 8, "mov qword ptr [rbx + 0x10], rax"),
    ("c70305000000", 64, 4, "mov dword ptr [rbx], 5"),
    ("a3000000fe", 32, 4, "mov dword ptr [0xfe000000], eax"),
]


def event(code, size, *, write=True, port=0xF4, mmio=False):
    if mmio:
        return ExitEvent(0, 0, "MMIO", 0xFE000000, size, 1, write, code=code)
    return ExitEvent(0, 0, "IO", port, size, 1, write, code=code)


@pytest.mark.parametrize("past", [True, None])
@pytest.mark.parametrize(("encoding", "bits", "size", "text"), OUTS)
def test_an_out_is_found_when_rip_is_past_it(encoding, bits, size, text, past):
    code = Code(0x1000, bits, NOPS + bytes.fromhex(encoding), NOPS, {"rdx": 0xF4}, past)
    assert exiting_instruction(event(code, size)) == text


@pytest.mark.parametrize("past", [False, None])
@pytest.mark.parametrize(("encoding", "bits", "size", "text"), OUTS)
def test_an_out_is_found_when_rip_is_on_it(encoding, bits, size, text, past):
    code = Code(0x1000, bits, NOPS, bytes.fromhex(encoding) + NOPS, {"rdx": 0xF4}, past)
    assert exiting_instruction(event(code, size)) == text


@pytest.mark.parametrize(("encoding", "bits", "size", "text"), STORES)
def test_a_store_is_found_behind_rip(encoding, bits, size, text):
    code = Code(0x1000, bits, NOPS + bytes.fromhex(encoding), NOPS, {}, True)
    assert exiting_instruction(event(code, size, mmio=True)) == text


def test_a_load_is_found_at_rip():
    code = Code(0x1000, 64, NOPS, bytes.fromhex("8b03") + NOPS, {}, False)
    assert exiting_instruction(event(code, 4, write=False, mmio=True)) == "mov eax, dword ptr [rbx]"


def test_a_neighbouring_port_instruction_of_another_kind_is_not_taken():
    code = Code(0x1000, 64, b"\xec", b"\xee", {"rdx": 0xF4}, None)  # in; <RIP> out
    assert exiting_instruction(event(code, 1)) == "out dx, al"
    assert exiting_instruction(event(code, 1, write=False)) == "in al, dx"


def test_without_code_there_is_no_instruction():
    assert exiting_instruction(ExitEvent(0, 0, "IO", 0x80, 1)) is None
    assert exiting_instruction(event(Code(0, 64, b"", b"", {}), 1)) is None


@given(before=st.binary(max_size=15), after=st.binary(max_size=15),
       bits=st.sampled_from([16, 32, 64]), size=st.sampled_from([1, 2, 4, 8]),
       write=st.booleans(), mmio=st.booleans(),
       past=st.sampled_from([True, False, None]))  # fmt: skip
def test_arbitrary_bytes_never_break_it(before, after, bits, size, write, mmio, past):
    code = Code(0x1000, bits, before, after, {"rdx": 0xF4}, past)
    found = exiting_instruction(event(code, size, write=write, mmio=mmio))
    assert found is None or found


def test_disassembly_stops_at_bytes_that_are_no_instruction():
    lines = disassemble(bytes.fromhex("90 0f0b 06"), 0x10, 64)
    assert [(line.address, line.text) for line in lines] == [(0x10, "nop"), (0x11, "ud2")]
