"""One suite over every character backend: what any of them owes to a serial port."""

import os
import pty
import select
import threading
import tty

import pytest

from pykvm.backends.char import open_char_backend
from pykvm.backends.char_file import FileBackend
from pykvm.backends.char_null import NullBackend
from pykvm.backends.char_pty import PtyBackend
from pykvm.backends.char_stdio import StdioBackend
from pykvm.errors import HostError, UsageError
from tests.support.fakes import Clock

DATA = bytes(range(256)) * 40


class Port:
    """A receiver with a FIFO of ``size`` bytes that the test empties."""

    def __init__(self, size=16):
        self.size = size
        self.fifo = bytearray()
        self.came = threading.Condition()

    def room(self):
        return max(self.size - len(self.fifo), 0)

    def receive(self, data):
        with self.came:
            assert len(data) <= self.room()
            self.fifo += data
            self.came.notify_all()

    def take(self, backend, lock, count):
        """Read ``count`` bytes as a guest would: a few at a time, resuming the backend."""
        out = bytearray()
        while len(out) < count:
            with self.came:
                assert self.came.wait_for(lambda: self.fifo, timeout=20)
            with lock:
                out += self.fifo
                self.fifo.clear()
                backend.resume()
        return bytes(out)


class Rig:
    """A backend with both of its far ends: where output arrives, where input is fed."""

    def __init__(self, backend, *, read=None, write=None, close=()):
        self.backend, self.read, self.write, self._close = backend, read, write, close

    def close(self):
        self.backend.close()
        for fd in self._close:
            os.close(fd)


def drain(fd):
    """Everything that arrives at ``fd`` until nothing more does."""
    out = b""
    while select.select([fd], [], [], 0.2)[0]:
        data = os.read(fd, 65536)
        if not data:
            break
        out += data
    return out


def make_null(loop, tmp_path):
    return Rig(NullBackend())


def make_file(loop, tmp_path):
    path = tmp_path / "out"
    return Rig(FileBackend(str(path)), read=path.read_bytes)


def make_stdio(loop, tmp_path):
    (in_read, in_write), (out_read, out_write) = os.pipe(), os.pipe()
    backend = StdioBackend(loop, {}, print, (in_read, out_write))
    return Rig(
        backend, read=lambda: drain(out_read), write=lambda data: os.write(in_write, data),
        close=(in_read, in_write, out_read, out_write),
    )  # fmt: skip


def make_pty(loop, tmp_path):
    backend = PtyBackend(loop, lambda line: None)
    far = os.open(backend.path, os.O_RDWR | os.O_NOCTTY)
    return Rig(backend, read=lambda: drain(far), write=lambda data: os.write(far, data),
               close=(far,))  # fmt: skip


@pytest.fixture(params=[make_null, make_file, make_stdio, make_pty], ids=lambda f: f.__name__[5:])
def rig(request, loop, tmp_path):
    rig = request.param(loop, tmp_path)
    yield rig
    rig.close()


def test_what_is_written_arrives_whole_and_in_order(rig):
    rig.backend.connect(Port())
    seen = b""
    for start in range(0, len(DATA), 2048):
        rig.backend.write(DATA[start : start + 2048])
        if rig.read is not None and rig.backend.__class__ is not FileBackend:
            seen += rig.read()
    if rig.backend.__class__ is FileBackend:
        seen = rig.read()
    assert rig.read is None or seen == DATA


def test_input_is_delivered_as_fast_as_there_is_room(rig, lock):
    if rig.write is None:
        rig.backend.connect(Port())  # no input: connecting is all there is
        return
    for size in (1, 16):
        port = Port(size)
        with lock:
            rig.backend.connect(port)
        rig.write(DATA[:200])
        assert port.take(rig.backend, lock, 200) == DATA[:200]


def test_close_is_idempotent_and_writing_afterwards_is_harmless(rig):
    rig.backend.connect(Port())
    rig.backend.close()
    rig.backend.close()
    rig.backend.write(b"late")
    rig.backend.resume()


@pytest.mark.parametrize("make", [make_stdio, make_pty], ids=["stdio", "pty"])
def test_close_releases_a_writer_that_waits_for_a_reader(loop, tmp_path, make):
    rig = make(loop, tmp_path)
    writer = threading.Thread(target=rig.backend.write, args=(bytes(4 << 20),))
    writer.start()
    writer.join(0.2)
    assert writer.is_alive()
    rig.backend.close()
    writer.join(20)
    assert not writer.is_alive()
    rig.close()


def test_the_end_of_input_is_only_the_end_of_input(loop, lock):
    (in_read, in_write), (out_read, out_write) = os.pipe(), os.pipe()
    backend = StdioBackend(loop, {}, print, (in_read, out_write))
    port = Port()
    backend.connect(port)
    os.write(in_write, b"bye")
    os.close(in_write)
    assert port.take(backend, lock, 3) == b"bye"
    backend.write(b"still here")
    assert drain(out_read) == b"still here"
    backend.close()
    for fd in (in_read, out_read, out_write):
        os.close(fd)


def test_a_file_can_be_standard_input(loop, tmp_path):
    path = tmp_path / "input"
    path.write_bytes(DATA[:100])
    with path.open("rb") as file, open(os.devnull, "wb") as out:
        backend = StdioBackend(loop, {}, print, (file.fileno(), out.fileno()))
        port, got = Port(7), b""
        backend.connect(port)
        while port.fifo:
            got += bytes(port.fifo)
            port.fifo.clear()
            backend.resume()
        backend.close()
    assert got == DATA[:100]


def test_a_pty_nobody_has_open_drops_output_and_takes_a_new_reader(loop):
    backend = PtyBackend(loop, lambda line: None)
    backend.connect(Port())
    backend.write(bytes(1 << 20))  # nobody is there: it does not wait
    far = os.open(backend.path, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(far)
    backend.write(b"hello")
    assert drain(far).endswith(b"hello")
    backend.close()
    os.close(far)


def test_escape_keys_are_only_keys_on_a_terminal(loop, lock):
    said, quits = [], []
    near, far = pty.openpty()
    backend = StdioBackend(loop, {"x": lambda: quits.append(1)}, said.append, (far, far))
    port = Port(64)
    with lock:
        backend.connect(port)
    os.write(near, b"a\x01hb\x01\x01c\x01x")
    assert port.take(backend, lock, 4) == b"ab\x01c"
    backend.close()
    assert len(said) == 1
    assert quits == [1]
    os.close(near)
    os.close(far)


@pytest.mark.parametrize("spec", ["", "telegraph", "file:", "file"])
def test_an_unknown_name_is_refused_with_what_there_is(loop, spec):
    with pytest.raises(UsageError, match="it takes stdio"):
        open_char_backend(spec, loop, {}, print)


def test_a_file_that_cannot_be_written_is_a_host_error(loop):
    with pytest.raises(HostError, match="cannot write"):
        open_char_backend("file:/nonexistent/x", loop, {}, print)


def test_a_pty_that_nobody_opens_keeps_one_timer_however_often_it_is_resumed():
    loop = Clock()
    backend = PtyBackend(loop, lambda line: None)
    backend.connect(Port())
    for _ in range(100):
        backend.resume()
        loop.advance(1_000_000)
    assert len(loop.live()) == 1
    backend.close()


def test_messages_name_the_option():
    loop = Clock()
    said = []
    with pytest.raises(UsageError, match=r"^--console"):
        open_char_backend("telegraph", loop, {}, said.append, option="--console")
    with pytest.raises(HostError, match=r"^--console"):
        open_char_backend("file:/nonexistent/x", loop, {}, said.append, option="--console")
    open_char_backend("pty", loop, {}, said.append, option="--console").close()
    assert said[0].startswith("console at /dev/pts/")
