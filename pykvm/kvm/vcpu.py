"""A virtual CPU: its registers, its ``struct kvm_run``, and the run that C does for it."""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Iterable, Iterator

from pykvm.errors import MachineError
from pykvm.hints import TYPE_CHECKING, Any
from pykvm.kvm.abi import call, capability, ffi, lib
from pykvm.kvm.system import CpuidEntry
from pykvm.record import Record

if TYPE_CHECKING:
    from pykvm.kvm.vm import Vm

_PAGE = 4096


class Coalesced(Record):
    """A write that KVM kept for later."""

    address: int
    size: int
    value: int
    pio: bool


GENERAL = (
    "rax rbx rcx rdx rsi rdi rsp rbp r8 r9 r10 r11 r12 r13 r14 r15 rip rflags"
).split()  # in the order of struct kvm_regs


class Vcpu:
    """One vCPU. Its ioctls belong to the thread that runs it; ``kick`` is for the others.

    While nobody runs it they may be any thread's. Else, and when it is closed, they raise
    MachineError, where KVM would have the caller wait until KVM_RUN returns.
    """

    def __init__(self, vm: Vm, number: int) -> None:
        self.number = number
        self._guard = threading.RLock()  # held where it must not start to run, or be closed
        self.fd = call(vm.fd, "KVM_CREATE_VCPU", number)
        try:
            self._map = mmap.mmap(self.fd, vm.kvm.run_size(), flags=mmap.MAP_SHARED)
        except BaseException:
            os.close(self.fd)
            raise
        self.page = memoryview(self._map)
        self._buffer = ffi.from_buffer(self.page)
        self.run_state = ffi.cast("struct kvm_run *", self._buffer)
        self.native = ffi.new("struct pk_vcpu *")
        self.native.fd = self.fd
        self.native.run = self.run_state
        self.native.bus = vm.bus
        self._vm_bus = vm.bus  # keeps it alive while C holds a pointer to it
        self.access = ffi.buffer(ffi.addressof(self.native, "access"))
        """The decoded access of the last exit: offset, value, size, write (``struct "=QQII"``)."""
        self._coalesced_page = vm.kvm.capability("COALESCED_MMIO")
        self.doorbells = vm.doorbells
        if self._coalesced_page and number == 0:  # the ring is the VM's, whoever maps it
            lib.pk_doorbells_map(vm.doorbells, self._buffer + self._coalesced_page * _PAGE)

    def close(self) -> None:
        """Idempotent; the vCPU must not be running."""
        with self._guard:
            if self.fd < 0:
                return
            fd, self.fd = self.fd, -1
            self.native.fd = -1
            self.native.run = ffi.NULL
            del self.run_state
            ffi.release(self._buffer)
            self.page.release()
            self._map.close()
            os.close(fd)

    # -- running ------------------------------------------------------------------------------

    def attach(self) -> None:
        """The calling thread runs this vCPU from now on; until ``detach``, by the same thread.
        Raises MachineError for a closed one."""
        with self._guard:
            self._check_open()
            lib.pk_vcpu_attach(self.native, True)

    def _check_open(self) -> None:
        if self.fd < 0:
            raise MachineError(f"vCPU {self.number} is closed")

    def detach(self) -> None:
        with self._guard:
            lib.pk_vcpu_attach(self.native, False)

    def kick(self) -> None:
        """Make the vCPU leave KVM_RUN now; it stays out until ``unkick``. From any thread, and from
        signal handlers; nothing happens to a closed one."""
        with self._guard:
            if self.fd >= 0:
                lib.pk_vcpu_kick(self.native)

    def unkick(self) -> None:
        """Let the vCPU run again; by its own thread."""
        lib.pk_vcpu_unkick(self.native)

    def drain_coalesced(self) -> Iterator[Coalesced]:
        """The coalesced writes so far, oldest first; the ring is the VM's, so hold the lock."""
        start = self._coalesced_page * _PAGE
        ring = ffi.cast("struct kvm_coalesced_mmio_ring *", self._buffer + start)
        entries = ffi.cast("struct kvm_coalesced_mmio *", self._buffer + start + 8)
        while ring.first != ring.last:
            entry = entries[ring.first % lib.KVM_COALESCED_MMIO_MAX]
            value = int.from_bytes(bytes(entry.data)[: entry.len], "little")
            kept = Coalesced(entry.phys_addr, entry.len, value, bool(entry.pio))
            ring.first = (ring.first + 1) % lib.KVM_COALESCED_MMIO_MAX
            yield kept

    # -- state --------------------------------------------------------------------------------

    def _call(self, name: str, argument: Any = 0) -> int:
        if self.native.tid == threading.get_native_id():
            return call(self.fd, name, argument)
        with self._guard:
            self._check_open()
            if self.native.tid:
                raise MachineError(
                    f"vCPU {self.number} runs in another thread: have that one call "
                    f"(Machine.vcpu({self.number}).ask), or wait for its end"
                )
            return call(self.fd, name, argument)

    def _get(self, name: str, kind: str) -> Any:
        value = ffi.new(f"struct {kind} *")
        self._call(name, value)
        return value

    def registers(self) -> dict[str, int]:
        """The general registers, RIP and RFLAGS, by lower-case name."""
        regs = self.get_regs()
        return {name: int(getattr(regs, name)) for name in GENERAL}

    def get_regs(self) -> Any:
        """``struct kvm_regs *``: the general registers, RIP and RFLAGS."""
        return self._get("KVM_GET_REGS", "kvm_regs")

    def set_regs(self, regs: Any) -> None:
        self._call("KVM_SET_REGS", regs)

    def get_sregs(self) -> Any:
        """``struct kvm_sregs *``: segments, tables, control registers, EFER, APIC base."""
        return self._get("KVM_GET_SREGS", "kvm_sregs")

    def set_sregs(self, sregs: Any) -> None:
        self._call("KVM_SET_SREGS", sregs)

    def get_xsave(self) -> Any:
        """``struct kvm_xsave *``: x87, XMM, MXCSR and more, as XSAVE stores them. (KVM_GET_FPU has
        no MXCSR.)"""
        return self._get("KVM_GET_XSAVE", "kvm_xsave")

    def set_xsave(self, area: Any) -> None:
        self._call("KVM_SET_XSAVE", area)

    def get_xcr0(self) -> int:
        """XCR0: which parts of the state XSAVE and AVX may use."""
        xcrs = self._get("KVM_GET_XCRS", "kvm_xcrs")
        found = (xcrs.xcrs[n] for n in range(xcrs.nr_xcrs))
        return next((int(row.value) for row in found if row.xcr == 0), 1)

    def set_xcr0(self, value: int) -> None:
        xcrs = ffi.new("struct kvm_xcrs *")
        xcrs.nr_xcrs = 1
        xcrs.xcrs[0].value = value
        self._call("KVM_SET_XCRS", xcrs)

    def get_events(self) -> Any:
        """``struct kvm_vcpu_events *``: what is pending or being injected."""
        return self._get("KVM_GET_VCPU_EVENTS", "kvm_vcpu_events")

    def set_events(self, events: Any) -> None:
        self._call("KVM_SET_VCPU_EVENTS", events)

    def mp_state(self) -> int:
        """``KVM_MP_STATE_...``: runnable, halted, waiting for SIPI ..."""
        return int(self._get("KVM_GET_MP_STATE", "kvm_mp_state").mp_state)

    def set_mp_state(self, state: int) -> None:
        value = ffi.new("struct kvm_mp_state *")
        value.mp_state = state
        self._call("KVM_SET_MP_STATE", value)

    def tsc_khz(self) -> int:
        """The guest's TSC frequency."""
        return self._call("KVM_GET_TSC_KHZ")

    def set_cpuid(self, entries: Iterable[CpuidEntry]) -> None:
        """What CPUID shows to this vCPU."""
        rows = list(entries)
        block = ffi.new("char[]", 8 + len(rows) * ffi.sizeof("struct kvm_cpuid_entry2"))
        ffi.cast("uint32_t *", block)[0] = len(rows)
        table = ffi.cast("struct kvm_cpuid_entry2 *", block + 8)
        for n, row in enumerate(rows):
            for name in ("function", "index", "flags", "eax", "ebx", "ecx", "edx"):
                setattr(table[n], name, getattr(row, name))
        self._call("KVM_SET_CPUID2", block)

    def get_msr(self, index: int) -> int | None:
        """An MSR's value, or None for one that KVM does not have."""
        block, entry = _msr_block(index)
        return int(entry.data) if self._call("KVM_GET_MSRS", block) == 1 else None

    def set_msr(self, index: int, value: int) -> bool:
        """Set an MSR; False when KVM refuses it."""
        block, entry = _msr_block(index)
        entry.data = value
        return self._call("KVM_SET_MSRS", block) == 1

    def set_guest_debug(self, control: int, breakpoints: Iterable[int] = ()) -> None:
        """KVM_SET_GUEST_DEBUG: ``control`` is KVM_GUESTDBG_... bits; hardware breakpoints at up to
        four linear addresses."""
        debug = ffi.new("struct kvm_guest_debug *")
        debug.control = control
        for n, address in enumerate(breakpoints):
            debug.arch.debugreg[n] = address
            debug.arch.debugreg[7] |= 2 << (n * 2)  # global enable, execute, one byte
        self._call("KVM_SET_GUEST_DEBUG", debug)

    def translate(self, linear: int) -> int | None:
        """The guest-physical address of a linear one, which wraps at 2^64; None when it is not
        mapped."""
        value = ffi.new("struct kvm_translation *")
        value.linear_address = linear & (1 << 64) - 1
        self._call("KVM_TRANSLATE", value)
        return int(value.physical_address) if value.valid else None

    def sync_regs(self, on: bool) -> None:
        """Have KVM leave the registers in ``run_state.s.regs`` at every exit, where it can."""
        wanted = lib.KVM_SYNC_X86_REGS | lib.KVM_SYNC_X86_SREGS
        self.run_state.kvm_valid_regs = wanted if on and capability("SYNC_REGS") else 0


def _msr_block(index: int) -> tuple[Any, Any]:
    block = ffi.new("char[]", 8 + ffi.sizeof("struct kvm_msr_entry"))
    ffi.cast("uint32_t *", block)[0] = 1
    entry = ffi.cast("struct kvm_msr_entry *", block + 8)
    entry.index = index
    return block, entry
