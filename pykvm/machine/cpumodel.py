"""``--cpu``: which of the host's CPU features the guest is shown.

Bits without a name in ``cpufeatures.py`` are shown by ``host`` and hidden by ``base``.
"""

from __future__ import annotations

from pykvm.errors import HostError, UsageError
from pykvm.kvm.system import CpuidEntry
from pykvm.record import Record

_BY_HYPERCALL = frozenset({"kvm_pv_ipi", "kvm_pv_unhalt", "kvm_pv_sched_yield"})

MODELS = ("host", "base")


class CpuModel(Record):
    """A model, with features added to it and taken from it."""

    name: str = "host"
    added: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, text: str) -> CpuModel:
        """``host`` or ``base``, then ``,+feature`` and ``,-feature``; raises UsageError."""
        name, *words = text.split(",")
        if name not in MODELS:
            raise UsageError(f"--cpu: no model {name!r}; it takes {', '.join(MODELS)}")
        changed: dict[str, set[str]] = {"+": set(), "-": set()}
        for word in words:
            sign, feature = word[:1], word[1:]
            if sign not in changed:
                raise UsageError(f"--cpu: {word!r}; write +feature or -feature")
            _check(feature)
            changed[sign].add(feature)
        if both := sorted(changed["+"] & changed["-"]):
            raise UsageError(f"--cpu: {both[0]} is both added and removed")
        return cls(name, frozenset(changed["+"]), frozenset(changed["-"]))

    def without_hypercalls(self) -> CpuModel:
        """The same, but for what a guest would use hypercalls for."""
        return self.replace(removed=self.removed | _BY_HYPERCALL - self.added)

    def apply(self, supported: list[CpuidEntry]) -> list[CpuidEntry]:
        """The leaves that KVM supports, cut to the model. Raises HostError for an added feature
        that is not among them."""
        if self == HOST:
            return supported
        from pykvm.machine import cpufeatures

        offered = cpufeatures.offered(supported)
        if missing := sorted(self.added - offered):
            raise HostError(f"--cpu: this host's KVM has no {missing[0]} to show")
        hidden = cpufeatures.with_dependants(self.removed)
        base = self.name == "base"
        if base:
            hidden |= offered - cpufeatures.BASE - self.added
        return [cpufeatures.without(entry, hidden, nameless=base) for entry in supported]


def _check(feature: str) -> None:
    from pykvm.machine.cpufeatures import FEATURES

    if feature not in FEATURES:
        from difflib import get_close_matches

        near = get_close_matches(feature, FEATURES, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(f"--cpu: no feature {feature!r}{hint}")


HOST = CpuModel()
