"""A vCPU's registers into the Unicorn engine and back, each way in one call.

x87, MMX and XMM are carried for instructions that have to do with them; general registers always.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any, NamedTuple

from pykvm.machine.finish.fpu import STACK, XMM, Fpu
from pykvm.machine.finish.state import AF, OF, SF, State

_GENERAL = (
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp", "r8", "r9", "r10", "r11", "r12",
    "r13", "r14", "r15", "rip", "rflags",
)  # fmt: skip
_EFER = 0xC000_0080
_CR4_SMEP, _CR4_SMAP = 1 << 20, 1 << 21
_MANTISSA = (1 << 64) - 1


@cache
def _ids() -> dict[str, Any]:
    from unicorn import x86_const as c

    def of(prefix: str, count: int) -> list[int]:
        return [getattr(c, f"UC_X86_REG_{prefix}{n}") for n in range(count)]

    general = [getattr(c, f"UC_X86_REG_{name.upper()}") for name in _GENERAL]
    return {
        "general": general,
        "control": [getattr(c, f"UC_X86_REG_{n}") for n in ("MSR", "CR4", "CR3", "CR0")],
        "bases": [c.UC_X86_REG_FS_BASE, c.UC_X86_REG_GS_BASE],
        "cr2": c.UC_X86_REG_CR2,
        "mxcsr": c.UC_X86_REG_MXCSR,
        "xmm": of("XMM", XMM),
        "x87": [c.UC_X86_REG_FPCW, c.UC_X86_REG_FPSW, c.UC_X86_REG_FPTAG, *of("FP", STACK)],
    }


def give(uc: Any, state: State, insn: Any) -> None:
    """Everything that the instruction may depend on."""
    ids, regs, sregs = _ids(), state.regs, state.sregs
    # Unicorn acts as ring 0 whoever acts; ring 3's own rights have been looked at before.
    cr4 = sregs.cr4 & ~(_CR4_SMEP | _CR4_SMAP) if state.user else sregs.cr4
    control = ((_EFER, sregs.efer), cr4, sregs.cr3, sregs.cr0)
    rows = list(zip(ids["control"], control, strict=True))
    rows += zip(ids["bases"], (sregs.fs.base, sregs.gs.base), strict=True)
    rows += zip(ids["general"], [getattr(regs, name) for name in _GENERAL], strict=True)
    vectors, stack, _ = _touched(insn)
    if vectors:
        rows.append((ids["mxcsr"], state.fpu.mxcsr))
        rows += [(ids["xmm"][n], state.fpu.xmm[n]) for n in vectors]
    if stack:
        rows += zip(ids["x87"], _x87(state.fpu), strict=True)
    uc.reg_write_batch(rows)


def take(uc: Any, state: State, insn: Any) -> int:
    """What the instruction has changed; returns RIP."""
    ids = _ids()
    vectors, stack, changed = _touched(insn)
    wanted = list(ids["general"])
    wanted += [ids["mxcsr"], *(ids["xmm"][n] for n in vectors)] if vectors else []
    wanted += ids["x87"] if stack else []
    values = iter(uc.reg_read_batch(wanted))
    for name in _GENERAL:
        setattr(state.regs, name, next(values))
    if vectors:
        state.fpu.mxcsr = next(values)
        for n in vectors:
            state.fpu.xmm[n] = next(values)
    if stack:
        _keep_x87(state.fpu, list(values), changed)
    if vectors or stack:
        state.fpu.keep()
    if insn.mnemonic.startswith(("fcomi", "fucomi")):
        state.flag(OF | SF | AF, False)  # Unicorn leaves them as they were
    return int(state.regs.rip)


def rip(uc: Any) -> int:
    """Where the engine has stopped."""
    return int(uc.reg_read(_ids()["general"][_GENERAL.index("rip")]))


def fault_address(uc: Any) -> int:
    """CR2."""
    return int(uc.reg_read(_ids()["cr2"]))


class _Touched(NamedTuple):
    """What an instruction has to do with."""

    vectors: tuple[int, ...]  # XMM registers, by number
    stack: bool  # x87 or MMX
    changed: str  # the register that it writes, if that is its first operand


@lru_cache(maxsize=1024)
def _touched(insn: Any) -> _Touched:
    groups = {insn.group_name(group) for group in insn.groups}
    operands = [insn.reg_name(o.reg) if o.type == 1 else "" for o in insn.operands]
    names = {*operands, *(insn.reg_name(reg) for regs in insn.regs_access() for reg in regs)}
    numbers = {int(name[3:]) for name in names if name.startswith("xmm")}
    if numbers or any(name.startswith(("sse", "ssse", "aes", "pclmul", "sha")) for name in groups):
        numbers.add(0)  # what an operand does not name is in the first
    stack = "fpu" in groups or any(name.startswith(("mm", "st")) for name in names)
    return _Touched(tuple(sorted(numbers)), stack, operands[0] if operands else "")


def _x87(fpu: Fpu) -> list[Any]:
    """Unicorn has the registers by number, not from the top on, and two bits of tag for each."""
    tags = sum(3 << n * 2 for n in range(STACK) if not fpu.tags >> n & 1)
    values = [fpu.stack[n - fpu.top & 7] for n in range(STACK)]
    return [fpu.control, fpu.status, tags, *((v & _MANTISSA, v >> 64) for v in values)]


def _keep_x87(fpu: Fpu, values: list[Any], changed: str) -> None:
    fpu.control, fpu.status, tags, *pairs = values
    fpu.tags = sum(1 << n for n in range(STACK) if tags >> n * 2 & 3 != 3)
    numbers = [exponent << 64 | mantissa for mantissa, exponent in pairs]
    if changed.startswith("mm"):  # Unicorn leaves out what is beyond an MMX register's 64 bits
        numbers[int(changed[2:])] |= 0xFFFF << 64
    fpu.stack = [numbers[fpu.top + n & 7] for n in range(STACK)]
