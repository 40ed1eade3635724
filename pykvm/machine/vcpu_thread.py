"""The vCPU loop: run until Python is needed, answer, go on.

The common exit, one access inside one device range, arrives decoded from C and costs one call of
the device. Every other reason that ``<linux/kvm.h>`` names has its deliberate answer in
``ANSWERS``.
"""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable
from functools import cache, partial

from pykvm.boot import lowmem
from pykvm.boot.plan import Mode
from pykvm.bus import Bus
from pykvm.errors import DeviceError, MachineError
from pykvm.hints import TYPE_CHECKING, Any
from pykvm.kvm.abi import exit_names, ffi, lib
from pykvm.kvm.vcpu import Vcpu
from pykvm.machine import probe_syscall
from pykvm.machine.cpu import LSTAR
from pykvm.machine.outcome import Outcome
from pykvm.machine.questions import Questions

if TYPE_CHECKING:
    from pykvm.machine.finish.finisher import Finished, Finisher
    from pykvm.machine.finish.syscalls import SystemCalls
    from pykvm.machine.machine import Machine
    from pykvm.machine.observe import Observer

ACCESS = struct.Struct("=QQII")  # struct pk_access: offset, value, size, write
_RFLAGS_IF = 1 << 9
_ANSWER_WAIT = 0.05  # for a question that can be asked again
_PATIENCE = 1.0
_ENOSYS = 1000  # KVM_ENOSYS, <linux/kvm_para.h>


class VcpuThread:
    """Runs one vCPU in a thread of its own until the machine stops."""

    def __init__(self, machine: Machine, vcpu: Vcpu, observer: Observer | None) -> None:
        self.machine = machine
        self.vcpu = vcpu
        self.observer = observer
        self.enter: Callable[[Any, int], int] = lib.pk_vcpu_run
        self._questions = Questions(vcpu)
        self._finisher: Finisher | None = None
        self._calls: SystemCalls | None = None
        self.finished: Finished | None = None
        """The instruction that the last exit was finished for, if it was."""
        self.exited_at = 0  # nanoseconds since the start, when observed
        self._clock: int | None = None
        self._thread = threading.Thread(target=self._main, name=f"vcpu{vcpu.number}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        if self._thread.ident is not None:
            self._thread.join()

    def runs_in(self, thread: threading.Thread) -> bool:
        """Whether ``thread`` is the one that runs the vCPU."""
        return thread is self._thread

    @property
    def exits(self) -> int:
        """Exits so far, native ones included."""
        return int(self.vcpu.native.exits)

    def cpu_seconds(self) -> float:
        """CPU time that the thread has used, in and out of the guest."""
        if self._clock is None:
            return 0.0
        try:
            return time.clock_gettime(self._clock)
        except OSError:  # it has ended
            return 0.0

    # -- for other threads --------------------------------------------------------------------

    def ask(self, function: Callable[[Vcpu], Any], seconds: float = _PATIENCE) -> Any:
        """What ``function`` returns, or raises, called on this vCPU's own thread between two runs
        of the guest: there it may use all of ``Vcpu``. Before the run, the caller itself calls it.

        From any thread, without the lock. Raises MachineError when the vCPU has ended, and when
        its thread is busy with an exit for ``seconds``.
        """
        return self._questions.ask(function, seconds)

    def registers(self) -> dict[str, int]:
        """The general registers, RIP and RFLAGS as they are, by lower-case name; see ``ask``."""
        found: dict[str, int] = self.ask(Vcpu.registers)
        return found

    # -- the loop -----------------------------------------------------------------------------

    def _main(self) -> None:
        self._questions.begin()  # first: who may no longer use the vCPU can ask
        try:
            self.vcpu.attach()
        except MachineError:  # a KeyboardInterrupt cut ``start`` short, and nobody waited for us
            self._questions.end()
            return
        # Here and not where it is read: by then the thread, which it is found by, may be no more.
        self._clock = time.pthread_getcpuclockid(threading.get_ident())
        try:
            self._loop()
        except BaseException as error:  # a bug of ours: the run ends with its traceback
            self.machine.stop(Outcome("a bug in pykvm", status=1, error=error))
        finally:
            if self.observer is not None:
                self.observer.forget(self)
            self._questions.end()
            self.vcpu.detach()

    def _loop(self) -> None:
        run, native, access = self.enter, self.vcpu.native, self.vcpu.access
        unpack, lock, observer = ACCESS.unpack_from, self.machine.lock, self.observer
        if observer is not None:
            observer.attach(self)
        ranges = self.machine.board.ranges
        readers = [r.device.read for r in ranges]
        writers = [r.device.write for r in ranges]
        reply = 0
        while True:
            number = run(native, reply)
            if observer is not None and number >= lib.PK_OTHER:
                observer.begin(self)
            if number >= 0:
                offset, value, size, write = unpack(access)
                try:
                    with lock:
                        if write:
                            writers[number](offset, size, value)
                        else:
                            reply = readers[number](offset, size)
                except DeviceError as error:
                    reply = (1 << size * 8) - 1
                    self._blame_guest(ranges[number].device.name, error)
            elif number == lib.PK_OTHER:
                reply = 0
                self._other()
            elif number == lib.PK_INTERRUPTED:
                reply = 0
                if not self._interrupted():
                    return
            else:
                self._run_failed()
                return
            if observer is not None and number >= lib.PK_OTHER:
                observer.exit(self, number, reply)

    def _interrupted(self) -> bool:
        """Kicked: to stop (False), or to answer."""
        self.vcpu.unkick()  # first: another kick is for what the next lines have not seen
        if self.machine.stopping:
            return False
        self._questions.answer()
        return not self.machine.stopping

    def _asleep_for_good(self, vcpu: Vcpu) -> bool:
        state = vcpu.mp_state()
        if state in (lib.KVM_MP_STATE_UNINITIALIZED, lib.KVM_MP_STATE_INIT_RECEIVED):
            return True
        regs = vcpu.get_regs()
        if state != int(lib.KVM_MP_STATE_HALTED) or regs.rflags & _RFLAGS_IF:
            return False
        vector = regs.rip - 1 - lowmem.REAL_STUBS  # RIP is past the hlt
        if self.machine.mode is Mode.REAL and 0 <= vector < lowmem.REAL_VECTORS:
            from pykvm.machine.crash import unhandled_real_exception

            self.machine.stop(unhandled_real_exception(self, vector))
        return True

    def ask_halted(self) -> bool:
        """Whether the vCPU is halted with interrupts off; asked by another thread. One that is
        busy in Python does not answer in time, and is not halted."""
        try:
            return bool(self.ask(self._asleep_for_good, _ANSWER_WAIT))
        except MachineError:
            return False

    def _blame_guest(self, device: str, error: DeviceError) -> None:
        with self.machine.lock:
            self.machine.device_error(device, error)

    def _run_failed(self) -> None:
        from pykvm.machine.crash import run_failed

        self.machine.stop(run_failed(self, int(self.vcpu.native.error)))

    # -- every other exit ---------------------------------------------------------------------

    def _other(self) -> None:
        reason = int(self.vcpu.run_state.exit_reason)
        answer = ANSWERS.get(exit_names().get(reason, ""), VcpuThread.crash)
        answer(self)

    def io(self) -> None:
        """Port I/O that is not one access of one device: string instructions, splits, holes."""
        io = self.vcpu.run_state.io
        size, write = io.size, io.direction == lib.KVM_EXIT_IO_OUT
        data = self.vcpu.page[io.data_offset : io.data_offset + size * io.count]
        bus = self.machine.board.pio
        with data:
            for at in range(0, size * io.count, size):
                if self.machine.stopping:  # each element may be a turn of some device
                    return
                with data[at : at + size] as element:
                    self._transfer(bus, io.port, element, write)

    def mmio(self) -> None:
        """A memory access that is not one access of one device: splits and holes."""
        mmio = self.vcpu.run_state.mmio
        data = memoryview(ffi.buffer(mmio.data))[: mmio.len]
        with data:
            self._transfer(self.machine.board.mmio, mmio.phys_addr, data, bool(mmio.is_write))

    def _transfer(self, bus: Bus, address: int, data: memoryview, write: bool) -> None:
        size = len(data)
        try:
            with self.machine.lock:
                if write:
                    bus.write(address, size, int.from_bytes(data, "little"))
                else:
                    data[:] = bus.read(address, size).to_bytes(size, "little")
        except DeviceError as error:
            if not write:
                data[:] = b"\xff" * size
            found = bus.find(address)
            self._blame_guest(found.device.name if found else bus.name, error)

    def nothing(self) -> None:
        """Nothing to do: run on."""

    def halted(self) -> None:
        """HLT without an in-kernel interrupt controller: nobody is there to wake it."""
        self.machine.stop(Outcome("the guest halted for good"))

    def hypercall(self) -> None:
        """No hypercall is offered to user space: the guest gets "no such call"."""
        self.vcpu.run_state.hypercall.ret = -_ENOSYS & (1 << 64) - 1

    def msr(self) -> None:
        """An MSR that KVM leaves to user space: there is none, so the guest takes #GP."""
        self.vcpu.run_state.msr.error = 1

    def write_msr(self) -> None:
        """The same, but for LSTAR, which is watched where system calls may have to be finished."""
        msr = self.vcpu.run_state.msr
        if msr.index != LSTAR or not self.vcpu.set_msr(LSTAR, msr.data):
            self.msr()
            return
        msr.error = 0
        if self._calls is None and probe_syscall.must_be_finished(self.machine.vm.kvm):
            from pykvm.machine.finish.syscalls import SystemCalls

            self._calls = SystemCalls(self.vcpu, self.machine.memory)
        if self._calls is not None:
            self._calls.starts_at(msr.data)

    def debug(self) -> None:
        """A breakpoint: nobody sets any but for system calls."""
        done = self._calls.stopped() if self._calls is not None else None
        if done is None:
            self.crash()
        elif done:
            from pykvm.machine.finish.finisher import Finished

            self.finished = Finished("event", done)

    def system_event(self) -> None:
        """A paravirtual shutdown or reset; a crash is reported."""
        kind = self.vcpu.run_state.system_event.type
        if kind == lib.KVM_SYSTEM_EVENT_SHUTDOWN:
            self.machine.power_off()
        elif kind == lib.KVM_SYSTEM_EVENT_RESET:
            self.machine.reset()
        else:
            self.crash()

    def notify(self) -> None:
        """KVM saw the guest block all interrupts for long: harmless unless its state is gone."""
        if self.vcpu.run_state.notify.flags & lib.KVM_NOTIFY_CONTEXT_INVALID:
            self.crash()

    def internal_error(self) -> None:
        """An instruction that KVM could not emulate is finished here; the rest are crashes."""
        if self.vcpu.run_state.internal.suberror == lib.KVM_INTERNAL_ERROR_EMULATION:
            if self._finisher is None:
                from pykvm.machine import probe
                from pykvm.machine.finish.finisher import Finisher

                machine = self.machine
                self._finisher = Finisher(
                    self.vcpu, machine.memory, machine.board.mmio, self._transfer,
                    cache(partial(probe.uses_stack_base, machine.vm.kvm)),
                )  # fmt: skip
            self.finished = self._finisher.finish()
            if self.finished is not None:
                return
        self.crash()

    @property
    def why_unfinished(self) -> str:
        """What a crash report says of an instruction that nobody could finish."""
        return self._finisher.why if self._finisher is not None else ""

    def crash(self) -> None:
        """The guest cannot go on: end the run with a report."""
        from pykvm.machine.crash import crashed

        self.machine.stop(crashed(self))


_Answer = Callable[[VcpuThread], None]

_CRASHES = (
    # the guest, or KVM on its behalf, has failed
    "UNKNOWN EXCEPTION FAIL_ENTRY SHUTDOWN "
    # needs a feature that pykvm never turns on
    "HYPERV XEN AP_RESET_HOLD MEMORY_FAULT TDX "
    # other architectures' exits: on x86 they cannot come
    "S390_SIEIC S390_RESET S390_UCONTROL S390_TSCH S390_STSI DCR OSI PAPR_HCALL EPR WATCHDOG "
    "ARM_NISV ARM_LDST64B RISCV_SBI RISCV_CSR LOONGARCH_IOCSR"
).split()

ANSWERS: dict[str, _Answer] = {
    "IO": VcpuThread.io,
    "MMIO": VcpuThread.mmio,
    "HLT": VcpuThread.halted,
    "HYPERCALL": VcpuThread.hypercall,
    "X86_RDMSR": VcpuThread.msr,
    "X86_WRMSR": VcpuThread.write_msr,
    "DEBUG": VcpuThread.debug,
    "SYSTEM_EVENT": VcpuThread.system_event,
    "NOTIFY": VcpuThread.notify,
    "INTERNAL_ERROR": VcpuThread.internal_error,
    # a window, a priority, an acknowledgement or a bus lock: information that nobody asked for
    "INTR": VcpuThread.nothing,
    "NMI": VcpuThread.nothing,
    "IRQ_WINDOW_OPEN": VcpuThread.nothing,
    "SET_TPR": VcpuThread.nothing,
    "TPR_ACCESS": VcpuThread.nothing,
    "IOAPIC_EOI": VcpuThread.nothing,
    "X86_BUS_LOCK": VcpuThread.nothing,
    "DIRTY_RING_FULL": VcpuThread.nothing,
    **dict.fromkeys(_CRASHES, VcpuThread.crash),
}
