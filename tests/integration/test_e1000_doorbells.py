"""Which of the e1000's doorbells leave the guest, and that the others arrive."""

import gc
import socket
import struct
import time

import pytest

from pykvm.devices.e1000.native import NativeEngine
from pykvm.kvm.abi import lib
from pykvm.kvm.system import Kvm, install_kick
from pykvm.kvm.vm import Vm
from pykvm.memory import GuestMemory
from pykvm.net.vnet import SIZE
from tests.unit.e1000.conftest import RX_RING, TX_BUFFERS, TX_RING, Bench, Cable, frame

pytestmark = pytest.mark.kvm

WINDOW, CODE, BUFFER, RING, PATIENCE = 0xA0000, 0x1000, 0x30000, 8, 30
KVM_EXIT_MMIO, MMIO = 6, WINDOW // 16
TDT, RDT = 0x3818, 0x2818


class Guest:
    """A vCPU in real mode that writes one register of the card, and leaves by a port."""

    def __init__(self, vm):
        install_kick()
        self._vm, self.vcpu = vm, vm.create_vcpu()
        self.vcpu.native.doorbells = vm.doorbells
        sregs = self.vcpu.get_sregs()
        sregs.cs.base = sregs.cs.selector = 0
        self.vcpu.set_sregs(sregs)
        lib.pk_vcpu_attach(self.vcpu.native, True)

    def write(self, register, value):
        """Returns how many MMIO exits it took."""
        move = bytes.fromhex("66 26 c7 06") + struct.pack("<HI", register, value)
        code = b"\xb8" + struct.pack("<H", MMIO) + bytes.fromhex("8e c0") + move + b"\xe6\x81"
        self._vm.memory.write(CODE, code)
        regs = self.vcpu.get_regs()
        regs.rip, regs.rflags, regs.rsp = CODE, 2, CODE
        self.vcpu.set_regs(regs)
        before = int(self.vcpu.native.reasons[KVM_EXIT_MMIO])
        assert lib.pk_vcpu_run(self.vcpu.native, 0) == lib.PK_OTHER
        assert self.vcpu.run_state.io.port == 0x81
        lib.pk_vcpu_complete(self.vcpu.native, 0)
        return int(self.vcpu.native.reasons[KVM_EXIT_MMIO]) - before


@pytest.fixture
def wired():
    """The guest, its card with ``RING`` - 1 receive descriptors, the other end of the cable."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    near.setblocking(False)
    cable = Cable()
    cable.native_fd = near.fileno()
    with near, far, Kvm() as kvm, GuestMemory(1 << 18) as memory, Vm(kvm, memory) as vm:
        guest = Guest(vm)
        bench = Bench(memory, engine=NativeEngine, cable=cable, doorbells=vm.doorbells)
        vm.set_native_ranges(
            lib.PK_MMIO, [(WINDOW, WINDOW + 0x1FFFF, 1, 4, *bench.card.answers[0])]
        )
        with bench.card.engine:
            bench.card.engine.place(WINDOW)
        bench.start(tx=RING, rx=RING)
        for n in range(RING):
            memory.write(RX_RING + n * 16, struct.pack("<QQ", BUFFER, 0))
        try:
            yield guest, bench, far
        finally:
            bench.card.close()
            del bench.card
            gc.collect()  # the card and its surroundings hold each other


def eventually(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.001)


def test_more_receive_descriptors_are_no_exit_while_there_are_some(wired):
    guest, bench, far = wired
    eventually(lambda: guest.write(RDT, RING - 2) == 0)
    far.send(bytes(SIZE) + frame(60))
    eventually(lambda: bench.read("RDH") == 1)
    assert guest.write(RDT, 0) == 0
    assert bench.read("RDT") == 0  # whoever leaves the guest hands over what was collected


def test_descriptors_that_frames_wait_for_come_whichever_way_they_are_rung(wired):
    guest, bench, far = wired
    head = 0
    for turn in range(40):
        for _ in range(RING - 1):
            far.send(bytes(SIZE) + frame(60))
        head = (head + RING - 1) % RING
        eventually(lambda head=head: bench.read("RDH") == head)
        far.send(bytes(SIZE) + frame(60))
        if turn % 4 == 3:  # until the card no longer looks by itself
            eventually(lambda head=head: guest.write(RDT, head) == 1)
        head = (head + 1) % RING
        guest.write(RDT, head)
        eventually(lambda head=head: bench.read("RDH") == head)
        guest.write(RDT, (head - 1) % RING)


@pytest.mark.parametrize("pause", [0, 0.0005, 0.005, 0.05])
def test_frames_leave_however_long_the_guest_pauses_between_bursts(wired, pause):
    guest, bench, far = wired
    far.settimeout(PATIENCE)
    bench.memory.write(TX_BUFFERS, frame(60))
    row = struct.pack("<QHBBBBH", TX_BUFFERS, 60, 0, 0x0B, 0, 0, 0)
    bench.memory.write(TX_RING, row * RING)
    tail = 0
    for burst in (1, 40, 40, 1, 40):
        for _ in range(burst):
            tail = (tail + 1) % RING
            guest.write(TDT, tail)
            assert far.recv(4096)[SIZE:] == frame(60)
        time.sleep(pause)


def test_after_a_reset_the_ring_works_whether_its_tail_or_the_receiver_comes_first(wired):
    guest, bench, far = wired
    for first in ("tail", "receiver"):
        eventually(lambda: guest.write(RDT, RING - 2) == 0)
        bench.write("CTRL", 1 << 26)
        bench.write("RDBAL", RX_RING)
        bench.write("RDLEN", RING * 16)
        if first == "tail":
            guest.write(RDT, RING - 1)
        bench.write("RCTL", 0x2 | 1 << 15 | 1 << 26)
        if first == "receiver":
            time.sleep(0.01)
            guest.write(RDT, RING - 1)
        far.send(bytes(SIZE) + frame(60))
        eventually(lambda: bench.read("RDH") == 1)
