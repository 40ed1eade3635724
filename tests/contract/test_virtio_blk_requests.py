"""Random requests against a model of a disk, through registers and rings, split and packed.

Requests are cut into descriptors at random, with lengths and ranges that are often wrong; several
are under way at once where they do not touch the same sectors. What comes back, and the file, must
be what the model says. Garbage breaks the ring or is answered, and ends nothing.
"""

import struct
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from pykvm.backends.disk_file import FileDisk
from pykvm.devices.virtio.blk import Blk
from tests.support.virtio_driver import BUFFERS, NEEDS_RESET, PACKED, Modern, Rig

SECTOR, SECTORS = 512, 32
IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES = 0, 1, 4, 8, 11, 13
OK, IOERR, UNSUPP = 0, 1, 2
TABLE, HEADER, STATUS, DATA = BUFFERS, BUFFERS + 0x800, BUFFERS + 0x900, BUFFERS + 0x1000


class Disk:
    """A disk in a rig, and the bytes that should be on it."""

    def __init__(self, packed):
        self.file = tempfile.NamedTemporaryFile(prefix="pykvm-disk-")  # noqa: SIM115
        self.model = bytearray(n % 251 for n in range(SECTORS * SECTOR))
        self.file.write(self.model)
        self.file.flush()
        self.backend = FileDisk(self.file.name)
        self.rig = Rig(Blk(self.backend, "S"))
        self.driver = Modern(self.rig)
        self.packed = packed
        self.start()

    def start(self):
        self.driver.start(without=0 if self.packed else PACKED)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.rig.close()
        self.backend.close()
        self.file.close()

    def expected(self, kind, sector, length):
        """The status that a read or write must end with."""
        fits = length % SECTOR == 0 and sector + length // SECTOR <= SECTORS
        return OK if fits else IOERR


def cut(pieces, cuts):
    """The same bytes in more descriptors."""
    for at in cuts:
        n = at % len(pieces)
        address, length, write = pieces[n]
        if length > 1:
            first = 1 + at % (length - 1)
            pieces[n : n + 1] = [
                (address, first, write), (address + first, length - first, write),
            ]  # fmt: skip
    return pieces


REQUEST = st.tuples(
    st.sampled_from([IN, OUT]),
    st.one_of(st.integers(0, SECTORS + 1), st.sampled_from([2**32, 2**55, 2**64 - 1])),
    st.sampled_from([0, 1, 511, 512, 512, 1024, 1024, 4096, 8192]),
    st.lists(st.integers(0, 10_000), max_size=6),
    st.integers(0, 255),
    st.booleans(),
)


@settings(deadline=None, max_examples=60)
@given(st.booleans(), st.lists(REQUEST, min_size=1, max_size=20))
def test_a_disk_does_what_the_model_does(packed, requests):
    with Disk(packed) as disk:
        memory = disk.rig.memory
        for kind, sector, length, cuts, byte, indirect in requests:
            memory.write(HEADER, struct.pack("<IIQ", kind, 0, sector))
            memory.fill(DATA, 8192, byte)
            memory.write_u8(STATUS, 0xEE)
            pieces = cut([(HEADER, 16, False)], cuts[:2])
            if length:
                pieces += cut([(DATA, length, kind == IN)], cuts[2:])
            pieces.append((STATUS, 1, True))
            token = disk.driver.offer(0, *pieces, table=TABLE if indirect else None)
            ((used, written),) = disk.driver.wait()
            status = disk.expected(kind, sector, length)
            assert (used, memory.read_u8(STATUS)) == (token, status)
            at = sector * SECTOR
            if status == OK and kind == OUT:
                disk.model[at : at + length] = bytes([byte]) * length
            if status == OK and kind == IN:
                assert memory.read(DATA, length) == disk.model[at : at + length]
                assert written == length + 1
            else:
                assert memory.read(DATA, 8192) == bytes([byte]) * 8192
                assert written == (0 if kind == IN and length else 1)
        assert Path(disk.file.name).read_bytes() == disk.model


@settings(deadline=None, max_examples=30)
@given(st.booleans(), st.permutations(range(16)), st.integers(1, 255))
def test_requests_side_by_side_do_not_disturb_each_other(packed, order, seed):
    with Disk(packed) as disk:
        memory = disk.rig.memory
        tokens = {}
        for n in order:
            kind = OUT if n % 2 else IN
            memory.write(HEADER + 32 * n, struct.pack("<IIQ", kind, 0, 2 * n))
            memory.fill(DATA + 1024 * n, 1024, seed + n & 0xFF)
            chain = (HEADER + 32 * n, 16, False), (DATA + 1024 * n, 1024, kind == IN)
            token = disk.driver.offer(0, *chain, (HEADER + 32 * n + 16, 1, True), kick=n % 3 == 0)
            tokens[token] = n
        disk.driver.kick(0)
        for token, written in disk.driver.wait(count=16):
            n = tokens.pop(token)
            assert memory.read_u8(HEADER + 32 * n + 16) == OK
            at = slice(1024 * n, 1024 * n + 1024)
            if n % 2:
                disk.model[at] = bytes([seed + n & 0xFF]) * 1024
                assert written == 1
            else:
                assert memory.read(DATA + 1024 * n, 1024) == disk.model[at]
                assert written == 1025
        assert not tokens
        assert Path(disk.file.name).read_bytes() == disk.model


PIECES = st.lists(
    st.tuples(
        st.one_of(st.integers(BUFFERS, BUFFERS + 0x4000), st.sampled_from([0, 2**20 - 8, 2**32])),
        st.sampled_from([0, 1, 8, 16, 17, 512, 5000]),
        st.booleans(),
    ),
    min_size=1, max_size=5,
)  # fmt: skip
KINDS = st.sampled_from([IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES, 3, 99])


@settings(deadline=None, max_examples=100)
@given(st.booleans(), st.lists(st.tuples(PIECES, KINDS, st.binary(max_size=64)), max_size=8))
def test_garbage_is_answered_or_breaks_the_ring_and_ends_nothing(packed, chains):
    with Disk(packed) as disk:
        for pieces, kind, noise in chains:
            for address, _, _ in pieces:
                if BUFFERS <= address < BUFFERS + 0x4000:
                    disk.rig.memory.write(address, struct.pack("<II", kind, 0) + noise)
            disk.driver.offer(0, *pieces)
            if disk.driver.status & NEEDS_RESET:
                assert disk.rig.kind._flying == {}
                disk.start()
            else:
                ((_, written),) = disk.driver.wait()
                assert written <= sum(length for _, length, write in pieces if write)
        disk.start()
        disk.rig.memory.write(HEADER, struct.pack("<IIQ", IN, 0, 0))
        disk.driver.offer(0, (HEADER, 16, False), (DATA, 512, True), (STATUS, 1, True))
        assert disk.driver.wait()[0][1] == 513
        assert Path(disk.file.name).stat().st_size == SECTORS * SECTOR
