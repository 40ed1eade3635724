"""A vCPU as an instruction sees it: registers by name, memory by linear address."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pykvm.bus import Bus
from pykvm.errors import GuestMemoryError
from pykvm.kvm.vcpu import Vcpu
from pykvm.machine.finish.fault import CannotFinish
from pykvm.machine.finish.fpu import Fpu
from pykvm.machine.finish.paging import Access, translate
from pykvm.memory import GuestMemory

PAGE = 4096
_PREFIXES = b"\x26\x2e\x36\x3e\x64\x65\x66\x67\xf0\xf2\xf3"
CF, PF_, AF, ZF, SF, TF, OF, AC = 1 << 0, 1 << 2, 1 << 4, 1 << 6, 1 << 7, 1 << 8, 1 << 11, 1 << 18
_EFER_LMA = 1 << 10
_ALL = (1 << 64) - 1  # linear addresses and registers wrap there
_HIGH_BYTES = ("ah", "bh", "ch", "dh")
_LEGACY = ("ax", "bx", "cx", "dx", "si", "di", "sp", "bp")

Mmio = Callable[[Bus, int, memoryview, bool], None]
"""How a device is accessed: bus, address, bytes to write or to fill, whether to write."""

Quirk = Callable[[], bool]
"""Asks whether KVM pushes an interrupt's frame where SS begins plus RSP; it may take a while."""


def as_it_is() -> bool:
    """It does, as a CPU would."""
    return True


class State:
    """Registers as they were at the exit, to be changed and then kept with ``commit``."""

    def __init__(
        self, vcpu: Vcpu, memory: GuestMemory, bus: Bus, mmio: Mmio, stack_base: Quirk = as_it_is
    ) -> None:
        self.vcpu = vcpu
        self.memory = memory
        self.bus = bus
        self.mmio = mmio
        self.stack_base = stack_base
        self.regs = vcpu.get_regs()
        self.sregs = vcpu.get_sregs()
        self._fpu: Fpu | None = None

    @property
    def bits(self) -> int:
        """How the code segment decodes: 16, 32 or 64."""
        if self.long:
            return 64
        return 32 if self.sregs.cs.db else 16

    @property
    def long(self) -> bool:
        """64-bit mode, not compatibility mode."""
        return bool(self.sregs.efer & _EFER_LMA and self.sregs.cs.l)

    @property
    def user(self) -> bool:
        """CPL 3."""
        return bool(self.sregs.ss.dpl == 3)

    @property
    def fpu(self) -> Fpu:
        """x87, XMM, MXCSR; whoever changes it keeps it."""
        if self._fpu is None:
            self._fpu = Fpu(self.vcpu)
        return self._fpu

    def commit(self, rip: int) -> None:
        """The instruction is over: keep the registers and go on at ``rip``."""
        self.regs.rip = rip & (_ALL if self.long else 0xFFFF_FFFF)
        self.vcpu.set_regs(self.regs)

    # -- registers ----------------------------------------------------------------------------

    def get(self, name: str) -> int:
        """A general register of any width, by its lower-case name."""
        whole, shift, size = _place(name)
        return int(getattr(self.regs, whole)) >> shift & (1 << size * 8) - 1

    def set(self, name: str, value: int) -> None:
        """32 bits clear the upper half; 16 and 8 leave the rest alone (SDM volume 1, 3.4.1.1)."""
        whole, shift, size = _place(name)
        mask = (1 << size * 8) - 1
        value &= mask
        if size < 4:
            value = int(getattr(self.regs, whole)) & ~(mask << shift) | value << shift
        setattr(self.regs, whole, value)

    def flag(self, flags: int, on: bool) -> None:
        """Set or clear bits of RFLAGS."""
        self.regs.rflags = self.regs.rflags | flags if on else self.regs.rflags & ~flags

    # -- memory -------------------------------------------------------------------------------

    def linear(self, operand: Any, insn: Any) -> int:
        """The linear address of a memory operand as capstone describes it."""
        mem = operand.mem
        address = mem.disp
        if mem.base:
            name = insn.reg_name(mem.base)
            address += self._next(insn) if name in ("rip", "eip") else self.get(name)
        if mem.index and insn.reg_name(mem.index) not in ("riz", "eiz"):
            address += self.get(insn.reg_name(mem.index)) * mem.scale
        address &= (1 << insn.addr_size * 8) - 1
        name = insn.reg_name(mem.segment) if mem.segment else self._segment(mem, insn)
        if not self.long or name in ("fs", "gs"):
            address += getattr(self.sregs, name).base
        return int(address & (1 << (64 if self.long else 32)) - 1)

    def _next(self, insn: Any) -> int:
        return int(self.regs.rip + insn.size)

    def _segment(self, mem: Any, insn: Any) -> str:
        stack = mem.base and insn.reg_name(mem.base) in ("rsp", "esp", "sp", "rbp", "ebp", "bp")
        return "ss" if stack else "ds"

    def load(self, linear: int, size: int, *, system: bool = False) -> bytes:
        """``size`` bytes. Raises Fault."""
        return b"".join(
            self._read(self.physical(at, write=False, system=system), length)
            for at, length in pieces(linear, size)
        )

    def store(self, linear: int, data: bytes) -> None:
        """The same, writing: all of it is translated before any of it is written."""
        done, placed = 0, []
        for at, length in pieces(linear, len(data)):
            placed.append((self.physical(at, write=True), data[done : done + length]))
            done += length
        for physical, part in placed:
            try:
                self.memory.write(physical, part)
            except GuestMemoryError:
                self._device(physical, bytearray(part), True)

    def physical(self, linear: int, *, write: bool, system: bool = False) -> int:
        """The physical address of an allowed access, of the code or, ``system``, of the CPU itself
        to its tables (SDM volume 3, 4.6: implicit, as ring 0 without AC). Raises Fault."""
        access = Access(write, self.user and not system)
        rflags = self.regs.rflags & ~AC if system else self.regs.rflags
        try:
            return translate(self.memory, self.sregs, rflags, linear, access)
        except GuestMemoryError as e:
            raise CannotFinish("the guest's page tables are not in RAM") from e

    def _read(self, physical: int, length: int) -> bytes:
        try:
            return self.memory.read(physical, length)
        except GuestMemoryError:
            data = bytearray(length)
            self._device(physical, data, False)
            return bytes(data)

    def _device(self, physical: int, data: bytearray, write: bool) -> None:
        """An access to a device, in the parts of 8 bytes that KVM would make of it."""
        with memoryview(data) as view:
            for at in range(0, len(data), 8):
                with view[at : at + 8] as part:
                    self.mmio(self.bus, physical + at, part, write)


def pieces(linear: int, size: int) -> list[tuple[int, int]]:
    """``[linear, linear + size)`` page by page; it wraps at 2^64."""
    found = []
    linear &= _ALL
    while size:
        length = min(size, PAGE - linear % PAGE)
        found.append((linear, length))
        linear, size = linear + length & _ALL, size - length
    return found


def opcode(insn: Any) -> int:
    """The first byte of an instruction that is no legacy prefix."""
    return next((byte for byte in insn.bytes if byte not in _PREFIXES), 0)


def _place(name: str) -> tuple[str, int, int]:
    """Which register of ``struct kvm_regs``, from which bit, how many bytes."""
    if name in _HIGH_BYTES:
        return f"r{name[0]}x", 8, 1
    if name[0] == "r" and name[1].isdigit():
        number = name.rstrip("dwb")
        return number, 0, {"": 8, "d": 4, "w": 2, "b": 1}[name[len(number) :]]
    if name[0] == "r":
        return name, 0, 8
    if name[0] == "e":
        return f"r{name[1:]}", 0, 4
    if name in _LEGACY:
        return f"r{name}", 0, 2
    whole = name[:-1] if name[:-1] in ("si", "di", "sp", "bp") else f"{name[0]}x"
    return f"r{whole}", 0, 1
