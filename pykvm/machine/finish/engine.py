"""Everything else: one instruction in the Unicorn engine, on the guest's own memory.

Unicorn maps the guest's RAM once and walks the guest's page tables itself. It knows no AVX, and it
does not keep privilege levels apart when it looks at a page, so what ring 3 may not touch is found
out here, before. It is an emulator of its own: an instruction with a LOCK prefix is not atomic in
it for the other vCPUs.
"""

from __future__ import annotations

from typing import Any

from pykvm.machine.finish import unicorn_registers as registers
from pykvm.machine.finish.fault import DF, PF, CannotFinish, Fault
from pykvm.machine.finish.paging import Access, translate
from pykvm.machine.finish.state import State, opcode, pieces
from pykvm.memory import GuestMemory

INSTALL = "pip install 'pykvm-vmm[emulate]'"
_MEMORY_OPERAND = 3
_TOP = 1 << 46  # no device is above it
_MOST_SEEN = 4096
_EFER_LMA = 1 << 10
# They change what is not carried back, or depend on what Unicorn does not have.
_REFUSED_GROUPS = ("privilege", "vm", "int", "call", "ret", "iret")
_REFUSED = (
    "xsave", "xrstor", "xgetbv", "fxsave", "fxrstor", "cpuid", "rdtsc", "syscall", "sysenter",
    # capstone does not say what memory they touch, so it cannot be looked at before
    "maskmov", "fsave", "fnsave", "frstor", "fstenv", "fnstenv", "fldenv",
)  # fmt: skip
_VEX = (0xC4, 0xC5, 0x62)
_HAS_ERROR_CODE = (8, 10, 11, 12, 13, 17)


class Engine:
    """Unicorn over ``memory``; devices are reached by the ``mmio`` of the state at hand.

    For one thread. Raises CannotFinish when the library is not installed.
    """

    def __init__(self, memory: GuestMemory) -> None:
        try:
            import unicorn
        except ImportError as e:
            raise CannotFinish(f"{INSTALL} lets pykvm finish it with the Unicorn engine") from e
        self._unicorn: Any = unicorn
        self._memory = memory
        self._engines: dict[int, Any] = {}
        self._seen: dict[int, bytes] = {}
        self._state: State | None = None
        self._vector: int | None = None  # of the exception that the instruction ended in
        self._mmio_error: Any = None

    def run(self, state: State, insn: Any) -> int:
        """Execute ``insn``; returns the next RIP. Raises Fault or CannotFinish."""
        check_known(state, insn)
        self._check_access(state, insn)
        uc = self._engine(state.bits)
        if self._try(uc, state, insn) == DF:
            # Looking beyond its last instruction it has met a fault, and takes this one for a
            # second inside the first: a new engine has no past.
            self._drop(state.bits)
            uc = self._engine(state.bits)
            self._try(uc, state, insn)
        if self._vector is not None:
            address = registers.fault_address(uc)
            self._drop(state.bits)
            raise self._fault(state, self._vector, address)
        if registers.rip(uc) != state.regs.rip + insn.size:  # it ends silently at some
            self._drop(state.bits)
            raise CannotFinish(f"the Unicorn engine does not know {insn.mnemonic}")
        return registers.take(uc, state, insn)

    def _try(self, uc: Any, state: State, insn: Any) -> int | None:
        """One attempt; returns the vector of the exception that it ended in."""
        self._forget_changed_code(uc, state, insn)
        self._state, self._vector = state, None
        try:
            registers.give(uc, state, insn)
            uc.emu_start(state.regs.rip, state.regs.rip + insn.size, count=1)
        except self._unicorn.UcError as error:
            self._drop(state.bits)
            raise CannotFinish(f"the Unicorn engine gave up: {error}") from error
        finally:
            self._state = None
        if self._mmio_error is not None:
            failed, self._mmio_error = self._mmio_error, None
            raise failed
        return self._vector

    def _engine(self, bits: int) -> Any:
        found = self._engines.get(bits)
        if found is not None:
            return found
        u = self._unicorn
        uc = u.Uc(u.UC_ARCH_X86, u.UC_MODE_64 if bits == 64 else u.UC_MODE_32)
        at = 0
        for slot in self._memory.slots:
            self._map_devices(uc, at, slot.base)
            rights = u.UC_PROT_ALL if slot.writable else u.UC_PROT_READ | u.UC_PROT_EXEC
            uc.mem_map_ptr(slot.base, slot.size, rights, self._memory.host_address(slot))
            at = slot.end
        self._map_devices(uc, at, _TOP)
        uc.hook_add(u.UC_HOOK_INTR, self._interrupt)
        self._engines[bits] = uc
        return uc

    def _map_devices(self, uc: Any, start: int, end: int) -> None:
        if start < end:
            uc.mmio_map(start, end - start, self._device_read, start, self._device_write, start)

    def _drop(self, bits: int) -> None:
        del self._engines[bits]
        self._seen.clear()

    def _forget_changed_code(self, uc: Any, state: State, insn: Any) -> None:
        """Unicorn keeps what it has translated, and cannot see the guest write to its code."""
        at = state.physical(state.regs.rip, write=False)
        code = bytes(insn.bytes)
        if self._seen.get(at, code) != code or len(self._seen) > _MOST_SEEN:
            uc.ctl_flush_tb()
            self._seen.clear()
        self._seen[at] = code

    # -- memory -------------------------------------------------------------------------------

    def _check_access(self, state: State, insn: Any) -> None:
        """Raise the page fault that a read of the operands would; Unicorn finds the others."""
        for operand in insn.operands:
            if operand.type == _MEMORY_OPERAND and not insn.mnemonic.startswith("lea"):
                linear = state.linear(operand, insn)
                for at, _ in pieces(linear, max(operand.size, 1)):
                    state.physical(at, write=False)

    def _fault(self, state: State, vector: int, address: int) -> Fault:
        if vector != PF:
            return Fault(vector, 0 if vector in _HAS_ERROR_CODE else None)
        for write in (False, True):
            try:
                translate(
                    state.memory, state.sregs, state.regs.rflags, address, Access(write, state.user)
                )
            except Fault as fault:
                return fault
        raise CannotFinish(f"a page fault at {address:#x} that nothing explains")

    def _device_read(self, uc: Any, offset: int, size: int, start: int) -> int:
        data = bytearray(size)
        self._touch(start + offset, memoryview(data), False)
        return int.from_bytes(data, "little")

    def _device_write(self, uc: Any, offset: int, size: int, value: int, start: int) -> None:
        data = (value & (1 << size * 8) - 1).to_bytes(size, "little")
        self._touch(start + offset, memoryview(data), True)

    def _touch(self, address: int, data: memoryview, write: bool) -> None:
        assert self._state is not None
        try:
            self._state.mmio(self._state.bus, address, data, write)
        except Exception as error:  # cannot pass through the C below
            self._mmio_error = error

    def _interrupt(self, uc: Any, vector: int, user_data: object) -> None:
        if self._vector is None:
            self._vector = vector
        uc.emu_stop()


def check_known(state: State, insn: Any) -> None:
    """Raise CannotFinish for what Unicorn would get wrong."""
    mnemonic = insn.mnemonic.split()[-1]
    if opcode(insn) in _VEX and (state.bits == 64 or insn.bytes[1] >= 0xC0):
        raise CannotFinish("the Unicorn engine knows no AVX, and gets other VEX instructions wrong")
    groups = [insn.group_name(group) for group in insn.groups]
    if mnemonic.startswith(_REFUSED) or any(name in _REFUSED_GROUPS for name in groups):
        raise CannotFinish(f"{mnemonic} cannot be finished in the Unicorn engine")
    if state.bits == 64:
        return
    flat = all(getattr(state.sregs, name).base == 0 for name in ("cs", "ds", "es", "ss"))
    if state.bits == 16 or state.sregs.efer & _EFER_LMA or not flat:
        raise CannotFinish("only 64-bit and flat 32-bit code can be finished in the Unicorn engine")
