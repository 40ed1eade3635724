"""Registers of a vCPU that runs, read by another thread."""

import threading
import time

import pytest

from pykvm.boot.plan import Mode
from pykvm.errors import MachineError
from pykvm.machine import Config, Machine, Outcome
from tests.support.device import Register

pytestmark = pytest.mark.kvm

PATIENCE = 60
ENTRY, DOORBELL = 0x1000, 0x300
LOAD = b"\xb8\x34\x12\xb9\x78\x56"  # mov ax, 0x1234; mov cx, 0x5678
RING = b"\xba\x00\x03\xee"  # mov dx, 0x300; out dx, al
SPIN, SLEEP, AGAIN = b"\xeb\xfe", b"\xfb\xf4\xeb\xfc", b"\xeb\xfd"


@pytest.fixture
def running(tmp_path):
    """Starts a guest in a thread of its own; ``add`` plugs in."""
    machines, threads = [], []

    def start(code, add=None, **options):
        image = tmp_path / "guest.bin"
        image.write_bytes(code)
        config = Config(
            image=str(image), mode=Mode.REAL, load_address=ENTRY, memory=1 << 20, serial="null",
            **options,
        )  # fmt: skip
        machine = Machine(config, add=add)
        machines.append(machine)
        threads.append(threading.Thread(target=machine.run))
        threads[-1].start()
        return machine

    yield start
    for machine in machines:
        machine.close()
    for thread in threads:
        thread.join(PATIENCE)


def eventually(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.001)


@pytest.mark.parametrize(
    "rest", [SPIN, SLEEP, RING + AGAIN], ids=["spins", "sleeps", "exits all the time"]
)
def test_registers_of_a_guest_that_runs_are_read_and_it_runs_on(running, rest):
    machine = running(LOAD + rest)
    vcpu = machine.vcpu(0)
    eventually(lambda: vcpu.registers()["rcx"] == 0x5678)
    for _ in range(200):
        found = vcpu.registers()
        assert (found["rax"], found["rcx"]) == (0x1234, 0x5678)
        assert ENTRY + len(LOAD) <= found["rip"] <= ENTRY + len(LOAD + rest)
    assert machine.outcome is None


def test_each_vcpu_answers_for_itself_and_many_may_ask_at_once(running):
    machine, answers = running(LOAD + SPIN, cpus=2), []
    eventually(lambda: machine.vcpu(0).registers()["rcx"] == 0x5678)

    def ask():
        for number in (0, 1) * 20:
            answers.append((number, machine.vcpu(number).ask(lambda vcpu: vcpu.number)))

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join(PATIENCE)
    assert len(answers) == 160
    assert all(number == answer for number, answer in answers)


def test_a_write_from_outside_is_seen_by_the_guest(running):
    seen = threading.Event()

    def add(machine):
        device = Register("doorbell", lambda value: value == 0x99 and seen.set())
        machine.board.plug(machine.board.pio, DOORBELL, 1, device)

    machine = running(LOAD + RING + AGAIN, add)
    eventually(lambda: machine.vcpu(0).registers()["rdx"] == DOORBELL)

    def change(vcpu):
        regs = vcpu.get_regs()
        regs.rax = 0x99
        vcpu.set_regs(regs)

    machine.vcpu(0).ask(change)
    assert seen.wait(PATIENCE)


def test_the_bare_accessors_raise_in_the_wrong_thread_and_work_before_and_after(running):
    machine = running(LOAD + SPIN)
    vcpu = machine.vcpu(0).vcpu
    eventually(lambda: machine.vcpu(0).registers()["rcx"] == 0x5678)
    for access in (
        vcpu.get_regs, vcpu.get_sregs, vcpu.get_xsave, vcpu.get_xcr0, vcpu.get_events,
        vcpu.mp_state, vcpu.tsc_khz, vcpu.registers, lambda: vcpu.get_msr(0x10),
        lambda: vcpu.translate(0), lambda: vcpu.set_guest_debug(0),
    ):  # fmt: skip
        with pytest.raises(MachineError, match=r"vCPU 0 runs in another thread: .*\.ask"):
            access()
    machine.stop(Outcome("enough"))
    eventually(lambda: not vcpu.native.tid)
    assert vcpu.registers()["rcx"] == 0x5678
    machine.close()
    for access in (vcpu.registers, vcpu.attach):
        with pytest.raises(MachineError, match="vCPU 0 is closed"):
            access()


def test_before_the_run_registers_are_those_that_the_guest_will_start_with(tmp_path):
    image = tmp_path / "guest.bin"
    image.write_bytes(SPIN)
    config = Config(image=str(image), mode=Mode.REAL, load_address=ENTRY, timeout=0.1)
    with Machine(config) as machine:
        assert machine.vcpu(0).registers()["rip"] == ENTRY
        machine.run()
        with pytest.raises(MachineError, match="vCPU 0 has ended"):
            machine.vcpu(0).registers()


def test_a_vcpu_whose_device_waits_is_busy_and_says_so(running):
    go_on, waits = threading.Event(), threading.Event()

    def wait(value):
        waits.set()
        go_on.wait(PATIENCE)

    def add(machine):
        machine.board.plug(machine.board.pio, DOORBELL, 1, Register("doorbell", wait))

    machine = running(LOAD + RING + SPIN, add)
    assert waits.wait(PATIENCE)
    with pytest.raises(MachineError, match="vCPU 0 is busy with an exit"):
        machine.vcpu(0).ask(lambda vcpu: vcpu.number, seconds=0.05)
    go_on.set()
    assert machine.vcpu(0).ask(lambda vcpu: vcpu.number, seconds=PATIENCE) == 0


def test_a_device_may_read_the_registers_of_the_vcpu_that_calls_it(running):
    found = []

    def add(machine):
        device = Register("doorbell", lambda value: found.append(machine.vcpu(0).registers()))
        machine.board.plug(machine.board.pio, DOORBELL, 1, device)

    running(LOAD + RING + SPIN, add)
    eventually(lambda: found)
    assert found[0]["rcx"] == 0x5678
