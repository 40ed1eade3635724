"""What the smallest devices share: a few registers that fit in plain integers."""

from __future__ import annotations

from pykvm.hints import ClassVar
from pykvm.interfaces import State
from pykvm.registers import RegisterMap


class SimpleDevice:
    """A device whose guest-visible state is the attributes that ``STATE`` names."""

    registers: RegisterMap
    access_width = 1
    STATE: ClassVar[dict[str, int]] = {}  # attribute: value after power-on

    def __init__(self, name: str) -> None:
        self.name = name
        self.reset()

    @property
    def bank(self) -> int:
        return 0

    def reset(self) -> None:
        for attribute, value in self.STATE.items():
            setattr(self, attribute, value)

    def state(self) -> State:
        return {"version": 1, **{a: getattr(self, a) for a in self.STATE}}

    def restore(self, state: State) -> None:
        if state["version"] != 1:
            raise ValueError(f"{self.name}: state version {state['version']}")
        for attribute in self.STATE:
            setattr(self, attribute, state[attribute])
