"""docs/tracing.md says what is so."""

import re
from pathlib import Path

import pytest

from pykvm.devices import netcounts
from pykvm.interfaces import TraceSink
from pykvm.registers import Register
from pykvm.trace.events import DeviceEvent, ExitEvent, IrqEvent
from pykvm.trace.recorder import Tracer
from pykvm.trace.select import KINDS
from pykvm.trace.stats import Statistics
from pykvm.trace.text import access, render

DOC = (Path(__file__).parents[3] / "docs" / "tracing.md").read_text()
THR = Register("THR", 0)


def out(register=THR):
    return ExitEvent(
        0, 0, "IO", 0x3F8, 1, write=True, value=0x50, device="uart0", register=register
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_explained(kind):
    assert f"| `{kind}` |" in DOC


def test_the_annotated_lines_are_what_is_printed():
    assert access(out()) in DOC
    assert render(IrqEvent(117_035_000, "rtc", "IRQ8", True)) in DOC
    error = {"message": "guest address 0xfee00000, 16 bytes: not RAM"}
    assert render(DeviceEvent(220_176_000, "nic0", "error", error)) in DOC


def test_every_json_key_is_listed():
    statistics = Statistics()
    statistics.event(out())
    data = statistics.as_dict()
    for key in data:
        assert f"`{key}" in DOC
    for key in data["rows"][0]:
        assert f"`rows[].{key}`" in DOC
    for key in netcounts.read(lambda counts: None):
        assert f"`cards[].{key}`" in DOC
        assert f"| {key.replace('_', ' ')} |" in DOC


def test_the_sink_of_the_example_works_and_fits_the_interface(capsys):
    code = re.search(r"```python\n(from collections.*?)```", DOC, re.DOTALL)[1]
    names = {}
    exec(code, names)
    sink: TraceSink = names["Registers"]()
    warnings = []
    tracer = Tracer(warn=warnings.append)
    tracer.add(sink)
    for event in (out(), out(), out(None), IrqEvent(0, "uart0", "IRQ4", True)):
        tracer.event(event)
    tracer.close()
    assert capsys.readouterr().out == "THR    ##\n"
    assert warnings == []
