"""A virtio function's interrupts, in Python and in C: one suite, and both side by side."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykvm._native import ffi, lib
from pykvm.devices.pci.config import ConfigSpace, Identity
from pykvm.devices.pci.msi import Msix, MsixTable
from pykvm.devices.virtio.interrupts import CONFIG, QUEUE, Interrupts, NativeInterrupts
from tests.support.fakes import Line

MASTER, INTX_DIS, STATUS_INTX = 1 << 2, 1 << 10, 1 << 3


class NativeLine:
    """A line that leads nowhere, as C drives it."""

    def __init__(self):
        self.native = ffi.new("struct pk_line *")

    @property
    def level(self):
        return bool(self.native.level)


class Function:
    """What stands around the interrupts of a function with two vectors."""

    def __init__(self, native):
        self.line = NativeLine() if native else Line()
        self.config = ConfigSpace(Identity(1, 2, 3, interrupt_pin=1))
        self.sent = []
        self.table = MsixTable("table", 2)
        self.msix = Msix(self.config, self.table, 1, lambda *message: self.sent.append(message[1]))
        self.at = self.config.read(0x34, 1)
        kind = NativeInterrupts if native else Interrupts
        self.interrupts = kind(self.config, self.line, self.msix)
        self.config.on_change = lambda offset, size: self.interrupts.update()
        self.command(0)
        for vector in range(2):
            self.table.write(16 * vector + 8, 4, 100 + vector)
            self.table.write(16 * vector + 12, 4, 0)

    def command(self, bits):
        self.config.write(4, 2, MASTER | bits)

    def use_msix(self, on):
        self.config.write(self.at + 2, 2, on << 15)

    def seen(self):
        """What the guest could see."""
        shows = bool(self.config.read(6, 2) & STATUS_INTX)
        return self.interrupts.isr, self.line.level, shows, self.sent


@pytest.fixture(params=["Python", "C"])
def function(request):
    return Function(request.param == "C")


def test_the_status_holds_the_line_until_it_is_read(function):
    function.interrupts.fire(0, False)
    function.interrupts.fire(0, True)
    assert function.seen() == (QUEUE | CONFIG, True, True, [])
    assert function.interrupts.read_isr() == QUEUE | CONFIG
    assert function.seen() == (0, False, False, [])


def test_intx_dis_silences_the_line_and_no_more(function):
    function.command(INTX_DIS)
    function.interrupts.fire(0, False)
    assert function.seen() == (QUEUE, False, True, [])
    function.command(0)
    assert function.line.level


def test_with_msix_there_are_messages_and_no_line(function):
    function.interrupts.fire(0, False)
    function.use_msix(True)
    assert not function.line.level, "what was pending as INTx falls silent"
    function.interrupts.fire(1, False)
    function.interrupts.fire(0xFFFF, False)
    function.interrupts.fire(2, True)
    assert function.seen() == (QUEUE, False, False, [101])
    function.use_msix(False)
    assert function.line.level


@pytest.mark.parametrize("msix", [False, True])
def test_restoring_sets_the_line(function, msix):
    function.use_msix(msix)
    function.interrupts.restore(CONFIG)
    assert function.seen() == (CONFIG, not msix, not msix, [])
    function.interrupts.restore(0)
    assert function.seen() == (0, False, False, [])


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("fire"), st.sampled_from([0, 1, 2, 0xFFFF]), st.booleans()),
        st.tuples(st.just("read")),
        st.tuples(st.just("command"), st.sampled_from([0, INTX_DIS])),
        st.tuples(st.just("msix"), st.booleans()),
        st.tuples(st.just("restore"), st.integers(0, 3)),
    ),
    max_size=40,
)


@given(STEPS)
def test_c_does_what_the_reference_does(steps):
    sides = [Function(native) for native in (False, True)]
    for what, *arguments in steps:
        for one in sides:
            {
                "fire": one.interrupts.fire, "read": one.interrupts.read_isr,
                "command": one.command, "msix": one.use_msix, "restore": one.interrupts.restore,
            }[what](*arguments)  # fmt: skip
        assert sides[0].seen() == sides[1].seen(), what


def test_the_bits_are_those_of_c():
    assert (lib.PK_ISR_QUEUE, lib.PK_ISR_CONFIG) == (QUEUE, CONFIG)
