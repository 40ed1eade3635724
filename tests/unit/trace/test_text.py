"""The lines of a trace, and what --trace selects."""

import io

import pytest

from pykvm.errors import UsageError
from pykvm.registers import Access, Field, Register, RegisterMap
from pykvm.trace.events import Code, DeviceEvent, ExitEvent, IrqEvent
from pykvm.trace.recorder import Tracer
from pykvm.trace.select import Selection
from pykvm.trace.text import TextSink, render

MAP = RegisterMap(
    "uart",
    [
        Register("THR", 0, access=Access.WO),
        Register("LCR", 3, fields=(Field("WLS", 0, 2, {3: "8"}), Field("DLAB", 7))),
        Register("RAL", 0x10, 4, count=4, stride=8),
    ],
)


def exit_event(**changes):
    values = {
        "time_ns": 1_500_000, "vcpu": 0, "reason": "IO", "address": 0x3F8, "size": 1,
        "write": True, "value": 0x48, "device": "uart0", "offset": 0, "register": MAP["THR"],
    }  # fmt: skip
    return ExitEvent(**(values | changes))


def test_an_access_shows_device_register_value_and_character():
    assert render(exit_event()).split() == [
        "0.001500", "0", "IO", "out", "0x03f8/1", "uart0.THR", "=", "0x48", "'H'",
    ]  # fmt: skip


def test_fields_are_decoded_by_name():
    line = render(exit_event(offset=3, register=MAP["LCR"], value=0x83))
    assert "uart0.LCR = 0x83 WLS=8 DLAB" in line


def test_elements_of_an_array_have_their_index():
    line = render(exit_event(reason="MMIO", address=0xFEB00020, offset=0x20, register=MAP["RAL"],
                             size=4))  # fmt: skip
    assert "st  0xfeb00020/4  uart0.RAL[2]" in line


def test_an_address_that_nobody_claims_says_so():
    assert "unclaimed = 0xff" in render(
        exit_event(device=None, register=None, write=False, value=0xFF)
    )


def test_an_offset_without_a_register_is_shown_as_one():
    assert "uart0+0x7 = " in render(exit_event(register=None, offset=7))


def test_a_string_instruction_shows_its_count():
    assert "0x03f8/1*12" in render(exit_event(count=12))


def test_the_instruction_follows_rip():
    code = Code(0x100002, 64, b"\x90\xee", b"\x90", {"rdx": 0x3F8}, past=True)
    assert render(exit_event(code=code)).endswith("0x100002  out dx, al")


def test_irq_and_device_events_have_lines_of_their_own():
    assert "uart0 IRQ4 up" in render(IrqEvent(5, "uart0", "IRQ4", True))
    assert "rtc alarm at=0x10 why=set" in render(
        DeviceEvent(5, "rtc", "alarm", {"at": 16, "why": "set"})
    )


@pytest.mark.parametrize(
    ("kinds", "accepted"),
    [
        ("exits", {"io", "mmio", "hole", "hlt"}),
        ("io", {"io", "hole"}),
        ("mmio", {"mmio"}),
        ("unclaimed", {"hole"}),
        ("irq", {"irq"}),
        ("uart", {"io", "irq"}),
        ("rtc0,mmio", {"mmio"}),
        (" io , irq ", {"io", "hole", "irq"}),
    ],
)
def test_kinds_select_events(kinds, accepted):
    events = {
        "io": exit_event(),
        "mmio": exit_event(reason="MMIO", device="nic"),
        "hole": exit_event(device=None),
        "hlt": exit_event(reason="HLT", address=None, device=None),
        "irq": IrqEvent(1, "uart0", "IRQ4", True),
    }
    selection = Selection(kinds, ["uart0", "rtc0"])
    assert {name for name, event in events.items() if selection.accepts(event)} == accepted


@pytest.mark.parametrize("text", ["all", "exits,xx", "", ","])
def test_an_unknown_kind_is_refused_with_what_there_is(text):
    with pytest.raises(UsageError, match=r"it takes exits, io, .*uart0"):
        Selection(text, ["uart0"])


class Failing:
    wants_code = False

    def __init__(self):
        self.events = 0

    def event(self, event):
        self.events += 1
        raise RuntimeError("disk full")

    def close(self):
        raise RuntimeError("never reached")


def test_a_failing_sink_is_detached_once_and_the_others_go_on():
    said, stream = [], io.StringIO()
    tracer = Tracer(warn=said.append)
    failing = Failing()
    tracer.add(failing)
    tracer.add(TextSink(stream))
    tracer.event(exit_event())
    tracer.event(exit_event())
    tracer.close()
    assert failing.events == 1
    assert len(said) == 1
    assert "disk full" in said[0]
    assert stream.getvalue().count("\n") == 2


def test_without_sinks_nothing_is_enabled():
    tracer = Tracer(warn=print)
    assert not tracer.enabled
    tracer.add(TextSink(io.StringIO()))
    assert tracer.enabled
    assert tracer.wants_code


def test_an_owned_stream_is_closed_and_holds_everything(tmp_path):
    path = tmp_path / "trace"
    sink = TextSink(path.open("w"), owned=True)
    for _ in range(1000):
        sink.event(exit_event())
    sink.close()
    assert len(path.read_text().splitlines()) == 1000
