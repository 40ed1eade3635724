"""A machine can be left at any moment, from anywhere: nothing crashes, and nothing is left."""

import gc
import os
import random
import re
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from pykvm.errors import MachineError
from pykvm.machine import Config, Machine, Outcome
from pykvm.machine.config import DiskConfig, NicConfig
from tests.support.device import Register

pytestmark = pytest.mark.kvm

BUILD = Path(__file__).parents[2] / "guest" / "build"
PATIENCE = 60
MACHINES = int(os.environ.get("PYKVM_LIFE_MACHINES", "1000"))  # half a minute on two processors
DOORBELL = 0x300
SPIN = b"\xeb\xfe"  # jmp $
RING_AND_SPIN = b"\xba\x00\x03\xee" + SPIN  # mov dx, 0x300; out dx, al
RING_FOR_EVER = b"\xba\x00\x03\xee\xeb\xfd"  # the same, but jumps to the OUT
CLOSED = Outcome("the machine was closed", status=130)


@pytest.fixture
def code(tmp_path):
    def image(data):
        path = tmp_path / f"{data.hex()}.bin"
        path.write_bytes(data)
        return Config(image=str(path), load_address=0x1000, memory=1 << 20, serial="null")

    return image


@pytest.fixture(autouse=True)
def _nothing_hangs(request):
    """What would wait for ever ends the test run with every thread's traceback instead."""
    import faulthandler

    faulthandler.dump_traceback_later(max(600, MACHINES), exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


def real(config):
    from pykvm.boot.plan import Mode

    return config.replace(mode=Mode.REAL)


class Runner(threading.Thread):
    """Runs a machine in a thread of its own, as an application does."""

    def __init__(self, machine):
        super().__init__(daemon=True)
        self.machine, self.result = machine, None
        self.start()

    def run(self):
        try:
            self.result = self.machine.run()
        except MachineError as error:
            self.result = error

    def wait(self):
        self.join(PATIENCE)
        assert not self.is_alive(), "run() did not return"
        return self.result


def plugged(write):
    """An ``add`` that puts a device behind the doorbell; ``write(machine)`` is what it does."""

    def add(machine):
        device = Register("doorbell", lambda value: write(machine))
        machine.board.plug(machine.board.pio, DOORBELL, 1, device)

    return add


def eventually(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.001)


@pytest.mark.parametrize("guest", [SPIN, RING_FOR_EVER], ids=["spins", "exits"])
def test_a_machine_can_be_left_while_another_thread_runs_it(code, guest):
    with Machine(real(code(guest))) as machine:
        runner = Runner(machine)
        eventually(lambda: machine.threads[0].cpu_seconds() > 0)
    assert runner.wait() == CLOSED


def test_close_before_run_and_run_after_close(code):
    machine = Machine(real(code(SPIN)))
    machine.close()
    machine.close()
    with pytest.raises(MachineError, match="closed"):
        machine.run()


def test_a_machine_runs_once(code):
    with Machine(real(code(SPIN)).replace(timeout=0.1)) as machine:
        assert machine.run().reason == "timeout"
        with pytest.raises(MachineError, match="once"):
            machine.run()


def test_a_machine_that_runs_is_not_run_by_another_thread(code):
    with Machine(real(code(SPIN))) as machine:
        runner = Runner(machine)
        eventually(lambda: machine.threads[0].cpu_seconds() > 0)
        with pytest.raises(MachineError, match="once"):
            machine.run()
        assert runner.is_alive()


def test_many_threads_may_close_at_once_and_each_returns_when_it_is_done(code):
    machine = Machine(real(code(SPIN)))
    runner = Runner(machine)
    gone = []

    def close():
        machine.close()
        gone.append(machine.vm.fd)

    closers = [threading.Thread(target=close) for _ in range(8)]
    for closer in closers:
        closer.start()
    for closer in closers:
        closer.join(PATIENCE)
    assert gone == [-1] * 8
    assert runner.wait() is not None


def test_a_device_may_close_the_machine_that_calls_it(code):
    with Machine(real(code(RING_AND_SPIN)), add=plugged(Machine.close)) as machine:
        assert machine.run() == CLOSED
    assert machine.vm.fd == -1


def test_a_callback_of_the_event_loop_may_close_the_machine(code):
    def add(machine):
        machine.loop.call_at(machine.loop.now_ns() + 20_000_000, machine.close)

    with Machine(real(code(SPIN)), add=add) as machine:
        assert machine.run() == CLOSED
    assert machine.vm.fd == -1


def test_a_callback_may_close_a_machine_that_nobody_runs(code):
    closed = threading.Event()

    def close(machine):
        machine.close()
        closed.set()

    machine = Machine(
        real(code(SPIN)), add=lambda machine: machine.loop.call_at(0, lambda: close(machine))
    )
    assert closed.wait(PATIENCE)
    machine.close()  # waits for the one that the callback began
    assert machine.vm.fd == -1


def test_a_machine_closed_while_it_is_built_cannot_run(code):
    machine = Machine(real(code(SPIN)), add=Machine.close)
    with machine, pytest.raises(MachineError, match="closed"):
        machine.run()
    assert machine.vm.fd == -1


def test_a_vcpu_thread_that_cannot_start_ends_the_others(code, monkeypatch):
    with Machine(real(code(SPIN)).replace(cpus=2)) as machine:

        def fail():
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(machine.threads[1], "start", fail)
        with pytest.raises(RuntimeError, match="new thread"):
            machine.run()
        assert not any("vcpu" in thread.name for thread in threading.enumerate())


def test_a_closed_machine_drives_no_line(code):
    """Its descriptors may be another machine's by now."""
    machine = Machine(real(code(SPIN)))
    machine.close()
    for act in (machine.press_power_button, lambda: machine.set_cables(False)):
        with pytest.raises(MachineError, match="closed"):
            act()
    machine.stop(Outcome("too late"))
    assert machine.outcome == CLOSED


def in_python(code, program):
    """Run ``program`` in a Python of its own; ``IMAGE`` is a guest that spins."""
    head = f"""
    import os, signal, threading, time
    from pykvm.boot.plan import Mode
    from pykvm.machine import Config, Machine
    config = Config(image={code(SPIN).image!r}, mode=Mode.REAL, load_address=0x1000,
                    memory=1 << 20, serial="null")
    """
    source = textwrap.dedent(head) + textwrap.dedent(program)
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", source],
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip


def test_a_signal_handler_may_close_the_machine_that_its_thread_runs(code):
    done = in_python(
        code,
        """
    with Machine(config) as machine:
        signal.signal(signal.SIGALRM, lambda *_: machine.close())
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        print(machine.run().reason)
    print(machine.vm.fd)
    """,
    )
    assert (done.returncode, done.stdout) == (0, "the machine was closed\n-1\n"), done.stderr


def test_ctrl_c_ends_the_run_by_an_exception_and_nothing_runs_on(code):
    done = in_python(
        code,
        """
    import random
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    for attempt in range(200):
        machine = Machine(config)
        try:
            signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0001, 0.004))
            with machine:
                machine.run()
        except KeyboardInterrupt:
            pass
        machine.close()  # where it was cut short it goes on
        assert machine.vm.fd == -1
    print(threading.active_count())
    """,
    )
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


def test_python_may_end_while_a_thread_runs_a_machine(code):
    done = in_python(
        code,
        """
    machine = Machine(config)
    threading.Thread(target=machine.run, daemon=True).start()
    while not machine.threads[0].cpu_seconds():
        time.sleep(0.001)
    """,
    )
    assert done.returncode == 0, done.stderr


# -- a thousand ----------------------------------------------------------------------------------


def kinds(disk, code):
    """Machines with one or two vCPUs and every card; a disk belongs to one at a time."""
    disk.write_bytes(bytes(1 << 20))

    def guest(name, append="", **parts):
        return Config(
            image=str(BUILD / name), memory=16 << 20, serial="null", append=append, **parts
        )

    def nic(model, **options):
        return (NicConfig(model=model, **options),)

    smp = guest("smp.elf").replace(cpus=2)
    stream = "mode=tx frames=1000000 size=200"
    return [
        real(code(SPIN)),
        real(code(RING_FOR_EVER)),
        real(code(b"\xf4")),  # hlt
        smp,
        guest("e1000_stream.elf", stream, nics=nic("e1000", backend="null")),
        guest("e1000_stream.elf", stream, nics=nic("e1000", backend="loopback"), cpus=2),
        guest("virtio_net_stream.elf", stream, nics=nic("virtio-net", backend="null")),
        guest("virtio_net_stream.elf", stream, nics=nic("virtio-net", backend="loopback")),
        guest("virtio_blk_journal.elf", "mode=both writes=100000",
              disks=(DiskConfig(path=str(disk)),)),
    ]  # fmt: skip


def leave_at_random(configs, numbers, seed):
    """Make, run and leave a machine for each number."""
    chance = random.Random(seed)
    for _ in numbers:
        config = chance.choice(configs)
        moment = chance.choice([0, chance.uniform(0, 0.002), chance.uniform(0, 0.03)])
        way = chance.choice(["leave", "close twice", "vcpu", "loop", "not run", "stop"])
        add = plugged(Machine.close if way == "vcpu" else lambda machine: None)
        with Machine(config, add=add) as machine:
            if way == "not run":
                continue
            if way == "loop":
                after = machine.loop.now_ns() + int(moment * 1e9)
                machine.loop.call_at(after, machine.close)
            runner = Runner(machine)
            time.sleep(moment)
            if way == "close twice":
                threading.Thread(target=machine.close).start()
                machine.close()
            if way == "stop":
                machine.stop(Outcome("enough"))
        assert isinstance(runner.wait(), Outcome | MachineError)
        assert machine.vm.fd == -1


def everything():
    """What the process has: descriptors, threads, mappings."""
    gc.collect()
    maps = Path("/proc/self/maps").read_text()
    return {
        "descriptors": {fd: os.readlink(f"/proc/self/fd/{fd}") for fd in fds()},
        "threads": len(os.listdir("/proc/self/task")),
        "vCPUs mapped": len(re.findall("kvm-vcpu", maps)),
        "mappings": maps.count("\n"),
    }


def fds():
    found = os.listdir("/proc/self/fd")
    return [fd for fd in found if os.path.lexists(f"/proc/self/fd/{fd}")]


def test_machines_started_and_left_at_random_moments_leave_nothing(tmp_path, code):
    configs = [kinds(tmp_path / f"disk{n}.img", code) for n in range(4)]
    failures = []

    def work(seed, count):
        try:
            leave_at_random(configs[seed % 4], range(count), seed)
        except BaseException as error:
            failures.append(error)
            raise

    def in_threads(first_seed, count):
        threads = [
            threading.Thread(target=work, args=(first_seed + n, count // 4)) for n in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    in_threads(0, 40)  # modules, stacks and arenas that stay with the process
    before = everything()
    in_threads(100, MACHINES)
    after = everything()
    assert not failures
    mappings = after.pop("mappings") - before.pop("mappings")
    assert after == before
    assert mappings < MACHINES / 4  # malloc's own come and go; a machine has at least three
