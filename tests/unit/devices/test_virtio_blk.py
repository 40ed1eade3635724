"""virtio-blk as its driver sees it, over a real file; the disk under test is 64 sectors."""

import errno
import os
import struct
import threading

import pytest

from pykvm.backends.disk_file import FileDisk
from pykvm.devices.virtio.blk import Blk
from pykvm.devices.virtio.blk.device import Feature
from tests.support.virtio_driver import (
    BUFFERS,
    INDIRECT,
    NEEDS_RESET,
    NOWHERE,
    PACKED,
    PATIENCE,
    Legacy,
    Modern,
    Rig,
    threads,
)  # fmt: skip

SECTOR, SECTORS = 512, 64
IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES = 0, 1, 4, 8, 11, 13
OK, IOERR, UNSUPP = 0, 1, 2
HEADER, STATUS, DATA = BUFFERS, BUFFERS + 0x100, BUFFERS + 0x1000
CONTENT = bytes(n * 7 + n // 512 & 0xFF for n in range(SECTORS * SECTOR))


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "disk.img"
    file.write_bytes(CONTENT)
    return file


class Disk:
    """A rig with a disk in it, and requests in a line."""

    def __init__(self, backend, *, legacy=False, start=True, serial="S1", **options):
        self.backend = backend
        self.rig = Rig(Blk(backend, serial), **options)
        self.driver = (Legacy if legacy else Modern)(self.rig)
        self.slot = 0
        if start:
            self.driver.start()

    def submit(self, kind, sector=0, data=None, *, length=None, pieces=None, kick=True):
        """Offer a request; (token, where its data is, where its status will be)."""
        at = BUFFERS + 0x4000 * self.slot
        self.slot = (self.slot + 1) % 16
        header, status, where = at, at + 0x10, at + 0x20
        memory = self.rig.memory
        memory.write(header, struct.pack("<IIQ", kind, 0, sector))
        memory.write_u8(status, 0xEE)
        chain = [(header, 16, False)]
        if data is not None:
            memory.write(where, data)
            chain.append((where, len(data), False))
        if length is not None:
            chain.append((where, length, True))
        if pieces is not None:
            chain += pieces
        token = self.driver.offer(0, *chain, (status, 1, True), kick=kick)
        return token, where, status

    def ask(self, kind, sector=0, data=None, *, length=None, pieces=None):
        """A request and its answer: (status, bytes written, data)."""
        token, where, status = self.submit(kind, sector, data, length=length, pieces=pieces)
        ((used, written),) = self.driver.wait()
        assert used == token
        return self.rig.memory.read_u8(status), written, self.rig.memory.read(where, length or 0)

    def ranges(self, kind, *rows):
        return self.ask(kind, data=b"".join(struct.pack("<QII", *row) for row in rows))[0]

    def close(self):
        self.rig.close()
        self.backend.close()


@pytest.fixture
def disk(path):
    made = []

    def make(backend=None, *, readonly=False, **options):
        made.append(Disk(backend or FileDisk(str(path), readonly=readonly), **options))
        return made[-1]

    yield make
    for one in made:
        one.close()
    assert threads("disk") == 0


class Gate(FileDisk):
    """A disk whose I/O waits until the test lets it."""

    def __init__(self, path):
        super().__init__(path)
        self.open = threading.Event()
        self.entered = threading.Semaphore(0)

    def read(self, pieces, offset):
        self.entered.release()
        assert self.open.wait(PATIENCE)
        super().read(pieces, offset)

    def begun(self):
        assert self.entered.acquire(timeout=PATIENCE)


class Failing(FileDisk):
    """A disk of a host with bad blocks."""

    def read(self, pieces, offset):
        raise OSError(errno.EIO, "Input/output error")

    def write(self, pieces, offset, *, stable):
        raise OSError(errno.ENOSPC, "No space left on device")


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


class Noting(FileDisk):
    """Notes what reaches stable storage, and when."""

    def __init__(self, path):
        super().__init__(path)
        self.calls = []

    def write(self, pieces, offset, *, stable):
        super().write(pieces, offset, stable=stable)
        self.calls.append(("write", stable))

    def flush(self):
        super().flush()
        self.calls.append("flush")


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


# -- hostile requests -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sector", "length"),
    [(SECTORS, 512), (SECTORS - 1, 1024), (2**64 - 1, 512), (2**55, 512), (0, 100), (0, 513)],
)
@pytest.mark.parametrize("kind", [IN, OUT])
def test_cve_2019_18960_sectors_past_the_end_are_an_error(disk, path, kind, sector, length):
    one = disk()
    if kind == IN:
        assert one.ask(kind, sector, length=length)[::2] == (IOERR, bytes(length))
    else:
        assert one.ask(kind, sector, b"x" * length)[0] == IOERR
    assert path.read_bytes() == CONTENT
    assert one.ask(IN, 0, length=SECTOR)[0] == OK, "the disk goes on"


def test_cve_2024_8612_a_failed_read_claims_no_bytes_it_did_not_write(disk):
    assert disk().ask(IN, SECTORS, length=512)[1] == 0


@pytest.mark.parametrize("kind", [2, 5, 7, 10, 14, 16, 77, 2**32 - 1])
def test_an_unknown_request_is_not_supported(disk, kind):
    assert disk().ask(kind, 0, length=SECTOR)[0] == UNSUPP


def test_a_read_only_disk_refuses_writes_and_stays_as_it_is(disk, path):
    one = disk(readonly=True)
    assert one.ask(OUT, 0, b"w" * SECTOR)[0] == IOERR
    assert one.ranges(WRITE_ZEROES, (0, 1, 0)) == UNSUPP
    assert one.ask(FLUSH)[0] == one.ask(IN, 0, length=SECTOR)[0] == OK
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    "chain",
    [
        [(HEADER, 16, False)],
        [(HEADER, 15, False), (STATUS, 1, True)],
        [(STATUS, 1, True)],
        [(HEADER, 0, False)],
        [(HEADER, 16, False), (STATUS, 0, True)],
        [(HEADER, 16, False), (NOWHERE, 512, True), (STATUS, 1, True)],
        [(HEADER, 16, False), (DATA, 512, True), (DATA, 512, False)],
    ],
)
def test_cve_2022_26353_a_broken_chain_breaks_the_device_and_leaks_nothing(disk, chain):
    one = disk()
    one.driver.offer(0, *chain)
    assert one.driver.status & NEEDS_RESET
    assert len(one.rig.told) == 1
    one.driver.start()
    assert one.ask(IN, 0, length=SECTOR)[0] == OK


def test_cve_2016_5403_a_chain_offered_again_while_it_is_under_way_breaks_the_device(disk, path):
    gate = Gate(str(path))
    one = disk(gate)
    token, _, _ = one.submit(IN, 0, length=SECTOR)
    gate.begun()
    gate.open.set()
    for _ in range(3):
        one.driver.rings[0].offer(token)
        one.driver.rings[0].publish()
        one.driver.kick(0)
    assert one.driver.status & NEEDS_RESET
    one.driver.start()
    assert one.ask(IN, 0, length=SECTOR)[0] == OK


def test_data_larger_than_the_limits_is_an_error_and_not_a_wait(disk):
    one = disk(memory=4 << 20)
    pieces = [(0, 2 << 20, True)] * 33  # RAM again and again
    assert one.ask(IN, 0, pieces=pieces)[0] == IOERR


# -- errors of the host ---------------------------------------------------------------------------


def test_an_error_of_the_host_is_the_guests_to_see_and_the_users(disk, path):
    one = disk(Failing(str(path)))
    assert one.ask(IN, 3, length=SECTOR)[:2] == (IOERR, 0)
    assert one.ask(OUT, 4, b"w" * SECTOR)[:2] == (IOERR, 1)
    assert one.rig.told == [
        "IN at sector 3: Input/output error", "OUT at sector 4: No space left on device",
    ]  # fmt: skip
    assert not one.driver.status & NEEDS_RESET


def test_a_file_that_was_cut_short_is_an_error(disk, path):
    one = disk()
    os.truncate(path, 10 * SECTOR)
    assert one.ask(IN, 9, length=2 * SECTOR)[0] == IOERR
    assert one.ask(IN, 9, length=SECTOR)[0] == OK


# -- requests under way ---------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["reset", "queue reset", "broken ring", "close"])
def test_what_is_under_way_is_waited_for_and_forgotten(disk, path, how):
    gate = Gate(str(path))
    one = disk(gate)
    for n in range(8):  # more than there are threads
        one.submit(IN, n, length=SECTOR)
    gate.begun()
    opener = threading.Timer(0.05, gate.open.set)
    opener.start()
    if how == "reset":
        one.driver.status = 0
    elif how == "queue reset":
        one.driver.put("QUEUE_SELECT", 0)
        one.driver.put("QUEUE_RESET", 1)
        assert one.driver.get("QUEUE_RESET") == one.driver.get("QUEUE_ENABLE") == 0
    elif how == "broken ring":
        one.driver.offer(0, (NOWHERE, 1, True))
        assert one.driver.status & NEEDS_RESET
    else:
        one.rig.function.close()
    opener.join()
    assert gate.open.is_set(), "it waited"
    if how != "close":
        assert one.driver.used(0) == []
        if how == "queue reset":
            one.driver.set_up(0)
        else:
            one.driver.start()
        assert one.ask(IN, 0, length=SECTOR)[0] == OK


def test_a_state_has_no_requests_under_way(disk, path):
    gate = Gate(str(path))
    one = disk(gate)
    tokens = [one.submit(IN, n, length=SECTOR)[0] for n in range(6)]
    gate.begun()
    opener = threading.Timer(0.05, gate.open.set)
    opener.start()
    state = one.rig.function.state()
    opener.join()
    assert sorted(one.driver.used(0)) == [(token, 513) for token in sorted(tokens)]
    assert state["isr"] == 1, "the interrupt is part of it"
    one.driver.set_config(32, 1, 0)
    one.rig.function.restore(state)
    assert one.driver.config(32, 1) == 1
    assert one.ask(IN, 0, length=SECTOR)[0] == OK


def test_the_trace_shows_each_request_and_its_end(disk):
    one = disk(trace=True)
    one.ask(IN, 5, length=SECTOR)
    happened = dict(one.rig.traced)
    assert happened["request"] == {"id": 0, "type": "IN", "sector": 5, "bytes": 512}
    assert happened["done"] == {"id": 0, "status": "OK"}
