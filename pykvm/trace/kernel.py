"""What KVM itself counts of a vCPU, in words: above all the exits that user space never saw.

The names are those of ``struct kvm_vcpu_stat`` (arch/x86/include/asm/kvm_host.h).
"""

from __future__ import annotations

from collections.abc import Mapping

EXITS = "exits"
RETURNS = "fpu_reload"  # once for each KVM_RUN that returns
INJECTIONS = "irq_injections"
NO_CAUSES = (EXITS, "notify_window_exits")
_LEAVING = ("io", "mmio", "signal", "request_irq")  # causes for which KVM_RUN returns
_EVENTS = {
    INJECTIONS: "interrupts injected",
    "nmi_injections": "NMIs injected",
    "hypercalls": "hypercalls",
    "insn_emulation": "instructions emulated",
}


def causes(counters: Mapping[str, int]) -> dict[str, int]:
    """All exits by cause: those that KVM names, and the rest."""
    named = {
        name.removesuffix("_exits"): count
        for name, count in counters.items()
        if name.endswith("_exits") and name not in NO_CAUSES and count > 0
    }
    return _with_rest(named, counters.get(EXITS, 0))


def handled(counters: Mapping[str, int]) -> dict[str, int]:
    """The exits after which KVM entered the guest again by itself, by cause."""
    alone = counters.get(EXITS, 0) - counters.get(RETURNS, 0)
    left_out = (*_LEAVING, "other")
    named = {cause: n for cause, n in causes(counters).items() if cause not in left_out}
    return _with_rest(named, alone)


def _with_rest(named: dict[str, int], total: int) -> dict[str, int]:
    rest = total - sum(named.values())
    return {**named, **({"other": rest} if rest > 0 else {})}


def text(counters: Mapping[str, int]) -> str:
    """What is not 0: ``37 exits handled (halt 25, other 12), 25 interrupts injected``."""
    parts = []
    if alone := handled(counters):
        how = ", ".join(f"{cause} {count}" for cause, count in alone.items())
        parts.append(f"{sum(alone.values())} exits handled ({how})")
    parts += [f"{counters[name]} {what}" for name, what in _EVENTS.items() if counters.get(name)]
    return ", ".join(parts) or "nothing counted"
