"""Disassembly, and finding the instruction that caused an exit.

KVM reports some exits with RIP on the instruction and some with RIP past it, so the bytes on both
sides are looked at: an instruction ends at RIP, or starts there, and it must be one that can do
what the exit did. capstone is imported with the first instruction that anybody wants to see.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, NamedTuple

from pykvm.trace.events import Code, ExitEvent

_LONGEST = 15
_POINTERS = {1: "byte", 2: "word", 4: "dword", 8: "qword"}
_PORT_REGISTERS = {1: "al", 2: "ax", 4: "eax"}
_STRING_SUFFIX = {1: "b", 2: "w", 4: "d"}
_READ_ONLY = frozenset(("cmp", "test", "bt"))


class Line(NamedTuple):
    """One instruction: where, its bytes, its text in Intel's syntax."""

    address: int
    code: bytes
    text: str


@lru_cache(maxsize=3)
def _decoder(bits: int) -> Any:
    import capstone

    modes = {16: capstone.CS_MODE_16, 32: capstone.CS_MODE_32, 64: capstone.CS_MODE_64}
    return capstone.Cs(capstone.CS_ARCH_X86, modes[bits])


def disassemble(code: bytes, address: int, bits: int, count: int = 0) -> list[Line]:
    """Up to ``count`` instructions (0: all) of ``code``; stops at bytes that are none."""
    return [
        Line(at, code[at - address : at - address + size], f"{name} {operands}".rstrip())
        for at, size, name, operands in _decoder(bits).disasm_lite(code, address, count)
    ]


def exiting_instruction(event: ExitEvent) -> str | None:
    """The text of the instruction that caused ``event``, or None when it cannot be told."""
    code = event.code
    if code is None:
        return None
    if event.address is None:
        return _first(code)
    port = event.address if event.reason == "IO" else -1
    dx = code.registers.get("rdx", 0) & 0xFFFF
    return _find(
        code.before, code.after, code.rip, code.bits, code.past, port, dx == port, event.size,
        event.write,
    )  # fmt: skip


def _first(code: Code) -> str | None:
    lines = disassemble(code.after, code.rip, code.bits, 1)
    return lines[0].text if lines else None


@lru_cache(maxsize=4096)
def _find(
    before: bytes, after: bytes, rip: int, bits: int, past: bool | None, port: int, by_dx: bool,
    size: int, write: bool,
) -> str | None:  # fmt: skip
    """The candidate that fits the access best; past or at RIP as far as that is known."""
    best, found = 0, None
    if past is not True:
        for line in disassemble(after, rip, bits, 1):
            fit = _fit(line.text, port, by_dx, size, write)
            if fit > best:
                best, found = fit, line.text
    if past is not False:
        for length in range(1, min(_LONGEST, len(before)) + 1):
            lines = disassemble(before[-length:], rip - length, bits, 1)
            if lines and len(lines[0].code) == length:
                fit = _fit(lines[0].text, port, by_dx, size, write)
                if fit > best:
                    best, found = fit, lines[0].text
    return found


def _fit(text: str, port: int, by_dx: bool, size: int, write: bool) -> int:
    """How well an instruction explains an access; 0 is not at all."""
    words = text.split(None, 1)
    if words[0].startswith("rep") and len(words) > 1:
        words = words[1].split(None, 1)
    name, operands = words[0], words[1] if len(words) > 1 else ""
    if port >= 0:
        return _fit_port(name, operands, port, by_dx, size, write)
    if "[" not in operands:
        return 0
    destination = operands.split(",", 1)[0]
    first = "[" in destination
    stores = first and name not in _READ_ONLY and not name.startswith("push")
    loads = not first or name not in ("mov", "movnti", "movabs") or name == "push"
    if not (stores if write else loads):
        return 0
    width = re.search(r"(byte|word|dword|qword) ptr", operands)
    fits = width is not None and width[1] == _POINTERS.get(size)
    exact = (first and write) or (not first and not write)
    # Longer encodings explain more bytes: a prefix belongs to the instruction that it precedes.
    return 1 + 4 * fits + 2 * exact + (name.startswith("mov"))


def _fit_port(name: str, operands: str, port: int, by_dx: bool, size: int, write: bool) -> int:
    verb = "out" if write else "in"
    if name == f"{verb}s{_STRING_SUFFIX.get(size)}":
        return 4 if by_dx else 0
    if name != verb:
        return 0
    parts = [part.strip() for part in operands.split(",")]
    where, data = parts if write else reversed(parts)
    if data != _PORT_REGISTERS.get(size):
        return 0
    if where == "dx":
        return 3 if by_dx else 0
    return 4 if int(where, 0) & 0xFF == port else 0
