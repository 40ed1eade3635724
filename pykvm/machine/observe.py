"""From an exit to an event: what a vCPU just did, in the terms that traces and statistics use.

Only a machine that somebody watches has an Observer. Where it is traced the native side answers
nothing by itself, so that every exit passes here; where exits are only counted it does what it
always does, and counts that.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pykvm.bus import Range
from pykvm.errors import GuestMemoryError
from pykvm.kvm.abi import exit_names, ffi, lib
from pykvm.kvm.vcpu import GENERAL, Vcpu
from pykvm.machine.irq import GsiLine
from pykvm.memory import GuestMemory
from pykvm.trace.events import FINISHED, Code, DeviceEvent, ExitEvent, IrqEvent

if TYPE_CHECKING:
    from pykvm.machine.machine import Machine
    from pykvm.machine.vcpu_thread import VcpuThread
    from pykvm.trace.recorder import Tracer

_GENERAL = struct.Struct("=18Q")  # struct kvm_regs
_AROUND = 15  # bytes: the longest x86 instruction
_PAGE = 4096
_EFER_LMA = 1 << 10
_CR0_PG = 1 << 31


class Observer:
    """Turns exits into ExitEvents for ``tracer``; called by each vCPU's thread."""

    def __init__(self, machine: Machine, tracer: Tracer) -> None:
        self.machine = machine
        self.tracer = tracer
        self.answered: dict[int, Any] = {}
        """What C has answered by itself, and counted: vCPU number -> struct pk_access_counts."""
        self._out_is_past: bool | None = None  # how this KVM reports RIP at an OUT

    def attach(self, thread: VcpuThread) -> None:
        """Start to observe a vCPU; by its own thread, before it first runs."""
        native = thread.vcpu.native
        native.timed = 1
        if self.tracer.inside:
            native.observe = 1
        else:
            counts = ffi.gc(lib.pk_access_counts_new(), lib.pk_access_counts_free)
            if counts == ffi.NULL:
                raise MemoryError("no memory to count exits in")
            native.counts = self.answered[thread.vcpu.number] = counts
        thread.vcpu.sync_regs(self.tracer.wants_code)

    def begin(self, thread: VcpuThread) -> None:
        """The vCPU has left the guest: what happens from now on may be this exit's doing."""
        with self.machine.lock:
            thread.exited_at = time.monotonic_ns() - self.machine.started_ns
            self.tracer.begin(thread.vcpu.number, thread.exited_at)

    def forget(self, thread: VcpuThread) -> None:
        """The vCPU has ended: of what it was at, nothing more is told."""
        with self.machine.lock:
            self.tracer.end(thread.vcpu.number)

    def exit(self, thread: VcpuThread, number: int, reply: int) -> None:
        """Report the exit that was just answered (``number`` as pk_vcpu_run returned it)."""
        now = time.monotonic_ns()
        vcpu = thread.vcpu
        native = vcpu.native
        recent = native.recent[(native.exits - 1) % lib.PK_RECENT]
        touches = recent.size > 0
        claimed = self._claimed(number, recent) if touches else None
        write = bool(recent.write)
        value = int(recent.value) if write else reply
        if number < 0 and touches:
            value = _last_value(vcpu)
        offset = recent.address - claimed.base if claimed else 0
        code = self._code(thread, recent, reply) if self.tracer.wants_code else None
        reason, device = exit_names().get(recent.reason, f"reason {recent.reason}"), None
        detail = ""
        finished, thread.finished = thread.finished, None
        if finished is not None:
            reason, device, detail = FINISHED, finished.how, finished.mnemonic
        register = None
        if claimed is not None:
            with self.machine.lock:  # other vCPUs may be selecting another bank
                bank = claimed.device.bank
            register = claimed.device.registers.lookup(offset, write, bank)
        event = ExitEvent(
            time_ns=thread.exited_at,
            vcpu=vcpu.number,
            reason=reason,
            address=recent.address if touches else None,
            size=recent.size,
            count=recent.count or 1,
            write=write,
            value=value,
            device=claimed.device.name if claimed else device,
            offset=offset,
            register=register,
            detail=detail,
            guest_ns=native.exited_ns - native.entered_ns,
            user_ns=now - native.exited_ns,
            code=code,
        )
        with self.machine.lock:
            self.tracer.end(vcpu.number, event)

    def _claimed(self, number: int, recent: Any) -> Range | None:
        if number >= 0:
            return self.machine.board.ranges[number]
        board = self.machine.board
        bus = board.pio if recent.reason == lib.KVM_EXIT_IO else board.mmio
        return bus.find(recent.address)

    def _code(self, thread: VcpuThread, recent: Any, reply: int) -> Code:
        vcpu = thread.vcpu
        synced = vcpu.run_state.s.regs
        values = _GENERAL.unpack(ffi.buffer(ffi.addressof(synced, "regs")))
        registers = dict(zip(GENERAL, values, strict=True))
        rip = registers.pop("rip")
        past = self._past(vcpu, recent, rip, reply)
        return code_at(vcpu, self.machine.memory, synced.sregs, rip, registers, past)

    def _past(self, vcpu: Vcpu, recent: Any, rip: int, reply: int) -> bool | None:
        """Whether RIP is already past the instruction that exited.

        KVM's emulator leaves it on a read, which it finishes later, and moves it past a write.
        Hardware paths leave it on a plain OUT, too: found out once, by letting KVM finish one.
        """
        if recent.count > 1 or recent.size == 0:
            return None
        if recent.reason == lib.KVM_EXIT_MMIO or not recent.write:
            return bool(recent.write)
        if self._out_is_past is None:
            lib.pk_vcpu_complete(vcpu.native, reply)
            self._out_is_past = bool(vcpu.get_regs().rip == rip)
        return self._out_is_past


def _last_value(vcpu: Vcpu) -> int:
    """The value of an access that did not arrive decoded; of a string, its last element."""
    state = vcpu.run_state
    if state.exit_reason == lib.KVM_EXIT_IO:
        end = state.io.data_offset + state.io.size * state.io.count
        return int.from_bytes(vcpu.page[end - state.io.size : end], "little")
    return int.from_bytes(bytes(state.mmio.data)[: state.mmio.len], "little")


def code_at(
    vcpu: Vcpu,
    memory: GuestMemory,
    sregs: Any,
    rip: int,
    registers: dict[str, int],
    past: bool | None = None,
) -> Code:
    """The instruction bytes around RIP, as far as they are mapped."""
    long_mode = bool(sregs.efer & _EFER_LMA and sregs.cs.l)
    linear = rip if long_mode else sregs.cs.base + rip & 0xFFFF_FFFF
    paging = bool(sregs.cr0 & _CR0_PG)
    before = _fetch(vcpu, memory, linear - min(_AROUND, linear), linear, paging)
    after = _fetch(vcpu, memory, linear, min(linear + _AROUND, 1 << 64), paging)
    # Only what touches RIP is of use: the first page after it, the last one before it.
    if len(before) == 2 and not before[1]:
        before = []
    if after and not after[0]:
        after = []
    bits = 64 if long_mode else 32 if sregs.cs.db else 16
    return Code(
        rip=rip,
        bits=bits,
        before=b"".join(before),
        after=b"".join(after),
        registers=registers,
        past=past,
    )


def _fetch(vcpu: Vcpu, memory: GuestMemory, start: int, end: int, paging: bool) -> list[bytes]:
    """Linear ``[start, end)`` page by page; b"" for a page that is not mapped to RAM."""
    pieces = []
    while start < end:
        stop = min(end, (start | _PAGE - 1) + 1)
        physical = vcpu.translate(start) if paging else start
        try:
            pieces.append(memory.read(-1 if physical is None else physical, stop - start))
        except GuestMemoryError:
            pieces.append(b"")
        start = stop
    return pieces


def traced_line(machine: Machine, tracer: Tracer, device: str, line: GsiLine) -> None:
    """Report every change of ``line``."""

    def changed(level: bool) -> None:
        now = time.monotonic_ns() - machine.started_ns
        tracer.event(IrqEvent(now, device, f"IRQ{line.gsi}", level))

    line.on_change = changed


def teller(machine: Machine, tracer: Tracer, device: str) -> Callable[[str, dict[str, Any]], None]:
    """Where ``device`` tells what happens inside it."""

    def tell(what: str, details: dict[str, Any]) -> None:
        tracer.event(DeviceEvent(time.monotonic_ns() - machine.started_ns, device, what, details))

    return tell
