"""The devices of a few registers each."""

import pytest

from pykvm.devices.debugcon import DebugConsole
from pykvm.devices.debugexit import DebugExit
from pykvm.devices.postcode import PostCode
from pykvm.devices.pvpanic import PvPanic
from pykvm.devices.reset import KeyboardController, ResetControl
from pykvm.devices.testdev import TestRegisters


@pytest.mark.parametrize(("value", "status"), [(0, 1), (0x21, 67), (0x7F, 255), (0x80, 1), (1, 3)])
def test_debug_exit_shifts_and_sets_bit_0(value, status):
    seen = []
    DebugExit(seen.append).write(0, 4, value)
    assert seen == [status]


def test_post_codes_are_latched_with_their_history():
    device = PostCode()
    for code in range(20):
        device.write(0, 1, code)
    assert device.read(0, 1) == 19
    assert list(device.history) == list(range(4, 20))


def test_the_reset_control_register_acts_on_the_rising_edge():
    seen = []
    device = ResetControl(lambda: seen.append("reset"))
    device.write(0, 1, 0x02)
    assert not seen
    device.write(0, 1, 0x06)
    device.write(0, 1, 0x06)
    assert seen == ["reset"]


def keyboard():
    seen = []
    return KeyboardController(lambda: seen.append("reset")), seen


def test_the_keyboard_controller_pulses_reset():
    device, seen = keyboard()
    device.write(4, 1, 0xFF)  # pulses nothing
    assert not seen
    device.write(4, 1, 0xFE)
    assert seen == ["reset"]


def test_its_self_test_passes():
    device, _ = keyboard()
    assert not device.read(4, 1) & 1
    device.write(4, 1, 0xAA)
    assert device.read(4, 1) & 1
    assert device.read(0, 1) == 0x55
    assert not device.read(4, 1) & 1


def test_the_ports_between_its_two_are_nobodys():
    device, seen = keyboard()
    device.write(4, 1, 0xD1)
    device.write(1, 1, 0)
    assert not seen
    assert device.read(1, 1) == 0xFF


def test_the_output_port_holds_a20_and_can_reset():
    device, seen = keyboard()
    device.write(4, 1, 0xD0)
    assert device.read(0, 1) == 0x03
    device.write(4, 1, 0xD1)
    device.write(0, 1, 0x01)
    assert not seen
    device.write(4, 1, 0xD1)
    device.write(0, 1, 0x02)
    assert seen == ["reset"]


def test_the_configuration_byte_is_kept():
    device, _ = keyboard()
    device.write(4, 1, 0x60)
    device.write(0, 1, 0x47)
    device.write(4, 1, 0x20)
    assert device.read(0, 1) == 0x47


class Kept:
    """A character backend that keeps what it is given."""

    def __init__(self):
        self.text, self.receiver = b"", None

    def connect(self, receiver):
        self.receiver = receiver

    def write(self, data):
        self.text += data


def test_the_debug_console_answers_that_it_is_there_and_passes_bytes_on():
    backend = Kept()
    device = DebugConsole(backend)
    for byte in b"ok\xff":
        device.write(0, 1, byte)
    assert backend.text == b"ok\xff"
    assert device.read(0, 1) == 0xE9
    assert backend.receiver.room() == 0


def test_pvpanic_tells_a_panic_from_a_crash_kernel_that_is_loaded():
    seen = []
    device = PvPanic(lambda: seen.append("panic"))
    assert device.read(0, 1) == 3
    device.write(0, 1, 2)
    assert not seen
    device.write(0, 1, 1)
    assert seen == ["panic"]


ALL = [
    DebugConsole(Kept()),
    PvPanic(lambda: None),
    DebugExit(lambda status: None),
    PostCode(),
    ResetControl(lambda: None),
    keyboard()[0],
    TestRegisters("test"),
]


@pytest.mark.parametrize("device", ALL, ids=lambda device: device.name)
def test_state_round_trips_and_another_version_is_refused(device):
    for offset in range(0, device.access_width, device.access_width):
        device.write(offset, device.access_width, 0x01)
    state = device.state()
    device.reset()
    device.restore(state)
    assert device.state() == state
    with pytest.raises(ValueError, match="version"):
        device.restore({**state, "version": 2})
