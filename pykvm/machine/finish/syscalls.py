"""Calls of the guest's kernel that KVM leaves half done, finished by way of the faults they end in.

Where KVM is software, SYSCALL from ring 3 loads RIP, RCX, R11 and RFLAGS but not the ring, so the
guest takes a page fault on its kernel's first instruction; and INT n from ring 3 is an invalid
opcode. Both faults are met on the first instruction of their handlers, at breakpoints that the
guest does not see, and become what the program has asked for. Every other fault of these two kinds
is left alone; it costs two exits more.

The gates are those that the IDT has when the guest writes LSTAR, with which it starts to take
calls. Breakpoints of the guest's own do not work meanwhile; SYSENTER is not finished.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

from pykvm.errors import GuestMemoryError
from pykvm.kvm.abi import lib
from pykvm.kvm.vcpu import Vcpu
from pykvm.machine.cpu import SFMASK, STAR
from pykvm.machine.finish.fault import PF, UD, CannotFinish, Fault
from pykvm.machine.finish.paging import Access, translate
from pykvm.machine.finish.state import AC, pieces
from pykvm.memory import GuestMemory

_GATE = struct.Struct("<HHBBHII")  # SDM volume 3, figure 6-8
_INTERRUPT_GATE = 0xE
_FRAME = struct.Struct("<5Q")  # RIP, CS, RFLAGS, RSP, SS (SDM volume 3, figure 6-9)
_FETCH_BY_USER = 0x14  # bits of a page fault's error code
_INT = 0xCD
_RF = 1 << 16
_ALL = (1 << 64) - 1


class _Gate(NamedTuple):
    """What an exception or INT n goes through: where to, on which stack, who may."""

    offset: int
    selector: int
    stack: int
    kind: int
    dpl: int
    present: bool


class SystemCalls:
    """Those of one vCPU, in its thread."""

    def __init__(self, vcpu: Vcpu, memory: GuestMemory) -> None:
        self._vcpu = vcpu
        self._memory = memory
        self._entry = 0
        self._handlers: dict[int, int] = {}  # address to vector
        self._stepping = False

    def starts_at(self, entry: int) -> None:
        """The guest writes LSTAR: it takes system calls there from now on."""
        self._entry = entry
        sregs = self._vcpu.get_sregs()
        try:
            self._handlers = {self._gate(sregs, vector).offset: vector for vector in (PF, UD)}
        except (Fault, CannotFinish, GuestMemoryError):
            self._handlers = {}  # it has no IDT yet; a fault will not become a call
        self._watch()

    def stopped(self) -> str | None:
        """The vCPU stopped at a breakpoint: what was finished there, "" if it only has to go on,
        None if the breakpoint is none of ours."""
        if self._stepping:
            self._stepping = False
            self._watch()
            return ""
        regs, sregs = self._vcpu.get_regs(), self._vcpu.get_sregs()
        vector = self._handlers.get(regs.rip)
        if vector is None:
            return None
        finish = self._syscall if vector == PF else self._interrupt
        try:
            done = finish(regs, sregs)
        except (Fault, CannotFinish, GuestMemoryError):
            done = ""  # the guest's stack or tables are no good: its own affair
        if not done:
            self._stepping = True
            self._vcpu.set_guest_debug(lib.KVM_GUESTDBG_ENABLE | lib.KVM_GUESTDBG_SINGLESTEP)
        return done

    def _watch(self) -> None:
        control = lib.KVM_GUESTDBG_ENABLE | lib.KVM_GUESTDBG_USE_HW_BP
        self._vcpu.set_guest_debug(control if self._handlers else 0, self._handlers)

    def _syscall(self, regs: Any, sregs: Any) -> str:
        """SYSCALL (SDM volume 2): the ring and the segments that KVM has not loaded."""
        (error,) = struct.unpack("<Q", self._read(sregs, regs.rsp, 8))
        rip, code, flags, rsp, _ = _FRAME.unpack(self._read(sregs, regs.rsp + 8, _FRAME.size))
        flags &= ~_RF  # set by the fault
        if rip != self._entry or code & 3 != 3 or error & _FETCH_BY_USER != _FETCH_BY_USER:
            return ""
        if flags & self._msr(SFMASK):  # a program that has jumped there, with interrupts on
            return ""
        code = self._msr(STAR) >> 32 & 0xFFFC
        stack = code + 8 & 0xFFFF
        for segment, selector, kind in ((sregs.cs, code, 0xB), (sregs.ss, stack, 0x3)):
            segment.selector, segment.type, segment.base = selector, kind, 0
            segment.limit = 0xFFFF_FFFF
            segment.present = segment.s = segment.g = 1
            segment.dpl = segment.unusable = 0
        sregs.cs.l, sregs.cs.db, sregs.ss.l, sregs.ss.db = 1, 0, 0, 1
        regs.rip, regs.rsp, regs.rflags = rip, rsp, flags
        self._vcpu.set_sregs(sregs)
        self._vcpu.set_regs(regs)
        return "syscall"

    def _interrupt(self, regs: Any, sregs: Any) -> str:
        """INT n: the frame is there, but for the RIP in it, if both gates lead to one stack."""
        rip, code, *_ = _FRAME.unpack(self._read(sregs, regs.rsp, _FRAME.size))
        opcode, vector = self._read(sregs, rip, 2)
        if code & 3 != 3 or opcode != _INT:
            return ""
        gate, taken = self._gate(sregs, vector), self._gate(sregs, UD)
        allowed = gate.present and gate.dpl == 3 and gate.kind == _INTERRUPT_GATE
        if not allowed or (gate.selector, gate.stack) != (taken.selector, taken.stack):
            return ""
        self._write(sregs, regs.rsp, struct.pack("<Q", rip + 2 & _ALL))
        regs.rip = gate.offset
        self._vcpu.set_regs(regs)
        return "int"

    def _gate(self, sregs: Any, vector: int) -> _Gate:
        at = vector * _GATE.size
        if at + _GATE.size - 1 > sregs.idt.limit:
            raise CannotFinish("the IDT ends before the vector")
        low, selector, stack, kind, middle, high, _ = _GATE.unpack(
            self._read(sregs, sregs.idt.base + at, _GATE.size)
        )
        offset = low | middle << 16 | high << 32
        return _Gate(offset, selector, stack & 7, kind & 0xF, kind >> 5 & 3, bool(kind & 0x80))

    def _msr(self, index: int) -> int:
        return self._vcpu.get_msr(index) or 0

    def _read(self, sregs: Any, linear: int, size: int) -> bytes:
        """Memory as ring 0 sees it, the program's too."""
        return b"".join(
            self._memory.read(self._physical(sregs, at, write=False), length)
            for at, length in pieces(linear, size)
        )

    def _write(self, sregs: Any, linear: int, data: bytes) -> None:
        for at, length in pieces(linear, len(data)):
            part, data = data[:length], data[length:]
            self._memory.write(self._physical(sregs, at, write=True), part)

    def _physical(self, sregs: Any, linear: int, *, write: bool) -> int:
        return translate(self._memory, sregs, AC, linear, Access(write, user=False))
