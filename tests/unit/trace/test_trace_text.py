"""One line of text per event."""

import io
import re

import pytest

from pykvm.registers import Access, Field, Register, RegisterMap
from pykvm.trace.events import Code, DeviceEvent, ExitEvent, IrqEvent
from pykvm.trace.text import TextSink, access, coloured, render, summary

THR = Register("THR", 0, access=Access.WO)
LCR = Register("LCR", 3, fields=(Field("WLS", 0, 2, {0: "5", 3: "8"}), Field("DLAB", 7)))
RAL = Register("RAL", 0x5400, 4, count=16, stride=8)
CTRL = Register(
    "CTRL", 0, 4,
    fields=(Field("FD", 0), Field("SPEED", 8, 2), Field("WIDE", 14, 4), Field("RST", 26)),
)  # fmt: skip


def out(value=0x48, register=THR, **more):
    given = {"address": 0x3F8, "size": 1, "write": True, "device": "uart0"} | more
    return ExitEvent(512_000, 0, "IO", value=value, register=register, **given)


def st(value=0, register=None, **more):
    given = {"address": 0xFEB00000, "size": 4, "write": True} | more
    return ExitEvent(0, 1, "MMIO", value=value, register=register, **given)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_line_has_time_vcpu_reason_access_device_register_value_rip_and_instruction():
    code = Code(0x101001, 64, b"\xee", b"\x90", {"rdx": 0x3F8, "rax": 0x48}, past=True)
    words = render(out(code=code)).split()
    assert words == ("0.000512 0 IO out 0x03f8/1 uart0.THR = 0x48 'H' 0x101001 out dx, al".split())


def test_an_access_without_code_ends_with_the_value():
    assert access(out()) == "out 0x03f8/1  uart0.THR = 0x48 'H'"
    assert access(out(write=False, size=2)).startswith("in  0x03f8/2  ")


@pytest.mark.parametrize(
    ("value", "text"), [(0x0A, r"0xa '\n'"), (0x7F, "0x7f"), (0, "0x0"), (0x27, '0x27 "\'"')]
)
def test_only_what_prints_or_is_a_usual_control_shows_as_a_character(value, text):
    assert access(out(value)).endswith(f"= {text}")


def test_fields_are_decoded():
    assert access(out(0x83, LCR, offset=3)).endswith("uart0.LCR = 0x83 WLS=8 DLAB")


def test_an_array_shows_which_element():
    event = st(0x1234, RAL, device="e1000", offset=0x5400 + 3 * 8)
    assert access(event) == "st  0xfeb00000/4  e1000.RAL[3] = 0x1234"


def test_a_partial_access_decodes_only_the_fields_that_it_touched():
    low = st(0x01, CTRL, device="nic", size=2)
    assert access(low).endswith("nic.CTRL = 0x1 FD SPEED=0x0")  # WIDE reaches beyond
    high = st(0x04, CTRL, device="nic", offset=3, size=1)
    assert access(high).endswith("nic.CTRL+3 = 0x4 RST")


def test_a_hole_in_a_device_shows_its_offset():
    assert access(st(7, device="nic", offset=0x3C)) == "st  0xfeb00000/4  nic+0x3c = 0x7"


def test_an_address_that_nobody_claims_is_marked():
    assert access(st(0xFFFFFFFF)) == "st  0xfeb00000/4  unclaimed = 0xffffffff"


def test_a_string_instruction_shows_its_count():
    assert "0x03f8/1*12  uart0.THR" in access(out(count=12))


def test_an_exit_without_an_access_shows_its_detail():
    event = ExitEvent(0, 2, "SYSTEM_EVENT", detail="reset")
    assert render(event) == "  0.000000  2  SYSTEM_EVENT  reset"
    assert summary(event) == "2  SYSTEM_EVENT  reset"
    assert access(event) == ""


def test_the_rip_column_lines_up():
    code = Code(0x101001, 64, b"\xee", b"\x90", {"rdx": 0x3F8}, past=True)
    events = [out(code=code), out(0x83, LCR, offset=3, code=code), st(code=code),
              ExitEvent(9_000_000_000, 0, "HLT", code=code)]  # fmt: skip
    assert len({render(event).index("0x101001") for event in events}) == 1


def test_interrupts_and_device_events_have_lines():
    assert render(IrqEvent(1000, "uart0", "IRQ4", True)).split() == (
        "0.000001 - irq uart0 IRQ4 up".split()
    )
    event = DeviceEvent(0, "nic", "error", {"length": 16, "message": "not RAM", "up": True})
    assert render(event) == "  0.000000  -  dev   nic error length=0x10 message=not RAM up=True"


def test_what_a_guest_says_cannot_break_the_line():
    event = DeviceEvent(0, "nic", "error", {"message": "a\nb\x1b[2J"})
    assert re.search(r"[\n\x1b]", render(event)) is None


def test_only_accepted_events_are_written():
    stream = io.StringIO()
    sink = TextSink(stream, lambda event: event.device == "uart0")
    sink.event(out())
    sink.event(st())
    assert stream.getvalue().count("\n") == 1


def test_a_file_has_no_colours_and_a_terminal_has(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    plain, terminal, forced_off = io.StringIO(), Terminal(), Terminal()
    TextSink(plain).event(st())
    TextSink(terminal).event(st())
    TextSink(forced_off, colour=False).event(st())
    assert "\x1b" not in plain.getvalue() + forced_off.getvalue()
    assert terminal.getvalue().startswith("\x1b[31m")


@pytest.mark.parametrize("variable", [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_the_environment_turns_colours_off(monkeypatch, variable):
    monkeypatch.setenv(*variable)
    terminal = Terminal()
    TextSink(terminal).event(st())
    assert "\x1b" not in terminal.getvalue()


def test_a_claimed_access_is_never_coloured():
    assert coloured(out()) == render(out())
    assert coloured(IrqEvent(0, "uart0", "IRQ4", False)).endswith("down\x1b[0m")


def test_a_file_is_whole_after_close_and_a_shared_stream_after_each_line(tmp_path):
    path = tmp_path / "trace"
    owned = path.open("w", buffering=1 << 16)
    sink = TextSink(owned, owned=True)
    sink.event(out())
    assert path.read_text() == ""
    sink.close()
    assert owned.closed
    assert path.read_text().count("\n") == 1
    with path.open("w", buffering=1 << 16) as shared:
        sink = TextSink(shared)
        sink.event(out())
        assert path.read_text().count("\n") == 1
        sink.close()
        assert not shared.closed


def test_a_hundred_thousand_events_lose_none(tmp_path):
    count, registers = 100_000, {"rdx": 0x3F8, "rax": 0x48}
    uart = RegisterMap("uart", [THR, LCR])
    path = tmp_path / "trace"
    sink = TextSink(path.open("w"), owned=True)
    for n in range(count):
        code = Code(0x101000 + n % 64, 64, b"\x90" * 14 + b"\xee", b"\x90" * 15, registers, True)
        lcr = n % 2
        sink.event(out(0x48, uart.lookup(3 * lcr, True), address=0x3F8, offset=3 * lcr, code=code))
    sink.close()
    with path.open() as file:
        assert sum(1 for _ in file) == count


def test_bytes_that_the_disassembler_stumbles_over_do_not_end_the_trace(monkeypatch):
    def stumble(event):
        raise OverflowError("int too big to convert")

    monkeypatch.setattr("pykvm.trace.text.exiting_instruction", stumble)
    code = Code(2**64 - 1, 64, b"\xee", b"", {"rdx": 0x3F8, "rax": 0x48}, past=True)
    assert render(out(code=code)).endswith("0xffffffffffffffff  (cannot be read)")
