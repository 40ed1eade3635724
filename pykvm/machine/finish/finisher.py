"""KVM could not emulate an instruction: finish it, and let the guest go on.

Happens on any host for what KVM's emulator does not know, an AVX access to a device for one; and
all the time where KVM is software and emulates ring 0 instruction by instruction. int3 and int n
become events, the simple ones are done here, the rest by the Unicorn engine if it is installed.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from pykvm.bus import Bus
from pykvm.errors import GuestMemoryError
from pykvm.kvm.vcpu import Vcpu
from pykvm.machine.finish import events
from pykvm.machine.finish.direct import DIRECT
from pykvm.machine.finish.engine import Engine
from pykvm.machine.finish.fault import UD, CannotFinish, Fault
from pykvm.machine.finish.paging import Access, translate
from pykvm.machine.finish.state import Mmio, Quirk, State, as_it_is, pieces
from pykvm.memory import GuestMemory

_LONGEST = 15  # bytes in an x86 instruction (Intel SDM volume 2, 2.3.11)
_EVENTS = {"int3": events.breakpoint_trap, "int": events.software_interrupt}


class Finished(NamedTuple):
    """What was done, for the statistics: by which means, which instruction."""

    how: str  # "event", "direct", "unicorn"; "fault" when it ended in an exception
    mnemonic: str


class Finisher:
    """Finishes the instructions of one vCPU, in its thread.

    ``mmio`` reaches the devices on ``bus``, ``stack_base`` is a quirk of KVM's that is asked for
    when it matters. ``why`` says, after a failure, what would have helped.
    """

    def __init__(
        self, vcpu: Vcpu, memory: GuestMemory, bus: Bus, mmio: Mmio, stack_base: Quirk = as_it_is
    ) -> None:
        self.why = ""
        self._vcpu = vcpu
        self._memory = memory
        self._bus = bus
        self._mmio = mmio
        self._stack_base = stack_base
        self._engine: Engine | None = None

    def finish(self) -> Finished | None:
        """Finish the instruction at RIP; None when nobody here can, and nothing has changed."""
        state = State(self._vcpu, self._memory, self._bus, self._mmio, self._stack_base)
        try:
            insn = decode(_code(state), state.regs.rip, state.bits)
            try:
                if insn is None:
                    raise CannotFinish("the bytes at RIP are no instruction")
                return self._finish(state, insn)
            except CannotFinish:
                if not state.user:
                    raise
                raise Fault(UD) from None  # what KVM itself does to ring 3
        except Fault as fault:
            events.inject(state, fault)
            return Finished("fault", f"vector {fault.vector}")
        except CannotFinish as reason:
            self.why = str(reason)
        except GuestMemoryError as error:
            self.why = str(error)
        return None

    def _finish(self, state: State, insn: Any) -> Finished:
        mnemonic = insn.mnemonic.split()[-1]
        event, direct = _EVENTS.get(mnemonic), DIRECT.get(mnemonic)
        if event is not None:
            event(state, insn)
            return Finished("event", mnemonic)
        if direct is not None:
            to = direct(state, insn)
            state.commit(state.regs.rip + insn.size if to is None else to)
            return Finished("direct", mnemonic)
        if self._engine is None:
            self._engine = Engine(self._memory)
        state.commit(self._engine.run(state, insn))
        return Finished("unicorn", mnemonic)


def _code(state: State) -> bytes:
    """The bytes at RIP, as many as an instruction can have and as are mapped."""
    linear = state.regs.rip if state.long else state.sregs.cs.base + state.regs.rip
    access = Access(write=False, user=False)  # KVM has fetched it: it may be executed
    rflags = state.regs.rflags | 1 << 18
    code = b""
    for at, length in pieces(linear, _LONGEST):
        try:
            physical = translate(state.memory, state.sregs, rflags, at, access)
            code += state.memory.read(physical, length)
        except (Fault, GuestMemoryError):
            break
    return code


@lru_cache(maxsize=3)
def _decoder(bits: int) -> Any:
    import capstone

    modes = {16: capstone.CS_MODE_16, 32: capstone.CS_MODE_32, 64: capstone.CS_MODE_64}
    decoder = capstone.Cs(capstone.CS_ARCH_X86, modes[bits])
    decoder.detail = True
    return decoder


@lru_cache(maxsize=1024)
def decode(code: bytes, rip: int, bits: int) -> Any:
    """The instruction that ``code`` starts with, or None; also where capstone stumbles over it."""
    import capstone

    try:
        return next(_decoder(bits).disasm(code, rip, 1), None)
    except capstone.CsError:
        return None
