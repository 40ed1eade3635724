"""KVM's own counters in words: what never came to user space, and why it left the guest."""

import pytest

from pykvm.trace.kernel import causes, handled, text

BUSY = {
    "exits": 1000, "fpu_reload": 400, "mmio_exits": 300, "io_exits": 90, "signal_exits": 10,
    "halt_exits": 200, "irq_exits": 50, "irq_window_exits": 0, "notify_window_exits": 7,
    "irq_injections": 210, "nmi_injections": 0, "insn_emulation": 312, "halt_wait_ns": 5,
}  # fmt: skip


def test_exits_have_the_causes_that_kvm_names_and_the_rest():
    assert causes(BUSY) == {
        "mmio": 300, "io": 90, "signal": 10, "halt": 200, "irq": 50, "other": 350,
    }  # fmt: skip


def test_those_that_kvm_handled_are_all_but_the_returns_to_user_space():
    assert handled(BUSY) == {"halt": 200, "irq": 50, "other": 350}
    assert sum(handled(BUSY).values()) == BUSY["exits"] - BUSY["fpu_reload"]


def test_a_return_without_an_exit_does_not_make_others_negative():
    assert handled({"exits": 3, "fpu_reload": 5}) == {}
    assert handled({"exits": 3, "fpu_reload": 2, "halt_exits": 2}) == {"halt": 2}


@pytest.mark.parametrize(
    ("counters", "words"),
    [
        (BUSY, "600 exits handled (halt 200, irq 50, other 350), 210 interrupts injected, "
         "312 instructions emulated"),
        ({"exits": 4, "fpu_reload": 4, "hypercalls": 2}, "2 hypercalls"),
        ({"exits": 4, "fpu_reload": 4}, "nothing counted"),
        ({}, "nothing counted"),
    ],
)  # fmt: skip
def test_only_what_was_counted_is_said(counters, words):
    assert text(counters) == words
