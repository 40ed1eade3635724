"""A virtio disk of 64 sectors over a real file, with a driver that puts requests in a line."""

import errno
import struct
import threading

from pykvm.backends.disk_file import FileDisk
from pykvm.devices.virtio.blk import Blk
from tests.support.virtio_driver import BUFFERS, PATIENCE, Legacy, Modern, Rig

SECTOR, SECTORS = 512, 64
IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES = 0, 1, 4, 8, 11, 13
OK, IOERR, UNSUPP = 0, 1, 2
HEADER, STATUS, DATA = BUFFERS, BUFFERS + 0x100, BUFFERS + 0x1000
CONTENT = bytes(n * 7 + n // 512 & 0xFF for n in range(SECTORS * SECTOR))


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
