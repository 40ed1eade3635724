"""A device of one register, for tests of what is around devices."""

from pykvm.registers import Register as Row
from pykvm.registers import RegisterMap


class Register:
    """``write`` is called with what the guest writes; reads give it back."""

    access_width = 1
    bank = 0

    def __init__(self, name, write=lambda value: None):
        self.name, self._write, self.value = name, write, 0
        self.registers = RegisterMap(name, [Row("VALUE", 0, 1)])

    def reset(self):
        self.value = 0

    def read(self, offset, size):
        return self.value

    def write(self, offset, size, value):
        self.value = value
        self._write(value)

    def state(self):
        return {"version": 1, "value": self.value}

    def restore(self, state):
        self.value = state["value"]
