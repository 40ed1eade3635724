"""From a vCPU that cannot go on to a report."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from pykvm.crash import CrashReport, Segment
from pykvm.crash_registers import EXCEPTIONS
from pykvm.devices.virtio.device import VirtioDevice
from pykvm.errors import GuestMemoryError
from pykvm.interfaces import Device
from pykvm.kvm.abi import exit_names, lib
from pykvm.kvm.vcpu import GENERAL
from pykvm.machine.observe import code_at
from pykvm.machine.outcome import CRASH_STATUS, Outcome
from pykvm.trace.events import ExitEvent

if TYPE_CHECKING:
    from pykvm.machine.vcpu_thread import VcpuThread

_SUBERRORS = {
    1: "KVM could not emulate the instruction",
    2: "an exception came up while another was being delivered",
    3: "KVM could not deliver an event to the guest",
    4: "the hardware left the guest for a reason that KVM does not know",
}
_CR0_PE, _CR0_PG, _RFLAGS_VM, _EFER_LMA = 1 << 0, 1 << 31, 1 << 17, 1 << 10


def crashed(thread: VcpuThread) -> Outcome:
    """The outcome for the exit that the vCPU has just taken."""
    return _outcome(thread, _reason(thread.vcpu.run_state))


def run_failed(thread: VcpuThread, error: int) -> Outcome:
    """The outcome when KVM_RUN itself failed."""
    return _outcome(thread, f"KVM_RUN failed: {os.strerror(error)}")


def unhandled_real_exception(thread: VcpuThread, vector: int) -> Outcome:
    """A real-mode guest took an exception that it has no handler for and stands on our stub; the
    report shows where it came from, which the CPU has pushed on the stack: IP, CS, FLAGS."""
    sregs, regs = thread.vcpu.get_sregs(), thread.vcpu.get_regs()
    name = EXCEPTIONS.get(vector, f"vector {vector}")
    memory = thread.machine.memory
    try:
        frame = sregs.ss.base + (regs.rsp & 0xFFFF)
        ip, cs = memory.read_u16(frame), memory.read_u16(frame + 2)
        flags = memory.read_u16(frame + 4)
    except GuestMemoryError:
        return _outcome(thread, f"exception {name} with a stack outside RAM")
    sregs.cs.selector, sregs.cs.base = cs, cs << 4
    regs.rip, regs.rflags, regs.rsp = ip, flags, regs.rsp + 6 & (1 << 64) - 1
    return _outcome(thread, f"exception {name} and the guest has no handler for it", regs, sregs)


def _reason(state: Any) -> str:
    name = exit_names().get(state.exit_reason, f"number {state.exit_reason}")
    if name == "SHUTDOWN":
        return "triple fault: an exception could not be delivered, nor the double fault after it"
    if name == "INTERNAL_ERROR":
        sub = int(state.internal.suberror)
        return f"KVM internal error {sub}: {_SUBERRORS.get(sub, 'unknown')}"
    if name == "FAIL_ENTRY":
        hardware = int(state.fail_entry.hardware_entry_failure_reason)
        return f"the hardware refused to enter the guest (reason {hardware:#x})"
    if name == "UNKNOWN":
        return f"unknown hardware exit {int(state.hw.hardware_exit_reason):#x}"
    if name == "EXCEPTION":
        return f"exception {int(state.ex.exception)}, error code {int(state.ex.error_code):#x}"
    if name == "SYSTEM_EVENT":
        return f"the guest reported its own crash (event {int(state.system_event.type)})"
    return f"an exit that this machine has no answer for: KVM_EXIT_{name}"


def _outcome(thread: VcpuThread, reason: str, regs: Any = None, sregs: Any = None) -> Outcome:
    vcpu, machine = thread.vcpu, thread.machine
    regs = regs if regs is not None else vcpu.get_regs()
    sregs = sregs if sregs is not None else vcpu.get_sregs()
    values = {name: int(getattr(regs, name)) for name in GENERAL}
    rip = values.pop("rip")
    code = code_at(vcpu, machine.memory, sregs, rip, values)
    with machine.lock:  # other vCPUs and the event loop go on
        recent, devices = tuple(_recent(thread)), _devices(thread)
    report = CrashReport(
        reason=reason,
        vcpu=vcpu.number,
        mode=_mode(sregs, values["rflags"]),
        code=code,
        control={
            "rflags": values["rflags"],
            **{
                name: int(getattr(sregs, name))
                for name in ["cr0", "cr2", "cr3", "cr4", "cr8", "efer"]
            },
        },
        segments={
            name: _segment(getattr(sregs, name))
            for name in ["cs", "ss", "ds", "es", "fs", "gs", "tr", "ldt"]
        },
        tables={
            name: (int(getattr(sregs, name).base), int(getattr(sregs, name).limit))
            for name in ("gdt", "idt")
        },
        recent=recent,
        devices=devices,
        code_is_mapped=bool(code.after),
        detail=thread.why_unfinished,
        stack_is_mapped=_is_ram(thread, sregs, sregs.ss.base * _uses_ss_base(sregs) + regs.rsp - 8),
    )
    return Outcome(f"the guest crashed: {reason}", status=CRASH_STATUS, report=report)


def _mode(sregs: Any, rflags: int) -> str:
    if not sregs.cr0 & _CR0_PE:
        return "real"
    if sregs.efer & _EFER_LMA:
        return "long" if sregs.cs.l else "compatibility"
    return "virtual-8086" if rflags & _RFLAGS_VM else "protected"


def _uses_ss_base(sregs: Any) -> bool:
    """64-bit code has flat segments."""
    return not (sregs.efer & _EFER_LMA and sregs.cs.l)


def _is_ram(thread: VcpuThread, sregs: Any, linear: int) -> bool:
    """Whether a linear address leads to RAM."""
    linear &= (1 << 64) - 1
    physical = thread.vcpu.translate(linear) if sregs.cr0 & _CR0_PG else linear
    try:
        thread.machine.memory.read(-1 if physical is None else physical, 1)
    except GuestMemoryError:
        return False
    return True


def _segment(s: Any) -> Segment:
    if s.unusable or not s.present:
        attributes = "unusable"
    else:
        kind = ("code" if s.type & 8 else "data") if s.s else f"system type {s.type:#x}"
        width = "64-bit" if s.l else "32-bit" if s.db else "16-bit"
        attributes = f"{kind} {width} dpl {s.dpl}"
    return Segment(int(s.selector), int(s.base), int(s.limit), attributes)


def _devices(thread: VcpuThread) -> dict[str, dict[str, Any]]:
    """What each device on the board holds, and each PCI function; with the lock held."""
    machine = thread.machine
    states = {device.name: _registers(device) for device in machine.board.devices}
    for function in machine.pci.functions:
        inside = getattr(function, "device", None)
        if isinstance(inside, VirtioDevice):
            states[function.name] = _virtio(inside) | states.get(function.name, {})
    return states


def _registers(device: Device) -> dict[str, Any]:
    """Its state; where that is an array of cells, the registers in it by name."""
    state = dict(device.state())
    cells = state.get("cells")
    if isinstance(cells, dict):
        del state["cells"]
        for at, value in cells.items():
            register = device.registers.lookup(at * 4, write=False)
            if register is not None and register.count == 1:
                state[register.name] = value
    return state


def _virtio(device: VirtioDevice) -> dict[str, Any]:
    """Nothing is stopped for it, so nothing of the rings, which others may be working."""
    state: dict[str, Any] = {"status": int(device.status), "features": device.features}
    for queue in device.queues:
        if queue.enabled:
            parts = (queue.descriptors, queue.driver, queue.device)
            where = " ".join(f"{part:#x}" for part in parts)
            state[f"queue{queue.index}"] = f"{queue.size} at {where}"
    return state


def _recent(thread: VcpuThread) -> list[ExitEvent]:
    """C's flight recorder as events, without the crash itself."""
    native, machine = thread.vcpu.native, thread.machine
    exits = int(native.exits)
    events = []
    for n in range(max(exits - lib.PK_RECENT, 0), exits):
        entry = native.recent[n % lib.PK_RECENT]
        if entry.size == 0:
            continue
        bus = machine.board.pio if entry.reason == lib.KVM_EXIT_IO else machine.board.mmio
        found = bus.find(entry.address)
        offset = entry.address - found.base if found else 0
        write = bool(entry.write)
        events.append(
            ExitEvent(
                time_ns=0,
                vcpu=thread.vcpu.number,
                reason=exit_names().get(entry.reason, "?"),
                address=entry.address,
                size=entry.size,
                count=entry.count,
                write=write,
                value=entry.value,
                device=found.device.name if found else None,
                offset=offset,
                register=found.device.registers.lookup(offset, write, found.device.bank)
                if found
                else None,
            )
        )
    return events
