"""Kicks and interrupts by eventfd: where they are placed, and what masks and moves do to them."""

import os
import resource
from itertools import count

import pytest

from pykvm.devices.virtio import registers as r
from pykvm.devices.virtio.legacy import NOTIFY
from pykvm.devices.virtio.rng import Rng
from tests.support.eventfds import Kicks, Messages, NativeLine, signalled
from tests.support.virtio_driver import Modern, Rig

IO, MEM = 0xC000, 0xE000_0000
NO_VECTOR = 0xFFFF


@pytest.fixture
def rig():
    """A function with one queue and all its windows placed."""
    rig = Rig(Rng(), kicks=Kicks(), messages=Messages(), line=NativeLine())
    rig.kicks = rig.device.wires._kicks
    rig.function.placed({0: IO, 4: MEM})
    yield rig
    rig.close()


@pytest.fixture
def fd():
    made = os.eventfd(0, os.EFD_NONBLOCK)
    yield made
    os.close(made)


def taken(rig):
    return [data - 100 for _, data in rig.messages.take()]


def set_vector(rig, vector):
    driver = Modern(rig)
    driver.put("QUEUE_SELECT", 0)
    driver.put("QUEUE_VECTOR", vector)
    return driver.get("QUEUE_VECTOR")


# -- kicks ----------------------------------------------------------------------------------------


def test_a_kick_is_taken_at_both_windows_and_no_other_queue_s(rig, fd):
    rig.device.wires.listen(fd, [0])
    assert rig.kicks.write(IO + NOTIFY, 0, io=True)
    assert signalled(fd)
    assert rig.kicks.write(MEM + r.NOTIFY, 0)
    assert signalled(fd)
    assert not rig.kicks.write(IO + NOTIFY, 1, io=True)
    assert not rig.kicks.write(MEM + r.NOTIFY + r.NOTIFY_STEP, 1)


def test_a_kick_follows_its_window(rig, fd):
    rig.device.wires.listen(fd, [0])
    rig.function.placed({0: IO + 0x100, 4: MEM + 0x10000})
    assert not rig.kicks.write(IO + NOTIFY, 0, io=True)
    assert not rig.kicks.write(MEM + r.NOTIFY, 0)
    assert rig.kicks.write(IO + 0x100 + NOTIFY, 0, io=True)
    assert rig.kicks.write(MEM + 0x10000 + r.NOTIFY, 0)
    rig.function.placed({})
    assert rig.kicks.at == {}
    rig.function.placed({4: MEM})
    assert list(rig.kicks.at) == [(MEM + r.NOTIFY, False, None)]


def test_whoever_ignores_a_kick_gets_none_also_after_a_move(rig, fd):
    rig.device.wires.listen(fd, [0])
    rig.device.wires.ignore(fd)
    rig.function.placed({0: IO + 0x100})
    assert rig.kicks.at == {}


# -- interrupts -----------------------------------------------------------------------------------


def test_without_msix_there_is_no_eventfd(rig):
    assert rig.device.wires.call(0) == -1


def test_a_signal_is_the_vector_s_message(rig):
    rig.enable_msix()
    assert set_vector(rig, 1) == 1
    call = rig.device.wires.call(0)
    os.eventfd_write(call, 1)
    assert taken(rig) == [1]
    assert set_vector(rig, 0) == 0
    os.eventfd_write(call, 3)
    assert taken(rig) == [0]


def test_a_message_that_is_rewritten_goes_where_it_says_now(rig):
    rig.enable_msix()
    set_vector(rig, 1)
    call = rig.device.wires.call(0)
    rig.function.windows[1].write(16 + 8, 4, 777)
    os.eventfd_write(call, 1)
    assert taken(rig) == [677]


def test_what_is_signalled_behind_a_mask_is_pending_and_comes_once(rig):
    rig.enable_msix()
    set_vector(rig, 1)
    call = rig.device.wires.call(0)
    table = rig.function.windows[1]
    for mask, unmask in (
        (lambda: rig.vector(1, masked=True), lambda: table.write(16 + 12, 4, 0)),
        (lambda: rig.enable_msix(masked=True), rig.enable_msix),
        (lambda: rig.master(False), lambda: rig.master(True)),
    ):
        mask()
        assert table.read(table.pba_offset, 8) == 0
        os.eventfd_write(call, 1)
        os.eventfd_write(call, 1)
        assert taken(rig) == []
        assert table.read(table.pba_offset, 8) == 1 << 1
        unmask()
        assert table.read(table.pba_offset, 8) == 0
        assert taken(rig) == [1]
        assert taken(rig) == []


def test_what_is_signalled_without_a_vector_is_gone(rig):
    rig.enable_msix()
    set_vector(rig, NO_VECTOR)
    call = rig.device.wires.call(0)
    os.eventfd_write(call, 1)
    set_vector(rig, 1)
    assert taken(rig) == []
    os.eventfd_write(call, 1)
    assert taken(rig) == [1]


def test_a_vector_that_does_not_exist_is_none(rig):
    rig.enable_msix()
    rig.device.wires.call(0)
    assert set_vector(rig, 2) == NO_VECTOR
    assert set_vector(rig, 0x8000) == NO_VECTOR


def test_a_reset_forgets_what_is_pending(rig):
    rig.enable_msix(masked=True)
    set_vector(rig, 1)
    os.eventfd_write(rig.device.wires.call(0), 1)
    Modern(rig).status = 0
    set_vector(rig, 1)
    rig.enable_msix()
    assert taken(rig) == []


def test_pending_bits_of_high_descriptors_are_seen(rig):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 1200:
        pytest.skip("needs 1,200 descriptors: ulimit -Hn")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1200), hard))
    held = []
    try:
        for _ in count():
            held.append(os.dup(0))
            if held[-1] > 1030:
                break
        rig.enable_msix(masked=True)
        set_vector(rig, 1)
        call = rig.device.wires.call(0)
        assert call > 1024
        os.eventfd_write(call, 1)
        table = rig.function.windows[1]
        assert table.read(table.pba_offset, 8) == 1 << 1
    finally:
        for one in held:
            os.close(one)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_closing_gives_everything_back(rig, fd):
    rig.enable_msix()
    set_vector(rig, 1)
    rig.device.wires.call(0)
    rig.device.wires.listen(fd, [0])
    rig.function.close()
    rig.function.close()
    assert rig.kicks.at == rig.messages.connected == {}
