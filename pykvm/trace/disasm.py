"""Disassembly, and finding the instruction that caused an exit.

KVM's emulator reports a write with RIP past the instruction and a read with RIP on it; hardware
leaves RIP on a plain OUT, too. So an instruction is looked for on both sides of RIP: one that ends
there or starts there, and that can do what the exit did. x86 cannot be decoded backwards, so every
length from 1 to 15 is tried, and of what decodes the best explanation of the access wins.

capstone is imported with the first instruction that anybody wants to see.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from pykvm.trace.events import Code, ExitEvent

LONGEST = 15  # bytes in an x86 instruction (Intel SDM volume 2, 2.3.11)
_PORT_REGISTERS = {1: "al", 2: "ax", 4: "eax"}
_STRING_SUFFIX = {1: "b", 2: "w", 4: "d"}
_NO_ACCESS = ("lea", "nop", "prefetch", "clflush", "clwb", "invlpg")
# capstone's own access flags are wrong for movnti, cmpxchg, fstp and others, so: a first operand
# in memory is written, except by these ...
_ONLY_READ = (
    "test", "push", "call", "jmp", "lcall", "ljmp", "mul", "imul", "div", "idiv", "fld", "fild",
    "ldmxcsr", "lgdt", "lidt", "lldt", "ltr", "scas", "cmps",
)  # fmt: skip
# ... and read as well, except by these.
_ONLY_WRITTEN = ("mov", "set", "stos", "pop", "fst", "fist", "stmxcsr", "sgdt", "sidt", "ins")


class Line(NamedTuple):
    """One instruction: where, its bytes, its text in Intel's syntax."""

    address: int
    code: bytes
    text: str


class _Memory(NamedTuple):
    """A memory operand, as far as its address can be told without the segment's base."""

    base: str | None
    scaled: str | None
    scale: int
    displacement: int
    bits: int  # the address wraps there
    flat: bool  # the segment's base is 0


class _Candidate(NamedTuple):
    """An instruction beside RIP that could have caused the access."""

    text: str
    length: int
    past: bool  # it ends at RIP
    score: int
    repeats: bool  # with a REP prefix: RIP stays on it until the last round
    step: int  # a string instruction's operand size: its pointer may have moved on
    sends: int  # the bytes of AL, AX or EAX that a plain OUT writes
    memory: tuple[_Memory, ...]


@lru_cache(maxsize=6)
def _decoder(bits: int, detail: bool) -> Any:
    import capstone

    modes = {16: capstone.CS_MODE_16, 32: capstone.CS_MODE_32, 64: capstone.CS_MODE_64}
    decoder = capstone.Cs(capstone.CS_ARCH_X86, modes[bits])
    decoder.detail = detail
    return decoder


def disassemble(code: bytes, address: int, bits: int, count: int = 0) -> list[Line]:
    """Up to ``count`` instructions (0: all) of ``code``; stops at bytes that are none."""
    return [
        Line(at, code[at - address : at - address + size], f"{name} {operands}".rstrip())
        for at, size, name, operands in _decoder(bits, False).disasm_lite(code, address, count)
    ]


def instruction_at(code: Code) -> str | None:
    """The text of the instruction that starts at RIP, or None where there is none."""
    return _text_at(code.after, code.rip, code.bits)


@lru_cache(maxsize=1024)
def _text_at(after: bytes, rip: int, bits: int) -> str | None:
    lines = disassemble(after, rip, bits, 1)
    return lines[0].text if lines else None


def exiting_instruction(event: ExitEvent) -> str | None:
    """The text of the instruction that caused ``event``, or None when it cannot be told.

    Without an access it is the one at RIP; only a HLT is over when it exits.
    """
    code = event.code
    if code is None:
        return None
    if event.address is None:
        halted = event.reason == "HLT" and code.past is not False and code.before[-1:] == b"\xf4"
        return "hlt" if halted else instruction_at(code)
    port = event.address if event.reason == "IO" else None
    dx = code.registers.get("rdx")
    by_dx = port is not None and (dx is None or dx & 0xFFFF == port)
    found = _candidates(
        code.before[-LONGEST:], code.after[:LONGEST], code.bits, port, by_dx, event.size,
        event.write,
    )  # fmt: skip
    if found:
        return found[0].text if len(found) == 1 else _best(found, event, code)
    # A read that no operand shows (RET, POP): RIP is still on it.
    return instruction_at(code) if code.past is False else None


def _best(candidates: tuple[_Candidate, ...], event: ExitEvent, code: Code) -> str:
    return max(candidates, key=lambda c: (c.score + _fit(c, event, code), c.length)).text


def _fit(candidate: _Candidate, event: ExitEvent, code: Code) -> int:
    """What only the state at the exit tells: the side of RIP, the value, the address."""
    fit = 0
    unfinished = candidate.repeats and code.registers.get("rcx", 0) != 0
    if candidate.past and unfinished:
        fit -= 8  # REP moves RIP only after its last round
    if candidate.past == code.past:
        fit += 12
    elif code.past and unfinished:
        fit += 11
    if event.count > 1:
        fit += 4 if candidate.repeats else -8
    if candidate.sends and "rax" in code.registers:
        sent = code.registers["rax"] & (1 << 8 * candidate.sends) - 1
        fit += 2 if sent == event.value else -4
    if candidate.memory and event.address is not None:
        fit += max(_address_fit(m, candidate, event.address, code) for m in candidate.memory)
    return fit


def _address_fit(memory: _Memory, candidate: _Candidate, address: int, code: Code) -> int:
    """How near an operand comes to ``address``; paging may have changed all but the low 12 bits,
    a segment's base in real mode all but the low 4."""
    mask = (1 << memory.bits) - 1
    next_rip = code.rip if candidate.past else code.rip + candidate.length
    effective = memory.displacement + _register(code.registers, memory.base, next_rip)
    effective += memory.scale * _register(code.registers, memory.scaled, next_rip)
    # A string instruction in mid-flight has already moved its pointer, up or down.
    moved = (0, -candidate.step, candidate.step) if candidate.step else (0,)
    if memory.flat:
        levels: tuple[tuple[int, int], ...] = ((64, 6), (12, 5))
    else:
        levels = ((12, 5),) if code.bits > 16 else ((4, 1),)
    for low, fit in levels:
        same = (1 << low) - 1
        if any(not ((effective + n & mask) ^ address) & same for n in moved):
            return fit
    return 0


def _register(registers: Mapping[str, int], name: str | None, next_rip: int) -> int:
    if name is None or name in ("riz", "eiz"):
        return 0
    if name in ("rip", "eip"):
        return next_rip
    if name in registers:
        return registers[name]
    if name[0] == "e":  # eax
        return registers.get("r" + name[1:], 0) & 0xFFFFFFFF
    if name[-1] == "d":  # r8d
        return registers.get(name[:-1], 0) & 0xFFFFFFFF
    return registers.get("r" + name, 0) & 0xFFFF  # bx


@lru_cache(maxsize=4096)
def _candidates(
    before: bytes, after: bytes, bits: int, port: int | None, by_dx: bool, size: int, write: bool
) -> tuple[_Candidate, ...]:
    """All instructions that end or start at RIP and could make the access."""
    decoder = _decoder(bits, True)
    found = []
    for insn in decoder.disasm(after, 0, 1):
        found.append(_candidate(insn, bits, False, port, by_dx, size, write))
    for length in range(1, len(before) + 1):
        for insn in decoder.disasm(before[-length:], 0, 1):
            if insn.size == length:
                found.append(_candidate(insn, bits, True, port, by_dx, size, write))
    return tuple(c for c in found if c is not None)


def _candidate(
    insn: Any, bits: int, past: bool, port: int | None, by_dx: bool, size: int, write: bool
) -> _Candidate | None:
    name = insn.mnemonic.split()[-1]
    memory: tuple[_Memory, ...] = ()
    if port is None:
        score, memory = _fits_memory(insn, name, bits, size, write)
    else:
        score = _fits_port(insn, name, port, by_dx, size, write)
    if not score:
        return None
    string = name[:-1] in ("ins", "outs", "movs", "stos", "lods", "cmps", "scas")
    return _Candidate(
        text=f"{insn.mnemonic} {insn.op_str}".rstrip(),
        length=insn.size,
        past=past,
        score=score,
        repeats=string and insn.mnemonic.startswith("rep"),
        step=size if string else 0,
        sends=size if name == "out" else 0,
        memory=memory,
    )


def _fits_port(insn: Any, name: str, port: int, by_dx: bool, size: int, write: bool) -> int:
    """How well an instruction explains a port access; 0 is not at all."""
    verb = "out" if write else "in"
    if name == f"{verb}s{_STRING_SUFFIX.get(size)}":
        return 3 if by_dx else 0
    if name != verb:
        return 0
    where, data = insn.op_str.split(", ") if write else reversed(insn.op_str.split(", "))
    if data != _PORT_REGISTERS.get(size):
        return 0
    if where == "dx":
        return 3 if by_dx else 0
    return 4 if int(where, 0) & 0xFF == port else 0


def _fits_memory(
    insn: Any, name: str, bits: int, size: int, write: bool
) -> tuple[int, tuple[_Memory, ...]]:
    """How well an instruction explains a memory access, and by which operands."""
    import capstone

    if name.startswith(_NO_ACCESS):
        return 0, ()
    score, memory = 0, []
    for n, operand in enumerate(insn.operands):
        if operand.type != capstone.CS_OP_MEM or not _touches(name, n, write):
            continue
        if 0 < operand.size < size:
            continue  # KVM splits an access, but never joins two
        exact = 4 if operand.size == size else 1
        plain = 1 if name.startswith("mov") else 0
        score = max(score, exact + plain)
        memory.append(_memory(insn, operand.mem, bits))
    return score, tuple(memory)


def _touches(name: str, n: int, write: bool) -> bool:
    """Whether operand ``n``, in memory, is written (read) by the instruction."""
    only_read = name in ("cmp", "bt") or name.startswith(_ONLY_READ)
    if write:
        return n == 0 and not only_read
    return n > 0 or only_read or not name.startswith(_ONLY_WRITTEN)


def _memory(insn: Any, mem: Any, bits: int) -> _Memory:
    def name(register: int) -> str | None:
        return insn.reg_name(register) or None

    return _Memory(
        base=name(mem.base),
        scaled=name(mem.index),
        scale=mem.scale,
        displacement=mem.disp,
        bits=insn.addr_size * 8,
        flat=bits == 64 and name(mem.segment) not in ("fs", "gs"),
    )
