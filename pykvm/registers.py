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

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from functools import cached_property

from pykvm.record import Record

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


class Field(Record):
    """Bits ``lsb`` to ``lsb + width - 1``; ``enum`` names values."""

    name: str
    lsb: int
    width: int = 1
    enum: Mapping[int, str] | None = None
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


class Register(Record):
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
        if self.count > 1 and self.stride < self.size:
            raise ValueError(f"{self.name}: a stride of {self.stride} for {self.size} bytes")

    @property
    def step(self) -> int:
        """From one element of an array to the next."""
        return self.stride if self.count > 1 else self.size

    @property
    def end(self) -> int:
        """The first offset past the last element."""
        return self.offset + (self.count - 1) * self.step + self.size

    def covers(self, offset: int) -> bool:
        """Whether the byte at ``offset`` is the register's, or an element's."""
        n, inside = divmod(offset - self.offset, self.step)
        return 0 <= n < self.count and inside < self.size

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

    ``registers``, or what makes them, is asked at the first use of the table: a device that nobody
    watches may never need it. Raises ValueError then, when two registers could answer the same
    access.
    """

    def __init__(
        self, name: str, registers: Sequence[Register] | Callable[[], Iterable[Register]]
    ) -> None:
        self.name = name
        self._given = registers

    @cached_property
    def _by_name(self) -> dict[str, Register]:
        registers = tuple(self._given() if callable(self._given) else self._given)
        by_name = {r.name: r for r in registers}
        if len(by_name) != len(registers):
            raise ValueError(f"{self.name}: two registers have one name")
        _check(self.name, registers)
        return by_name

    @cached_property
    def _singles(self) -> dict[tuple[int, bool, int], Register]:
        return {
            (register.offset + n, write, register.bank): register
            for register in self
            if register.count == 1
            for n in range(register.size)
            for write in (False, True)
            if _answers(register, write)
        }

    @cached_property
    def _arrays(self) -> tuple[Register, ...]:
        # They may be long (packet memory, tables of vectors), so they are not spelled out.
        return tuple(r for r in self if r.count > 1)

    def __iter__(self) -> Iterator[Register]:
        return iter(self._by_name.values())

    def __getitem__(self, name: str) -> Register:
        return self._by_name[name]

    def lookup(self, offset: int, write: bool, bank: int = 0) -> Register | None:
        """The register that an access at ``offset`` reaches, or None for a hole."""
        singles = self._singles
        found = singles.get((offset, write, bank)) or singles.get((offset, write, ANY_BANK))
        if found is not None:
            return found
        for register in self._arrays:
            here = register.covers(offset) and register.bank in (bank, ANY_BANK)
            if here and _answers(register, write):
                return register
        return None


def _check(name: str, registers: Iterable[Register]) -> None:
    live: dict[int, list[Register]] = {}  # by bank: a clock has 128 of them at one offset
    for register in sorted(registers, key=lambda r: r.offset):
        mine = (register.bank, ANY_BANK)
        for bank in live if register.bank == ANY_BANK else [b for b in mine if b in live]:
            live[bank] = [other for other in live[bank] if other.end > register.offset]
            for other in live[bank]:
                if _share_an_access(register, other) and _share_a_byte(register, other):
                    raise ValueError(f"{name}: {register.name} overlaps {other.name}")
        live.setdefault(register.bank, []).append(register)


def _answers(register: Register, write: bool) -> bool:
    return register.access.writable if write else register.access.readable


def _share_an_access(a: Register, b: Register) -> bool:
    return any(_answers(a, write) and _answers(b, write) for write in (False, True))


def _share_a_byte(a: Register, b: Register) -> bool:
    few, many = sorted((a, b), key=lambda r: r.count)
    if few.count == 1 or few.step == many.step:
        runs = [(few.offset, few.count)]
    else:
        runs = [(few.offset + n * few.step, 1) for n in range(few.count)]
    for start, count in runs:
        for byte in range(start, start + few.size):
            # Element k of the run is at n + k of the other array, as far into it as the first is.
            n, inside = divmod(byte - many.offset, many.step)
            if inside < many.size and -count < n < many.count:
                return True
    return False
