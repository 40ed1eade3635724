"""The 16550A against its datasheet."""

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykvm.devices.serial import Uart16550
from pykvm.devices.serial.registers import REGISTERS
from tests.support.fakes import Line

RBR, IER, IIR, LCR, MCR, LSR, MSR, SCR = range(8)
NONE, LINE, DATA, TIMEOUT, THRE, MODEM = 0x1, 0x6, 0x4, 0xC, 0x2, 0x0
OUT2, LOOP = 0x08, 0x10


class Wire:
    """A character backend: what was written, and how often it was told to resume."""

    def __init__(self):
        self.written = bytearray()
        self.resumed = 0

    def connect(self, receiver):
        self.receiver = receiver

    def write(self, data):
        self.written += data

    def resume(self):
        self.resumed += 1


@pytest.fixture
def uart():
    return make()


def make():
    uart = Uart16550("uart0", Line(), Wire())
    uart.line, uart.wire = uart._irq, uart._backend
    return uart


def source(uart):
    return uart.read(IIR, 1) & 0xF


READABLE = [register for register in REGISTERS if register.access.readable]


@pytest.mark.parametrize("register", READABLE, ids=lambda register: register.name)
def test_power_on_values_are_the_datasheets(uart, register):
    if register.bank == 1:
        uart.write(LCR, 1, 0x80)
    assert uart.read(register.offset, 1) == register.reset


def test_what_is_written_to_thr_is_sent(uart):
    for byte in b"hello":
        uart.write(RBR, 1, byte)
    assert uart.wire.written == b"hello"
    assert uart.read(LSR, 1) == 0x60


def test_the_divisor_latch_hides_data_and_ier(uart):
    uart.write(LCR, 1, 0x83)
    uart.write(0, 1, 0x34)
    uart.write(1, 1, 0x12)
    assert (uart.read(0, 1), uart.read(1, 1)) == (0x34, 0x12)
    assert uart.bank == 1
    uart.write(LCR, 1, 0x03)
    assert uart.read(IER, 1) == 0
    assert uart.wire.written == b""


def test_scratch_keeps_what_is_written(uart):
    uart.write(SCR, 1, 0xA5)
    assert uart.read(SCR, 1) == 0xA5


def test_received_bytes_come_out_in_order(uart):
    uart.write(IIR, 1, 0x01)
    uart.receive(b"abc")
    assert [uart.read(RBR, 1) for _ in range(3)] == list(b"abc")
    assert not uart.read(LSR, 1) & 1


def test_without_fifo_there_is_room_for_one(uart):
    assert uart.room() == 1
    uart.receive(b"a")
    assert uart.room() == 0
    uart.read(RBR, 1)
    assert uart.wire.resumed == 1
    assert uart.room() == 1


def test_with_fifo_there_is_room_for_sixteen(uart):
    uart.write(IIR, 1, 0x01)
    assert uart.room() == 16


def test_an_overrun_without_fifo_loses_the_older_byte(uart):
    uart.receive(b"ab")
    assert uart.read(LSR, 1) & 0x02
    assert uart.read(RBR, 1) == ord("b")
    assert not uart.read(LSR, 1) & 0x02  # reading cleared it


def test_an_overrun_with_fifo_loses_the_newer_byte(uart):
    uart.write(IIR, 1, 0x01)
    uart.receive(bytes(range(17)))
    assert uart.read(LSR, 1) & 0x02
    assert [uart.read(RBR, 1) for _ in range(16)] == list(range(16))


@pytest.mark.parametrize(("bits", "level"), [(0, 1), (1, 4), (2, 8), (3, 14)])
def test_trigger_levels_tell_data_from_time_out(uart, bits, level):
    uart.write(IIR, 1, bits << 6 | 1)
    uart.write(IER, 1, 0x01)
    uart.receive(bytes(level - 1))
    assert source(uart) == (TIMEOUT if level > 1 else NONE)
    uart.receive(b"x")
    assert source(uart) == DATA


def test_priorities_are_line_then_data_then_thre_then_modem(uart):
    uart.write(MCR, 1, LOOP | OUT2)
    uart.read(MSR, 1)
    uart.write(IER, 1, 0x0F)
    uart.write(MCR, 1, LOOP | OUT2 | 0x01)  # DSR changes
    uart.write(RBR, 1, ord("a"))
    uart.write(RBR, 1, ord("b"))  # overrun
    assert source(uart) == LINE
    uart.read(LSR, 1)
    assert source(uart) == DATA
    uart.read(RBR, 1)
    assert source(uart) == THRE  # ... and reading IIR acknowledged it
    assert source(uart) == MODEM
    uart.read(MSR, 1)
    assert source(uart) == NONE


def test_reading_iir_acknowledges_thre_only_when_it_is_the_source(uart):
    uart.write(IER, 1, 0x03)
    uart.receive(b"a")
    assert source(uart) == DATA
    uart.read(RBR, 1)
    assert source(uart) == THRE
    assert source(uart) == NONE


def test_enabling_the_thre_interrupt_raises_it_at_once(uart):
    uart.write(MCR, 1, OUT2)
    uart.write(IER, 1, 0x02)
    assert uart.line.level
    assert source(uart) == THRE
    assert not uart.line.level


def test_out2_gates_the_line(uart):
    uart.write(IER, 1, 0x01)
    uart.receive(b"a")
    assert not uart.line.level
    uart.write(MCR, 1, OUT2)
    assert uart.line.level


def test_loopback_returns_bytes_and_modem_lines(uart):
    uart.write(MCR, 1, LOOP)
    uart.write(RBR, 1, 0x5A)
    assert uart.wire.written == b""
    assert uart.read(RBR, 1) == 0x5A
    for control, status in [(0x01, 0x20), (0x02, 0x10), (0x04, 0x40), (0x08, 0x80)]:
        uart.write(MCR, 1, LOOP | control)
        assert uart.read(MSR, 1) & 0xF0 == status


def test_the_ring_s_trailing_edge_is_a_change_and_its_leading_edge_is_none(uart):
    uart.write(MCR, 1, LOOP)
    uart.read(MSR, 1)
    uart.write(MCR, 1, LOOP | 0x04)
    assert not uart.read(MSR, 1) & 0x0F
    uart.write(MCR, 1, LOOP)
    assert uart.read(MSR, 1) & 0x0F == 0x04


def test_a_break_in_loopback_is_received(uart):
    uart.write(MCR, 1, LOOP)
    uart.write(LCR, 1, 0x43)
    assert uart.read(LSR, 1) & 0x11 == 0x11
    assert uart.read(RBR, 1) == 0


def test_while_looped_back_the_outside_has_to_wait(uart):
    uart.write(MCR, 1, LOOP)
    assert uart.room() == 0
    uart.write(MCR, 1, 0)
    assert uart.wire.resumed == 1


@pytest.mark.parametrize("value", [0x03, 0x00])
def test_switching_or_clearing_the_fifo_empties_it(uart, value):
    uart.write(IIR, 1, 0x01)
    uart.receive(b"abc")
    uart.write(IIR, 1, value)
    assert not uart.read(LSR, 1) & 1


def test_reset_is_power_on(uart):
    before = dict(uart.state())
    uart.write(IIR, 1, 0x01)
    uart.write(IER, 1, 0x0F)
    uart.receive(b"abc")
    uart.reset()
    assert uart.state() == before


def test_a_state_of_another_version_is_refused(uart):
    with pytest.raises(ValueError, match="version"):
        uart.restore({**uart.state(), "version": 99})


steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(1, 7), st.integers(0, 255)),
        st.tuples(st.just("read"), st.integers(0, 7), st.just(0)),
        st.tuples(st.just("feed"), st.integers(0, 20), st.just(0)),
    ),
    max_size=60,
)


@given(steps=steps)
def test_the_line_is_up_exactly_when_a_source_is_pending_and_gated_through(steps):
    uart = make()
    for kind, a, b in steps:
        if kind == "write":
            uart.write(a, 1, b)
        elif kind == "read":
            uart.read(a, 1)
        else:
            uart.receive(bytes(range(a))[: uart.room()])
        gate = bool(uart._mcr & OUT2)
        assert uart.line.level == (gate and uart._pending() != NONE)
        twin = make()
        twin.restore(uart.state())
        assert twin.state() == uart.state()
        assert twin.line.level == uart.line.level


@given(chunks=st.lists(st.binary(max_size=20), max_size=20), reads=st.integers(1, 20))
def test_bytes_that_fit_are_never_lost_doubled_or_swapped(chunks, reads):
    uart = make()
    uart.write(IIR, 1, 0x01)
    waiting, out = deque(b"".join(chunks)), bytearray()
    expected = bytes(waiting)
    while waiting or uart.read(LSR, 1) & 1:
        room = uart.room()
        uart.receive(bytes(waiting.popleft() for _ in range(min(room, len(waiting)))))
        for _ in range(reads):
            if uart.read(LSR, 1) & 1:
                out.append(uart.read(RBR, 1))
    assert out == expected
