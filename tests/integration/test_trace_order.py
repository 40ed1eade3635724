"""The order of events: causes before effects, and times that never run back."""

from itertools import pairwise
from pathlib import Path

import pytest

from pykvm.boot.plan import Mode
from pykvm.machine import Config, Machine, Outcome
from pykvm.machine.config import NicConfig
from pykvm.trace.events import DeviceEvent, ExitEvent, IrqEvent
from pykvm.trace.recorder import Tracer
from tests.support.device import Register

pytestmark = pytest.mark.kvm

BUILD = Path(__file__).parents[2] / "guest" / "build"
PORT, IRQ = 0x300, 5
ENOUGH = 500
RUNNABLE = 0  # KVM_MP_STATE_RUNNABLE
# mov dx, 0x300; again: inc al; out dx, al; in al, dx; jmp again
RING = bytes.fromhex("ba0003 fec0 ee ec ebfa")
# the same with 8 elements at a time: mov si, 0x2000; cld; again: mov cx, 8; rep outsb; jmp again
STRING = bytes.fromhex("ba0003 be0020 fc b90800 f36e ebf9")


class Kept:
    """A sink that keeps all."""

    def __init__(self, wants_code):
        self.wants_code, self.events = wants_code, []

    def event(self, event):
        self.events.append(event)

    def close(self):
        """Nothing is held open."""


def real(image):
    return Config(
        image=str(image), mode=Mode.REAL, load_address=0x1000, memory=1 << 20, serial="null",
        timeout=60,
    )  # fmt: skip


def traced(config, add=lambda m: None, *, prepare=lambda m: None, wants_code=False):
    """The events of a run, whose times never run back."""
    kept, tracer = Kept(wants_code), Tracer(warn=print)
    tracer.add(kept)
    with Machine(config, tracer=tracer, add=add) as machine:
        prepare(machine)
        machine.run()
    tracer.close()
    assert all(one.time_ns <= other.time_ns for one, other in pairwise(kept.events))
    return kept.events


def doorbell(machine):
    """A device that pulses its line for each write, and a timer that tells something meanwhile."""
    line, tell, rings = machine.irq("doorbell", IRQ), machine.teller("doorbell"), []

    def ring(value):
        tell("rung", {"value": value})
        line.set(True)
        line.set(False)
        rings.append(value)
        if len(rings) == ENOUGH:
            machine.stop(Outcome("enough"))

    def tick():
        machine.teller("clock")("tick", {})
        machine.loop.call_at(machine.loop.now_ns() + 50_000, tick)

    machine.board.plug(machine.board.pio, PORT, 1, Register("doorbell", ring))
    tick()


@pytest.mark.parametrize("wants_code", [False, True], ids=["counts", "code"])
@pytest.mark.parametrize("code", [RING, STRING], ids=["bytes", "strings"])
def test_an_exit_comes_before_what_answering_it_made_happen(tmp_path, code, wants_code):
    image = tmp_path / "guest.bin"
    image.write_bytes(code)
    events = traced(real(image), doorbell, wants_code=wants_code)
    causes, told, raised = 0, 0, 0
    for event in events:
        match event:
            case ExitEvent(write=True):
                causes += event.count
            case DeviceEvent(device="doorbell"):
                told += 1
            case IrqEvent(level=True):
                raised += 1
        assert causes >= told >= raised
        if code is RING:
            assert causes - 1 <= raised  # and no later than with the next exit
    assert raised == ENOUGH
    assert any(event.device == "clock" for event in events)


def wake_second(machine):
    """The second vCPU does what the first does, without being asked by it."""
    first, second = (thread.vcpu for thread in machine.threads)
    second.set_sregs(first.get_sregs())
    second.set_regs(first.get_regs())
    second.set_mp_state(RUNNABLE)


def test_the_times_of_two_vcpus_never_run_back(tmp_path):
    image = tmp_path / "guest.bin"
    image.write_bytes(RING)
    events = traced(real(image).replace(cpus=2), doorbell, prepare=wake_second)
    assert {event.vcpu for event in events if isinstance(event, ExitEvent)} == {0, 1}


def test_a_card_s_frames_come_after_the_doorbell(tmp_path):
    config = Config(
        image=str(BUILD / "e1000_stream.elf"), append="frames=50 size=100", serial="null",
        timeout=60, nics=(NicConfig(model="e1000"),),
    )  # fmt: skip
    rung, sent = 0, 0
    for event in traced(config):
        register = getattr(event, "register", None)
        rung = event.value if register is not None and register.name == "TDT" else rung
        sent += isinstance(event, DeviceEvent) and event.what == "sent"
        assert sent <= rung
    assert sent == 50
