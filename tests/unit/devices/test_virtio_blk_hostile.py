"""virtio-blk with hostile drivers, failing hosts, and requests that are under way."""

import os
import threading

import pytest

from tests.support.virtio_disk import (
    CONTENT,
    DATA,
    FLUSH,
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
    Failing,
    Gate,
)
from tests.support.virtio_driver import NEEDS_RESET, NOWHERE

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


@pytest.mark.parametrize("kind", [2, 3, 1 << 31 | 2, 1 << 31 | 3])
@pytest.mark.parametrize("sizes", [(), (1,), (6, 3), (16, 511, 96, 15), (16, 0, 95, 16)])
def test_cve_2026_48914_scsi_commands_of_odd_sizes_are_not_supported(disk, path, kind, sizes):
    """The old SCSI request: a command, data, sense bytes and a header for its answer."""
    one = disk()
    one.rig.memory.fill(DATA, 0x1000, 0xEE)
    pieces = [(DATA + 0x200 * n, size, n > 0) for n, size in enumerate(sizes)]
    assert one.ask(kind, 0, pieces=pieces)[0] == UNSUPP
    assert one.rig.memory.read(DATA, 0x1000) == b"\xee" * 0x1000
    assert path.read_bytes() == CONTENT
    assert one.ask(IN, 0, length=SECTOR)[::2] == (OK, CONTENT[:SECTOR])


@pytest.mark.parametrize(
    "chain",
    [
        [(DATA, 512, True)], [(DATA, 512, False)], [(HEADER, 8, False), (STATUS, 1, True)],
        [(HEADER, 16, False), (DATA, 512, False)], [(HEADER, 0, False), (STATUS, 0, True)],
        [(HEADER, 16, True), (STATUS, 1, True)],
    ],
)  # fmt: skip
@pytest.mark.parametrize("table", [None, DATA + 0x8000])
def test_cloud_hypervisor_8184_a_chain_without_header_or_status(disk, path, chain, table):
    one = disk()
    one.rig.memory.fill(DATA, 0x1000, 0xEE)
    one.driver.offer(0, *chain, table=table)
    assert one.driver.status & NEEDS_RESET
    assert one.driver.used(0) == []
    assert one.rig.memory.read(DATA, 0x1000) == b"\xee" * 0x1000
    assert path.read_bytes() == CONTENT
    one.driver.start()
    assert one.ask(IN, 0, length=SECTOR)[0] == OK


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
