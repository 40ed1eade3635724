"""PCI: configuration space, the host bridge, windows that move, MSI and MSI-X."""

import pytest

from pykvm.devices.pci.config import Bar, ConfigSpace, Identity
from pykvm.devices.pci.host import HostBridge
from pykvm.devices.pci.msi import Msi, Msix, MsixTable
from pykvm.devices.pci.rom import OptionRom
from pykvm.devices.reset import ResetControl
from pykvm.devices.testdev import TestRegisters
from pykvm.machine.board import Board
from pykvm.machine.pci import PciBus, gsi_of

WHO = Identity(vendor=0x8086, device=0x100E, class_code=0x020000, revision=3,
               subsystem_vendor=0x1AF4, subsystem=0x1100, interrupt_pin=1)  # fmt: skip
BARS = (Bar(0, 0x20000), Bar(1, 64, io=True), Bar(2, 0x1000, wide=True, prefetch=True))


@pytest.fixture
def config():
    return ConfigSpace(WHO, BARS)


def test_identity_is_read_only(config):
    for offset in (0x00, 0x08, 0x2C):
        before = config.read(offset, 4)
        config.write(offset, 4, ~before & 0xFFFF_FFFF)
        assert config.read(offset, 4) == before
    assert config.read(0, 4) == 0x100E8086
    assert config.read(8, 4) == 0x02000003
    assert config.read(0x3D, 1) == 1


@pytest.mark.parametrize(
    ("offset", "answer"), [(0x10, 0xFFFE0000), (0x14, 0xFFFFFFC1), (0x18, 0xFFFFF00C),
                           (0x1C, 0xFFFFFFFF),
                           (0x20, 0), (0x30, 0)],
)  # fmt: skip
def test_bars_are_sized_by_writing_ones(config, offset, answer):
    config.write(offset, 4, 0xFFFF_FFFF)
    assert config.read(offset, 4) == answer


def test_an_address_counts_only_while_decoding_is_on(config):
    config.write(0x10, 4, 0xFEB0_0000)
    assert config.address(BARS[0]) is None
    config.write(0x04, 2, 0x2)
    assert config.address(BARS[0]) == 0xFEB0_0000
    assert config.address(BARS[1]) is None
    config.write(0x10, 4, 0xFFFF_FFFF)  # being sized
    assert config.address(BARS[0]) is None


def test_a_wide_bar_takes_64_bits(config):
    config.write(0x04, 2, 0x2)
    config.write(0x18, 4, 0x8000_0000)
    config.write(0x1C, 4, 0x1)
    assert config.address(BARS[2]) == 0x1_8000_0000


def test_status_errors_are_cleared_by_writing_1(config):
    config.cells[7] = 0x30
    config.write(0x06, 2, 0x1000)
    assert config.read(0x06, 2) & 0x3000 == 0x2000


def test_bytes_past_the_end_read_as_ones(config):
    assert config.read(0xFE, 4) == 0xFFFF_FFFF
    config.write(0xFE, 4, 0)


@pytest.mark.parametrize("bar", [{"size": 0x1001}, {"size": 8}, {"size": 0}])
def test_a_bar_that_is_no_power_of_two_is_refused(bar):
    with pytest.raises(ValueError, match="power of two"):
        Bar(0, **bar)


def test_reset_empties_the_bars(config):
    config.write(0x04, 2, 0x7)
    config.write(0x10, 4, 0xFEB0_0000)
    config.reset()
    assert (config.command, config.read(0x10, 4)) == (0, 0)


def test_configuration_state_round_trips(config):
    config.write(0x10, 4, 0xFEB0_0000)
    other = ConfigSpace(WHO, BARS)
    other.restore(config.state())
    assert other.cells == config.cells
    with pytest.raises(ValueError, match="version 1"):
        other.restore({"version": 2, "cells": b""})


# -- option ROMs ------------------------------------------------------------------------------

ROM = 0x30


@pytest.mark.parametrize(
    ("size", "window"), [(1, 2048), (2048, 2048), (2049, 4096), (75264, 128 << 10)]
)
def test_an_option_rom_takes_a_power_of_two_and_ones_fill_it(size, window):
    rom = OptionRom("card-rom", bytes(size))
    assert rom.size == window
    assert rom.read(size - 1, 1) == 0
    if size < window:
        assert rom.read(window - 1, 1) == 0xFF
    rom.write(0, 4, 7)
    assert rom.read(0, 1) == 0


def test_an_option_rom_s_register_is_sized_by_writing_ones(config):
    config.add_rom(128 << 10)
    config.write(ROM, 4, 0xFFFF_F800)
    assert config.read(ROM, 4) == 0xFFFE_0000
    config.write(ROM, 4, 0xFFFF_FFFF)
    assert config.read(ROM, 4) == 0xFFFE_0001
    config.write(0x04, 2, 0x2)
    assert config.address(config.bars[-1]) is None
    config.reset()
    assert config.read(ROM, 4) == 0


def test_an_option_rom_answers_where_it_is_once_it_is_switched_on_twice(pc):
    data = b"\x55\xaa" + bytes(range(2, 254))
    pc.pci.plug(3, Function(), data)
    pc.pci.assign()
    base = pc.get(3, ROM)
    assert base % 2048 == 0
    assert base
    assert pc.board.mmio.read(base, 4) == 0xFFFF_FFFF
    pc.put(3, ROM, base | 1)
    assert pc.board.mmio.read(base, 4) == 0x0302_AA55
    pc.put(3, 0x04, 0, 2)  # memory space off
    assert pc.board.mmio.read(base, 4) == 0xFFFF_FFFF
    pc.put(3, 0x04, 2, 2)
    pc.put(3, ROM, 0xF000_0001)
    assert pc.board.mmio.read(base, 4) == 0xFFFF_FFFF
    assert pc.board.mmio.read(0xF000_0004, 4) == 0x0706_0504


@pytest.mark.parametrize("bar", [(6, 1024, {}), (6, 4096, {"io": True}), (6, 4096, {"wide": True})])
def test_an_option_rom_has_32_bits_of_memory_and_2k_at_least(bar):
    index, size, kind = bar
    with pytest.raises(ValueError, match="BAR6"):
        Bar(index, size, **kind)


# -- the bridge -------------------------------------------------------------------------------


class Function:
    def __init__(self, name="card"):
        self.name = name
        self.config = ConfigSpace(WHO, BARS)
        self.windows = {bar.index: TestRegisters(f"{name}-{bar.index}") for bar in BARS}
        self.answers = {}
        self.changes = 0
        self.addresses = {}

    def config_changed(self):
        self.changes += 1

    def placed(self, addresses):
        self.addresses = addresses


class Pc:
    """A board with a PCI bus, driven through its ports."""

    def __init__(self):
        self.resets = 0
        self.published = 0
        bridge = HostBridge("pci", ResetControl(self.reset))
        self.board = Board(bridge, None)
        self.pci = PciBus(self.board, bridge, self.publish)

    def reset(self):
        self.resets += 1

    def publish(self):
        self.published += 1

    def get(self, slot, offset, size=4):
        self.board.pio.write(0xCF8, 4, 1 << 31 | slot << 11 | offset & 0xFC)
        return self.board.pio.read(0xCFC + (offset & 3), size)

    def put(self, slot, offset, value, size=4):
        self.board.pio.write(0xCF8, 4, 1 << 31 | slot << 11 | offset & 0xFC)
        self.board.pio.write(0xCFC + (offset & 3), size, value)


@pytest.fixture
def pc():
    return Pc()


def test_an_empty_slot_reads_as_ones(pc):
    assert pc.get(7, 0) == 0xFFFF_FFFF
    assert pc.get(0, 0) == 0x12378086


def test_other_buses_functions_and_a_disabled_address_are_empty(pc):
    for address in (1 << 31 | 1 << 16, 1 << 31 | 1 << 8, 0):
        pc.board.pio.write(0xCF8, 4, address)
        assert pc.board.pio.read(0xCFC, 4) == 0xFFFF_FFFF


def test_configuration_is_reached_by_byte_word_and_dword(pc):
    pc.pci.plug(3, Function())
    assert pc.get(3, 0, 4) == 0x100E8086
    assert pc.get(3, 2, 2) == 0x100E
    assert [pc.get(3, n, 1) for n in range(4)] == [0x86, 0x80, 0x0E, 0x10]


def test_the_reset_register_lives_inside_the_address_register(pc):
    pc.board.pio.write(0xCF8, 4, 0x80001800)
    pc.board.pio.write(0xCF9, 1, 0x06)
    assert pc.resets == 1
    assert pc.board.pio.read(0xCF8, 4) == 0x80001800


def test_a_slot_holds_one_function(pc):
    pc.pci.plug(3, Function())
    with pytest.raises(ValueError, match="not free"):
        pc.pci.plug(3, Function("other"))


def test_windows_have_addresses_and_lines_before_the_guest_starts(pc):
    for slot in (3, 4):
        pc.pci.plug(slot, Function(f"card{slot}"))
    pc.pci.assign()
    bases = [pc.get(slot, 0x10) for slot in (3, 4)]
    assert len(set(bases)) == 2
    assert all(base % 0x20000 == 0 and base >= 0xE000_0000 for base in bases)
    assert [pc.get(slot, 0x3C, 1) for slot in (3, 4)] == [gsi_of(3), gsi_of(4)]
    for slot, base in zip((3, 4), bases, strict=True):
        assert pc.board.mmio.find(base).device.name == f"card{slot}-0"
        assert pc.get(slot, 0x04, 2) & 0x7 == 0x3
    assert pc.published


def test_a_window_moves_while_running(pc):
    function = Function()
    pc.pci.plug(3, function)
    pc.pci.assign()
    old = pc.get(3, 0x10)
    pc.put(3, 0x10, 0xF000_0000)
    assert pc.board.mmio.find(old) is None
    assert pc.board.mmio.find(0xF000_0000).device is function.windows[0]
    pc.put(3, 0x04, 0, 2)
    assert pc.board.mmio.find(0xF000_0000) is None
    assert function.changes


def test_a_window_laid_over_another_answers_nothing_until_it_moves_on(pc):
    for slot in (3, 4):
        pc.pci.plug(slot, Function(f"card{slot}"))
    pc.pci.assign()
    first = pc.get(3, 0x10)
    pc.put(4, 0x10, first)
    assert pc.board.mmio.find(first).device.name == "card3-0"
    pc.put(3, 0x10, 0xF000_0000)
    assert pc.board.mmio.find(first).device.name == "card4-0"


def test_who_takes_another_s_addresses_hears_of_it_after_the_other_let_go(pc):
    owners = {}

    class Owner(Function):
        def placed(self, addresses):
            for address in [at for at, owner in owners.items() if owner is self]:
                del owners[address]
            for address in addresses.values():
                assert address not in owners, "two eventfds at one address: KVM says EEXIST"
                owners[address] = self

    for slot in (3, 4):
        pc.pci.plug(slot, Owner(f"card{slot}"))
    pc.pci.assign()
    taken = pc.get(4, 0x10)
    pc.put(3, 0x10, taken)
    assert owners[taken].name == "card3"


def test_writes_that_move_nothing_publish_nothing(pc):
    pc.pci.plug(3, Function())
    pc.pci.assign()
    before = pc.published
    pc.put(3, 0x3C, 5, 1)
    assert pc.published == before


# -- messages ---------------------------------------------------------------------------------


def test_msi_sends_its_message_once_enabled_and_allowed():
    sent = []
    config = ConfigSpace(WHO, BARS)
    msi = Msi(config, lambda *message: sent.append(message))
    at = config.read(0x34, 1)
    assert config.read(at, 1) == 0x05
    config.write(at + 4, 4, 0xFEE0_1000)
    config.write(at + 12, 2, 0x4031)
    msi.fire()
    assert not sent
    config.write(at + 2, 2, 1)
    msi.fire()
    assert not sent  # not a bus master yet
    config.write(0x04, 2, 0x4)
    msi.fire()
    assert sent == [(0xFEE0_1000, 0x4031)]


@pytest.fixture
def msix():
    sent = []
    config = ConfigSpace(WHO, BARS)
    table = MsixTable("table", 70)
    msix = Msix(config, table, 2, lambda *message: sent.append(message))
    config.write(0x04, 2, 0x4)
    config.write(config.read(0x34, 1) + 2, 2, 0x8000)
    msix.sent = sent
    msix.config = config
    return msix


def test_a_masked_vector_waits_in_the_pending_bits(msix):
    table = msix.table
    table.write(16 * 65, 8, 0xFEE0_0000)
    table.write(16 * 65 + 8, 4, 0x41)
    msix.fire(65)
    assert not msix.sent
    assert table.read(table.pba_offset + 8, 8) == 1 << 1
    table.write(16 * 65 + 12, 4, 0)
    assert msix.sent == [(0xFEE0_0000, 0x41)]
    assert table.pending == 0


def test_the_function_mask_holds_everything_back(msix):
    control = msix.config.read(0x34, 1) + 2
    msix.table.write(12, 4, 0)
    msix.config.write(control, 2, 0xC000)
    msix.fire(0)
    assert not msix.sent
    msix.config.write(control, 2, 0x8000)
    msix.release()
    assert len(msix.sent) == 1


def test_cve_2015_7549_every_access_of_table_and_pba_is_answered(msix):
    table = msix.table
    for offset in (0, 1, 2, 15, 16 * 70 - 4, 16 * 70, table.pba_offset, table.pba_offset + 12,
                   table.size - 8, table.size, 2**32):  # fmt: skip
        for size in (1, 2, 4, 8):
            table.write(offset, size, (1 << size * 8) - 1)
            table.read(offset, size)
    assert table.pending == 0


def test_cve_2020_13754_the_pba_is_read_only_and_odd_sizes_do_nothing(msix):
    table = msix.table
    table.write(table.pba_offset, 8, 0xFF)
    assert table.read(table.pba_offset, 8) == 0
    table.write(0, 2, 0xFFFF)
    assert table.read(0, 4) == 0


@pytest.mark.parametrize("vector", [-1, 70, 1 << 20])
def test_a_vector_that_does_not_exist_is_ignored(msix, vector):
    msix.fire(vector)
    assert not msix.sent
    assert msix.table.pending == 0


def test_table_state_round_trips(msix):
    msix.table.write(0, 8, 0x1122)
    msix.fire(3)
    state = msix.table.state()
    msix.table.reset()
    msix.table.restore(state)
    assert msix.table.state() == state
