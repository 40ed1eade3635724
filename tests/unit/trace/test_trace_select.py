"""``--trace KIND[,KIND...]``."""

import pytest

from pykvm.errors import UsageError
from pykvm.trace.events import DeviceEvent, ExitEvent, IrqEvent
from pykvm.trace.select import KINDS, Selection

DEVICES = ["uart0", "uart1", "rtc", "nic1", "nic10"]
EVENTS = {
    "uart0 out": ExitEvent(0, 0, "IO", 0x3F8, 1, device="uart0"),
    "uart1 out": ExitEvent(0, 0, "IO", 0x2F8, 1, device="uart1"),
    "nic10 st": ExitEvent(0, 0, "MMIO", 0xFEB00000, 4, device="nic10"),
    "port hole": ExitEvent(0, 0, "IO", 0x999, 1),
    "mmio hole": ExitEvent(0, 0, "MMIO", 0xFEC10000, 4),
    "hlt": ExitEvent(0, 0, "HLT"),
    "uart0 irq": IrqEvent(0, "uart0", "IRQ4", True),
    "uart0 event": DeviceEvent(0, "uart0", "overrun"),
}
EXITS = {"uart0 out", "uart1 out", "nic10 st", "port hole", "mmio hole", "hlt"}


def accepted(text):
    selection = Selection(text, DEVICES)
    return {name for name, event in EVENTS.items() if selection.accepts(event)}


@pytest.mark.parametrize(
    ("kinds", "names"),
    [
        ("exits", EXITS | {"uart0 event"}),
        ("io", {"uart0 out", "uart1 out", "port hole"}),
        ("mmio", {"nic10 st", "mmio hole"}),
        ("unclaimed", {"port hole", "mmio hole"}),
        ("irq", {"uart0 irq"}),
        ("uart0", {"uart0 out", "uart0 irq", "uart0 event"}),
        ("uart", {"uart0 out", "uart0 irq", "uart0 event", "uart1 out"}),
        ("nic1", set()),  # an exact name is not the start of another
        ("nic10", {"nic10 st"}),
        ("unclaimed, irq,", {"port hole", "mmio hole", "uart0 irq"}),
        ("mmio,uart1", {"nic10 st", "mmio hole", "uart1 out"}),
    ],
)
def test_a_kind_takes_its_events_and_no_others(kinds, names):
    assert accepted(kinds) == names


@pytest.mark.parametrize("text", ["everything", "", ",", "io,nothing", "EXITS", "uart0x"])
def test_an_unknown_kind_is_refused_with_all_that_would_be_taken(text):
    with pytest.raises(UsageError) as caught:
        Selection(text, DEVICES)
    for known in [*KINDS, *DEVICES]:
        assert known in str(caught.value)


@pytest.mark.parametrize(
    ("kinds", "exits", "irqs", "devices"),
    [
        ("exits", True, False, True),
        ("io", True, False, False),
        ("irq", False, True, False),
        ("irq,unclaimed", True, True, False),
        ("rtc", True, True, True),
    ],
)
def test_a_selection_says_what_it_can_do_without(kinds, exits, irqs, devices):
    selection = Selection(kinds, DEVICES)
    wants = (selection.wants_exits, selection.wants_irqs, selection.wants_devices)
    assert wants == (exits, irqs, devices)
