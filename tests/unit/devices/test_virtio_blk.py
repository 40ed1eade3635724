"""virtio-blk as its driver sees it: what it says, reads, writes, flushes and discards."""

import errno
import os
import struct

import pytest

from pykvm.backends.disk_file import FileDisk
from pykvm.devices.virtio.blk.device import Feature
from tests.support.virtio_disk import (
    CONTENT,
    DATA,
    DISCARD,
    FLUSH,
    GET_ID,
    HEADER,
    IN,
    IOERR,
    OK,
    OUT,
    SECTOR,
    SECTORS,
    STATUS,
    UNSUPP,
    WRITE_ZEROES,
    Gate,
    Noting,
)
from tests.support.virtio_driver import BUFFERS, INDIRECT, PACKED

# -- what it says about itself --------------------------------------------------------------------


def test_its_configuration_space_gives_the_capacity_and_the_limits(disk):
    one = disk()
    assert one.driver.config(0, 8) == SECTORS
    assert (one.driver.config(8, 4), one.driver.config(12, 4)) == (256 << 10, 254)
    assert one.driver.config(20, 4) == SECTOR
    assert one.driver.config(36, 4) == one.driver.config(48, 4) == 1 << 17
    assert one.driver.config(40, 4) == one.driver.config(52, 4) == 16
    assert (one.driver.config(44, 4), one.driver.config(56, 1)) == (8, 1)
    assert one.driver.config(4092, 4) == 0, "there is nothing past its end"


def test_a_read_only_disk_says_so_and_offers_nothing_that_writes(disk):
    one = disk(readonly=True)
    offered = Feature(one.driver.offered() & 0xFFFF)
    assert Feature.RO in offered
    assert not offered & (Feature.DISCARD | Feature.WRITE_ZEROES | Feature.CONFIG_WCE)


@pytest.mark.parametrize(
    ("serial", "gives"), [("ABC", b"ABC".ljust(20, b"\0")), ("x" * 20, b"x" * 20)]
)
def test_get_id_gives_the_serial_number(disk, serial, gives):
    one = disk(serial=serial)
    assert one.ask(GET_ID, length=20) == (OK, 21, gives)
    status, written, data = one.ask(GET_ID, length=64)
    assert (status, written, data[:20]) == (OK, 20, gives), "only what was written counts"
    assert one.ask(GET_ID, length=2) == (OK, 3, gives[:2])


# -- reading and writing --------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"legacy": True}, {"transport": "legacy", "legacy": True}])
def test_sectors_are_read_and_written(disk, path, options):
    one = disk(**options)
    assert one.ask(IN, 3, length=1024) == (OK, 1025, CONTENT[3 * SECTOR : 5 * SECTOR])
    assert one.ask(OUT, 60, b"w" * 2048)[:2] == (OK, 1)
    assert path.read_bytes() == CONTENT[: 60 * SECTOR] + b"w" * 2048
    assert one.ask(IN, 63, length=512)[2] == b"w" * 512


def test_sectors_are_read_and_written_through_a_packed_ring(disk):
    one = disk(start=False)
    one.driver.start(without=0)
    assert one.driver.features & PACKED
    for n in range(200):  # round the ring
        assert one.ask(OUT, n % SECTORS, bytes([n]) * SECTOR)[:2] == (OK, 1)
        assert one.ask(IN, n % SECTORS, length=SECTOR) == (OK, 513, bytes([n]) * SECTOR)


def test_header_data_and_status_may_be_cut_anywhere(disk):
    one = disk()
    memory, (header, data) = one.rig.memory, (HEADER, DATA)
    memory.write(header, struct.pack("<IIQ", IN, 0, 2))
    one.driver.offer(0, (header, 5, False), (header + 5, 11, False), (data, 100, True),
                     (data + 100, 413, True))  # fmt: skip
    assert one.driver.wait() == [(0, 513)]
    assert memory.read(data, 513) == CONTENT[1024:1536] + b"\0"
    memory.write(header, struct.pack("<IIQ", OUT, 0, 7) + b"n" * 512)
    one.driver.offer(0, (header, 20, False), (header + 20, 508, False), (STATUS, 1, True))
    assert [length for _, length in one.driver.wait()] == [1]
    assert one.ask(IN, 7, length=512)[2] == b"n" * 512


def test_an_indirect_table_carries_a_request(disk):
    one = disk()
    assert one.driver.features & INDIRECT
    one.rig.memory.write(HEADER, struct.pack("<IIQ", IN, 0, 1))
    pieces = [(DATA + 8 * n, 8, True) for n in range(128)]
    one.driver.offer(0, (HEADER, 16, False), *pieces, (STATUS, 1, True), table=BUFFERS + 0x8000)
    assert one.driver.wait()[0][1] == 1025
    assert one.rig.memory.read(DATA, 1024) == CONTENT[512:1536]


def test_a_request_without_data_is_answered(disk):
    one = disk()
    assert one.ask(IN, SECTORS)[:2] == (OK, 1)
    assert one.ask(OUT, 0)[:2] == (OK, 1)


def test_requests_finish_in_any_order_and_in_batches(disk, path):
    gate = Gate(str(path))
    one = disk(gate)
    slow, where, _ = one.submit(IN, 5, length=SECTOR)
    gate.begun()
    quick, _, _ = one.submit(OUT, 9, b"q" * SECTOR)
    assert one.driver.wait() == [(quick, 1)]
    gate.open.set()
    assert one.driver.wait() == [(slow, 513)]
    assert one.rig.memory.read(where, 4) == CONTENT[5 * SECTOR : 5 * SECTOR + 4]


def test_a_ring_full_of_requests_is_served(disk):
    one = disk()
    rounds = [one.submit(IN, n % SECTORS, length=SECTOR, kick=False) for n in range(16)]
    one.driver.kick(0)
    got = one.driver.wait(count=16)
    assert sorted(got) == sorted((token, 513) for token, _, _ in rounds)
    for n, (_, where, status) in enumerate(rounds):
        assert one.rig.memory.read(where, SECTOR) == CONTENT[n * SECTOR : (n + 1) * SECTOR]
        assert one.rig.memory.read_u8(status) == OK
    assert one.rig.line.level


# -- flushing -------------------------------------------------------------------------------------


def test_a_flush_follows_the_writes_that_were_done(disk, path):
    one = disk(Noting(str(path)))
    one.ask(OUT, 0, b"1" * SECTOR)
    assert one.ask(FLUSH)[:2] == (OK, 1)
    assert one.backend.calls == [("write", False), "flush"]


def test_without_flush_every_write_is_stable_when_it_is_used(disk, path):
    one = disk(Noting(str(path)), start=False)
    one.driver.start(one.driver.offered() & ~(Feature.FLUSH | Feature.CONFIG_WCE | PACKED))
    assert one.driver.config(32, 1) == 0
    one.ask(OUT, 0, b"1" * SECTOR)
    assert one.backend.calls == [("write", True)]
    assert one.ranges(WRITE_ZEROES, (8, 8, 0)) == OK
    assert one.backend.calls[-1] == "flush"


def test_the_driver_may_turn_the_write_cache_off_and_on(disk, path):
    one = disk(Noting(str(path)))
    assert one.driver.config(32, 1) == 1
    for writeback in (0, 1):
        one.driver.set_config(32, 1, writeback)
        assert one.driver.config(32, 1) == writeback
        one.ask(OUT, 0, b"1" * SECTOR)
        assert one.backend.calls[-1] == ("write", not writeback)
    one.driver.set_config(32, 1, 0)
    one.driver.start()
    assert one.driver.config(32, 1) == 1, "a reset turns it on"


def test_after_a_failed_flush_no_flush_succeeds(disk, path, monkeypatch):
    one = disk()

    def fails(fd):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fails)
        assert one.ask(FLUSH)[0] == IOERR
    assert one.ask(FLUSH)[0] == IOERR
    assert one.ask(IN, 0, length=SECTOR)[0] == OK


# -- discarding and zeroing -----------------------------------------------------------------------


@pytest.mark.parametrize("unmap", [0, 1])
@pytest.mark.parametrize("fallocate", ["the host's", "none"])
def test_write_zeroes_reads_back_as_zeroes(disk, path, monkeypatch, unmap, fallocate):
    if fallocate == "none":
        monkeypatch.setattr(FileDisk, "_allocate", lambda *_: False)
    one = disk()
    assert one.ranges(WRITE_ZEROES, (8, 16, unmap), (40, 1, 0)) == OK
    data = bytearray(CONTENT)
    data[8 * SECTOR : 24 * SECTOR] = bytes(16 * SECTOR)
    data[40 * SECTOR : 41 * SECTOR] = bytes(SECTOR)
    assert path.read_bytes() == data


def test_a_discard_touches_nothing_but_its_range(disk, path):
    one = disk()
    assert one.ranges(DISCARD, (16, 16, 0)) == OK
    after = path.read_bytes()
    assert len(after) == len(CONTENT)
    assert after[: 16 * SECTOR] == CONTENT[: 16 * SECTOR]
    assert after[32 * SECTOR :] == CONTENT[32 * SECTOR :]


@pytest.mark.parametrize(
    ("kind", "row", "status"),
    [
        (DISCARD, (0, 1, 1), UNSUPP),  # unmap is no flag of a discard (5.2.6.2)
        (DISCARD, (0, 1, 2), UNSUPP),
        (WRITE_ZEROES, (0, 1, 2), UNSUPP),
        (WRITE_ZEROES, (SECTORS, 1, 0), IOERR),
        (WRITE_ZEROES, (2**64 - 1, 1, 0), IOERR),
        (WRITE_ZEROES, (0, 2**32 - 1, 0), IOERR),
        (DISCARD, (1, SECTORS, 0), IOERR),
    ],
)
def test_a_range_that_cannot_be_is_refused(disk, path, kind, row, status):
    assert disk().ranges(kind, row) == status
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("length", [0, 8, 24, 16 * 17])
def test_ranges_of_an_odd_length_or_too_many_are_refused(disk, length):
    assert disk().ask(DISCARD, data=bytes(length))[0] == IOERR


def test_what_was_not_negotiated_is_not_supported(disk):
    one = disk(start=False)
    one.driver.start(without=PACKED | Feature.DISCARD | Feature.WRITE_ZEROES)
    assert one.ranges(DISCARD, (0, 1, 0)) == one.ranges(WRITE_ZEROES, (0, 1, 0)) == UNSUPP
