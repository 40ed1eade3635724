"""What is refused when it is plugged in, with one line that says why."""

import pytest

from pykvm.devices.pci.config import Bar, ConfigSpace, Identity
from pykvm.devices.pci.host import HostBridge
from pykvm.devices.reset import ResetControl
from pykvm.devices.testdev import TestRegisters
from pykvm.errors import PlugError, RangeError
from pykvm.interfaces import Device
from pykvm.machine import plugging
from pykvm.machine.board import Board
from pykvm.machine.pci import FIRST_SLOT, PciBus
from tests.support.device import Register

WHO = Identity(vendor=0x8086, device=0x100E, class_code=0x020000, revision=3,
               subsystem_vendor=0x1AF4, subsystem=0x1100)  # fmt: skip


@pytest.fixture
def board():
    return Board(HostBridge("pci", ResetControl(lambda: None)), acpi=None)


@pytest.fixture
def pci(board):
    return PciBus(board, board.bridge, lambda: None)


class Card:
    """A PCI function of one window."""

    def __init__(self, name, window):
        self.name, self.config = name, ConfigSpace(WHO, (Bar(0, 0x1000),))
        self.windows, self.answers = {0: window}, {}

    def config_changed(self):
        """Nothing depends on it."""

    def placed(self, addresses):
        """Nor on that."""


def test_two_devices_of_one_name_are_refused(board):
    board.plug(board.pio, 0x300, 1, Register("adder"))
    with pytest.raises(PlugError, match=r"^adder: another device has this name; names are unique$"):
        board.plug(board.pio, 0x310, 1, Register("adder"))
    assert board.pio.find(0x310) is None
    assert [device.name for device in board.devices] == ["adder"]


def test_one_device_may_have_several_ranges(board):
    device = Register("adder")
    for port in (0x300, 0x310):
        board.plug(board.pio, port, 1, device)
    assert board.devices == [device]


def lacking(name):
    """A device that has all but ``name``."""
    whole = Register("half")
    members = {key: getattr(whole, key) for key in (*plugging._DEVICE, "name") if key != name}
    return type("Half", (), members)()


@pytest.mark.parametrize(
    "name",
    "registers access_width bank read write reset state restore".split(),
)
def test_a_device_that_lacks_something_is_refused(board, pci, name):
    device = lacking(name)
    says = f"^half: Half lacks {name}$"
    with pytest.raises(PlugError, match=says):
        board.plug(board.pio, 0x300, 1, device)
    with pytest.raises(PlugError, match=says):
        pci.plug(FIRST_SLOT, Card("card", device))
    assert board.devices == [board.bridge]
    assert pci.free_slot() == FIRST_SLOT


def test_everything_of_the_interface_is_asked_for():
    declared = {*Device.__annotations__, *(n for n in vars(Device) if not n.startswith("_"))}
    assert {*plugging._DEVICE, "name"} == declared


@pytest.mark.parametrize("name", [None, "", 7])
def test_a_device_without_a_name_is_refused(board, name):
    device = Register("adder")
    device.name = name
    with pytest.raises(PlugError, match=r"^Register: a device needs a name"):
        board.plug(board.pio, 0x300, 1, device)


@pytest.mark.parametrize("width", [0, 3, 16, None])
def test_a_width_that_no_access_has_is_refused(board, width):
    device = Register("adder")
    device.access_width = width
    with pytest.raises(PlugError, match=r"^adder: access_width is .*1, 2, 4 or 8$"):
        board.plug(board.pio, 0x300, 1, device)


def test_a_range_that_cannot_be_is_still_told_as_one(board):
    with pytest.raises(RangeError, match="empty"):
        board.plug(board.pio, 0x300, 0, Register("adder"))
    assert board.devices == []


def test_cards_of_one_name_and_windows_of_one_name_are_refused(board, pci):
    pci.plug(3, Card("card", TestRegisters("card")))
    for card in (Card("card", TestRegisters("other")), Card("other", TestRegisters("card"))):
        with pytest.raises(PlugError, match=r"^card: another .* has this name"):
            pci.plug(4, card)
    with pytest.raises(PlugError, match=r"^pci: another device"):
        pci.plug(4, Card("third", TestRegisters("pci")))
    assert pci.free_slot() == 4


def test_a_slot_that_is_taken_or_none_is_refused_and_so_is_one_too_many(pci):
    for slot in range(FIRST_SLOT, 32):
        assert pci.free_slot() == slot
        pci.plug(slot, Card(f"card{slot}", TestRegisters(f"card{slot}")))
    with pytest.raises(PlugError, match=r"^no PCI slot is left$"):
        pci.free_slot()
    for slot in (0, 3, 32):
        with pytest.raises(PlugError, match=f"^PCI slot {slot} is not free$"):
            pci.plug(slot, Card("late", TestRegisters("late")))


def test_a_bar_that_nothing_answers_is_refused(pci):
    card = Card("card", TestRegisters("card"))
    card.windows = {}
    with pytest.raises(PlugError, match=r"^card: no window answers BAR 0$"):
        pci.plug(3, card)


def test_a_function_that_lacks_something_is_refused(pci):
    with pytest.raises(PlugError, match=r"^card: Register lacks config, windows, answers"):
        pci.plug(3, Register("card"))


@pytest.mark.parametrize("line", [-1, 24, 1000, "5", None])
def test_an_interrupt_line_that_does_not_exist_is_refused(line):
    with pytest.raises(PlugError, match=r"^adder: there is no interrupt line .*0 to 23$"):
        plugging.check_line("adder", line, 24)
