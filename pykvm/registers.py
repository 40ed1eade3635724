"""Register tables: one per device, read by the model, the tracer, the tests and the docs.

A table says what a datasheet's register chapter says: where each register is, what it resets to,
who may access it and what its bits mean::

    LCR = Register("LCR", 3, access=Access.RW, doc="line control", fields=(
        Field("WLS", 0, 2, {0: "5 bits", 3: "8 bits"}),
        Field("DLAB", 7),
    ))
    UART = RegisterMap("16550A", [LCR, ...])

Several registers may share an offset in two ways, and both are part of the table: a read-only and a
write-only register (RBR and THR), and *banks* (with DLAB set, offset 0 is DLL). A device whose data
port is selected by an index port (the CMOS clock) uses the index as the bank.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

ANY_BANK = -1


class Access(Enum):
    """How a register answers, in the datasheets' abbreviations."""

    RO = "read only"
    RW = "read and write"
    W1C = "writing 1 clears a bit"
    RC = "reading clears"
    WO = "write only"

    @property
    def readable(self) -> bool:
        return self is not Access.WO

    @property
    def writable(self) -> bool:
        return self not in (Access.RO, Access.RC)


@dataclass(frozen=True)
class Field:
    """Bits ``lsb`` to ``lsb + width - 1``; ``enum`` names values."""

    name: str
    lsb: int
    width: int = 1
    enum: Mapping[int, str] | None = field(default=None, hash=False)
    doc: str = ""

    @property
    def mask(self) -> int:
        """The field's bits, in place."""
        return ((1 << self.width) - 1) << self.lsb

    def get(self, value: int) -> int:
        """The field's value in the register value ``value``."""
        return (value & self.mask) >> self.lsb

    def put(self, value: int, bits: int) -> int:
        """The register value ``value`` with this field set to ``bits`` (cut to the width)."""
        return (value & ~self.mask) | ((bits << self.lsb) & self.mask)

    def text(self, value: int) -> str:
        """``NAME=value`` with the value's name where it has one; a set single bit is ``NAME``."""
        bits = self.get(value)
        if self.enum is not None and bits in self.enum:
            return f"{self.name}={self.enum[bits]}"
        return self.name if self.width == 1 else f"{self.name}={bits:#x}"


def fields(text: str) -> tuple[Field, ...]:
    """``NAME:lsb`` and ``NAME:lsb:width`` words as fields, for registers of many plain bits."""
    made = []
    for word in text.split():
        name, lsb, *width = word.split(":")
        made.append(Field(name, int(lsb), int(width[0]) if width else 1))
    return tuple(made)


@dataclass(frozen=True)
class Register:
    """One register: ``size`` bytes at ``offset`` in the device's window, ``reset`` after power-on.

    ``count`` and ``stride`` declare an array (RAL[n]); the offset of element n is
    ``offset + n * stride``.
    """

    name: str
    offset: int
    size: int = 1
    access: Access = Access.RW
    reset: int = 0
    fields: tuple[Field, ...] = ()
    bank: int = ANY_BANK
    count: int = 1
    stride: int = 0
    doc: str = ""

    def __post_init__(self) -> None:
        used = 0
        for f in self.fields:
            if f.width < 1 or f.lsb < 0 or f.lsb + f.width > self.size * 8:
                raise ValueError(f"{self.name}.{f.name} does not fit in {self.size} bytes")
            if used & f.mask:
                raise ValueError(f"{self.name}.{f.name} overlaps another field")
            used |= f.mask
        if not 0 <= self.reset < 1 << (self.size * 8):
            raise ValueError(f"{self.name}: reset value {self.reset:#x} is too wide")

    def __getitem__(self, name: str) -> Field:
        for f in self.fields:
            if f.name == name:
                return f
        raise KeyError(f"{self.name} has no field {name}")

    def decode(self, value: int) -> str:
        """The fields that say something: every multi-bit or named field, and the set bits."""
        return " ".join(
            f.text(value)
            for f in self.fields
            if f.get(value) or f.width > 1 or (f.enum is not None and 0 in f.enum)
        )

    def element(self, offset: int) -> str:
        """The register's name at ``offset``; array elements get their index."""
        if self.count == 1:
            return self.name
        return f"{self.name}[{(offset - self.offset) // self.stride}]"


class RegisterMap:
    """All registers of a device, found by offset, direction and bank.

    Raises ValueError when two registers could answer the same access.
    """

    def __init__(self, name: str, registers: Iterable[Register]) -> None:
        self.name = name
        self._all = tuple(registers)
        self._by_name = {r.name: r for r in self._all}
        if len(self._by_name) != len(self._all):
            raise ValueError(f"{name}: two registers have one name")
        self._banks: dict[tuple[int, bool], dict[int, Register]] = {}
        for register in self._all:
            self._place(register)

    def _place(self, register: Register) -> None:
        directions = [w for w in (False, True) if _answers(register, w)]
        for n in range(register.count):
            start = register.offset + n * register.stride
            for byte in range(start, start + register.size):
                for write in directions:
                    self._claim(byte, write, register)

    def _claim(self, byte: int, write: bool, register: Register) -> None:
        here = self._banks.setdefault((byte, write), {})
        for bank, other in here.items():
            if register.bank in (bank, ANY_BANK) or bank == ANY_BANK:
                raise ValueError(f"{self.name}: {register.name} overlaps {other.name}")
        here[register.bank] = register

    def __iter__(self) -> Iterator[Register]:
        return iter(self._all)

    def __getitem__(self, name: str) -> Register:
        return self._by_name[name]

    def lookup(self, offset: int, write: bool, bank: int = 0) -> Register | None:
        """The register that an access at ``offset`` reaches, or None for a hole."""
        here = self._banks.get((offset, write), {})
        return here.get(bank) or here.get(ANY_BANK)


def _answers(register: Register, write: bool) -> bool:
    return register.access.writable if write else register.access.readable
