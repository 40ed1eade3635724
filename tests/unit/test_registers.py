"""Register tables: what is where, and that no access has two answers."""

import importlib
import pkgutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykvm import devices
from pykvm.registers import ANY_BANK, Access, Field, Register, RegisterMap, fields

REGISTERS = st.builds(
    lambda name, offset, size, access, bank, count, gap: Register(
        name, offset, size, access, bank=bank, count=count, stride=size + gap if count > 1 else 0
    ),
    st.uuids().map(str),
    st.integers(0, 40),
    st.sampled_from((1, 2, 4)),
    st.sampled_from(Access),
    st.sampled_from((ANY_BANK, 0, 1)),
    st.integers(1, 6),
    st.integers(0, 9),
)


def accesses(register):
    """Every (byte, write, bank) that the register answers, spelled out."""
    return {
        (register.offset + n * register.stride + byte, write, bank)
        for n in range(register.count)
        for byte in range(register.size)
        for write in (False, True)
        for bank in (0, 1)
        if (register.access.writable if write else register.access.readable)
        and register.bank in (bank, ANY_BANK)
    }


@given(st.lists(REGISTERS, min_size=1, max_size=5))
def test_an_access_reaches_the_register_it_belongs_to_and_never_two(registers):
    owners = {}
    clash = False
    for register in registers:
        for access in accesses(register):
            clash = clash or access in owners
            owners[access] = register
    if clash:
        with pytest.raises(ValueError, match="overlaps"):
            list(RegisterMap("random", registers))
        return
    table = RegisterMap("random", registers)
    for offset in range(-2, 130):
        for write in (False, True):
            for bank in (0, 1):
                assert table.lookup(offset, write, bank) is owners.get((offset, write, bank))


def test_a_long_array_is_not_spelled_out():
    table = RegisterMap("memory", [Register("CELL", 0, 4, count=1 << 40, stride=4)])
    assert (
        table.lookup((1 << 42) - 1, write=True).element((1 << 42) - 4) == f"CELL[{(1 << 40) - 1}]"
    )
    assert table.lookup(1 << 42, write=True) is None


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (lambda: Register("R", 0, 1, fields=fields("A:0:4 B:3")), "overlaps"),
        (lambda: Register("R", 0, 1, fields=(Field("A", 7, 2),)), "does not fit"),
        (lambda: Register("R", 0, 1, reset=0x100), "too wide"),
        (lambda: Register("R", 0, 4, count=2, stride=2), "stride"),
        (lambda: list(RegisterMap("M", [Register("R", 0), Register("R", 1)])), "one name"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(made, says):
    with pytest.raises(ValueError, match=says):
        made()


def maps():
    """Every table of every device, by where it is."""
    for module in pkgutil.walk_packages(devices.__path__, "pykvm.devices."):
        for name, value in vars(importlib.import_module(module.name)).items():
            for table in (value, getattr(value, "registers", None)):
                if isinstance(table, RegisterMap):
                    yield pytest.param(table, id=f"{module.name}.{name}")


@pytest.mark.parametrize("table", list(maps()))
def test_every_table_makes_sense(table):
    assert [table[register.name] for register in table] == list(table)
