"""The card's registers: reset values, access kinds, EEPROM, PHY, interrupts, statistics."""

import pytest

from pykvm.devices.e1000 import registers as r
from pykvm.devices.e1000.eeprom import WORDS
from pykvm.errors import DeviceError

from .conftest import MAC, frame

SPECIAL = {"STATUS", "RAL", "RAH"}  # below


@pytest.mark.parametrize("register", list(r.REGISTERS), ids=lambda register: register.name)
def test_every_register_reads_its_reset_value(bench, register):
    if not register.access.readable:
        assert bench.card.read(register.offset, 4) == 0
    elif register.name not in SPECIAL:
        for n in {0, register.count - 1}:
            assert bench.read(register.name, n) == register.reset


def test_status_shows_the_link_and_full_duplex(bench):
    assert bench.read("STATUS") == 0x283
    bench.card.set_link(False)
    assert bench.read("STATUS") == 0x281


def test_the_station_address_comes_from_the_eeprom(bench):
    assert bench.read("RAL") == int.from_bytes(MAC[:4], "little")
    assert bench.read("RAH") == 1 << 31 | int.from_bytes(MAC[4:], "little")


PLAIN = [
    register for register in r.REGISTERS
    if register.access.name == "RW"
    and register.name not in {"CTRL", "EECD", "EERD", "MDIC", "ICR", "IMS", "ITR", "RDT", "TDT",
                              "RCTL", "TCTL", "PBM"}
]  # fmt: skip


@pytest.mark.parametrize("register", PLAIN, ids=lambda register: register.name)
def test_plain_registers_keep_what_their_mask_lets_through(bench, register):
    for n in {0, register.count - 1}:
        bench.write(register.name, 0xFFFF_FFFF, n)
        assert bench.read(register.name, n) == r.MASKS.get(register.name, 0xFFFF_FFFF)


def test_reserved_offsets_read_0_and_swallow_writes(bench):
    bench.card.write(0x0F00, 4, 0x1234)
    assert bench.card.read(0x0F00, 4) == 0


def test_narrow_reads_get_their_part_and_narrow_writes_are_refused(bench):
    bench.write("FCAL", 0x44332211)
    at = bench.offset("FCAL")
    assert [bench.card.read(at + n, 1) for n in range(4)] == [0x11, 0x22, 0x33, 0x44]
    assert bench.card.read(at + 2, 2) == 0x4433
    with pytest.raises(DeviceError, match="registers have 4"):
        bench.card.write(at, 2, 1)


def test_the_io_window_reaches_every_register(bench):
    io = bench.card.windows[2]
    io.write(0, 4, bench.offset("RAL"))
    assert io.read(0, 4) == bench.offset("RAL")
    assert io.read(4, 4) == bench.read("RAL")
    io.write(0, 4, bench.offset("VET"))
    io.write(4, 4, 0x9100)
    assert bench.read("VET") == 0x9100
    io.write(0, 4, 0x20000)  # past the end
    io.write(4, 4, 1)
    assert io.read(4, 4) == 0


def test_software_reset_restores_registers_and_keeps_phy_and_eeprom(bench):
    bench.start()
    bench.write("IMS", 0xFF)
    bench.write("VFTA", 5, 7)
    mdic(bench, 4, write=0x0021)
    bench.write("CTRL", bench.read("CTRL") | 1 << 26)
    assert bench.read("CTRL") == r.CTRL.reset
    assert (bench.read("IMS"), bench.read("VFTA", 7), bench.read("TDLEN")) == (0, 0, 0)
    assert bench.read("RAH") >> 31
    assert mdic(bench, 4) == 0x0021


def eerd(bench, address):
    bench.write("EERD", address << 8 | 1)
    value = bench.read("EERD")
    assert value & 0x10
    return value >> 16


def eecd(bench, address):
    """Read a word bit by bit, as drivers do for cards without EERD."""
    bench.write("EECD", 0x40)
    assert bench.read("EECD") & 0x80  # granted
    bench.write("EECD", 0x42)
    for bit in f"110{address:06b}":
        wires = 0x42 | (0x4 if bit == "1" else 0)
        bench.write("EECD", wires)
        bench.write("EECD", wires | 1)
        bench.write("EECD", wires)
    word = 0
    for _ in range(16):
        bench.write("EECD", 0x43)
        word = word << 1 | (bench.read("EECD") >> 3 & 1)
        bench.write("EECD", 0x42)
    bench.write("EECD", 0)
    return word


def test_both_ways_to_the_eeprom_agree_and_the_checksum_holds(bench):
    words = [eerd(bench, n) for n in range(WORDS)]
    assert words == [eecd(bench, n) for n in range(WORDS)]
    assert sum(words) & 0xFFFF == 0xBABA
    assert b"".join(word.to_bytes(2, "little") for word in words[:3]) == MAC


def mdic(bench, number, write=None, phy=1):
    op = 1 if write is not None else 2
    bench.write("MDIC", (write or 0) | number << 16 | phy << 21 | op << 26)
    value = bench.read("MDIC")
    assert value & 1 << 28  # ready
    if value & 1 << 30:
        return None
    return value & 0xFFFF


def test_the_phy_is_an_m88_with_link(bench):
    assert (mdic(bench, 2), mdic(bench, 3)) == (0x0141, 0x0C20)
    assert mdic(bench, 1) & 0x24 == 0x24  # link, negotiation done
    bench.card.set_link(False)
    assert mdic(bench, 1) & 0x24 == 0


def test_a_phy_that_is_not_there_is_an_error(bench):
    assert mdic(bench, 2, phy=2) is None
    assert mdic(bench, 31) is None


def test_phy_reset_and_restart_bits_clear_themselves(bench):
    mdic(bench, 4, write=0x21)
    mdic(bench, 0, write=0x9140)
    assert (mdic(bench, 0), mdic(bench, 4)) == (0x1140, 0x0DE1)
    mdic(bench, 0, write=0x1340)
    assert mdic(bench, 0) == 0x1140


def test_causes_interrupt_only_when_unmasked_and_reading_icr_clears(bench):
    bench.write("ICS", 0x4)
    assert not bench.line.level
    bench.write("IMS", 0x4)
    assert bench.line.level
    assert bench.read("IMS") == 0x4
    assert bench.read("ICR") == 0x4
    assert not bench.line.level
    assert bench.read("ICR") == 0


def test_imc_masks_and_writing_1_to_icr_clears(bench):
    bench.write("IMS", 0x84)
    bench.write("ICS", 0x84)
    bench.write("ICR", 0x04)
    assert bench.line.level
    bench.write("IMC", 0x80)
    assert not bench.line.level
    assert bench.read("ICR") == 0x80


def test_a_link_change_is_a_cause(bench):
    bench.write("IMS", 0x4)
    bench.card.set_link(False)
    assert bench.line.level
    assert ("interrupt", {"causes": "LSC"}) in bench.told


def test_itr_spaces_interrupts_and_loses_none(bench):
    bench.write("IMS", 0x4)
    bench.write("ITR", 1000)  # 256 us
    bench.write("ICS", 0x4)
    assert bench.line.rises == 1
    bench.read("ICR")
    bench.write("ICS", 0x4)
    assert not bench.line.level
    bench.clock.advance(255_000)
    assert not bench.line.level
    bench.clock.advance(1_000)
    assert bench.line.level
    assert bench.line.rises == 2


def test_intx_disable_silences_the_pin_and_status_still_tells(bench):
    bench.write("IMS", 0x4)
    bench.write("ICS", 0x4)
    bench.card.config.write(0x04, 2, 0x407)
    bench.card.config_changed()
    assert not bench.line.level
    assert bench.card.config.read(0x06, 2) & 0x8
    bench.card.config.write(0x04, 2, 0x007)
    bench.card.config_changed()
    assert bench.line.level


SINGLE = [n for n in r.STATISTICS if n != "_" and n[:-1] not in r.STATISTICS_WIDE]


@pytest.mark.parametrize("name", SINGLE)
def test_every_32_bit_counter_clears_when_read_and_swallows_writes(bench, name):
    bench.card.cells[bench.offset(name) // 4] = 0xFFFF_FFFF
    bench.write(name, 5)
    assert bench.read(name) == 0xFFFF_FFFF
    assert bench.read(name) == 0


@pytest.mark.parametrize("name", sorted(r.STATISTICS_WIDE))
def test_every_64_bit_counter_clears_when_its_high_half_is_read(bench, name):
    low = bench.offset(name + "L") // 4
    bench.card.cells[low], bench.card.cells[low + 1] = 5, 7
    assert (bench.read(name + "L"), bench.read(name + "L")) == (5, 5)
    assert bench.read(name + "H") == 7
    assert (bench.read(name + "L"), bench.read(name + "H")) == (0, 0)


def test_statistics_count_and_clear_on_read(bench):
    bench.start()
    for _ in range(3):
        bench.cable.receiver.receive(frame(100))
    assert bench.read("GPRC") == 3
    assert bench.read("GPRC") == 0
    assert bench.read("PRC127") == 3
    assert bench.read("GORCL") == 3 * 104
    assert bench.read("GORCH") == 0
    assert bench.read("GORCL") == 0


def test_state_round_trips(bench):
    bench.start()
    bench.write("IMS", 0x80)
    bench.cable.receiver.receive(frame(100))
    state = bench.card.state()
    bench.card.reset()
    bench.card.restore(state)
    assert bench.card.state() == state
    assert bench.line.level
    with pytest.raises(ValueError, match="version"):
        bench.card.restore({**state, "version": 2})
