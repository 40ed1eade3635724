"""A crash is a report: what happened, in words, and everything needed to find out why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pykvm.crash_registers import CR0, CR4, EFER, RFLAGS
from pykvm.registers import Register
from pykvm.trace.disasm import Line, disassemble
from pykvm.trace.events import Code, ExitEvent
from pykvm.trace.text import render as render_event

_SHOWN_BEFORE, _SHOWN_AFTER = 3, 4  # instructions around RIP


class Segment(NamedTuple):
    """A segment register with what the CPU has cached of its descriptor."""

    selector: int
    base: int
    limit: int
    attributes: str  # "code 64-bit dpl 0"


@dataclass(frozen=True)
class CrashReport:
    """Plain data: everything that is known of a guest that cannot go on.

    ``reason`` is a sentence. ``code`` holds RIP, the general registers and the bytes around RIP;
    ``control`` holds cr0, cr2, cr3, cr4, cr8, efer and rflags; ``tables`` gdt and idt as (base,
    limit); ``recent`` the last exits, oldest first; ``devices`` each device's state.
    """

    reason: str
    vcpu: int
    mode: str
    code: Code
    control: Mapping[str, int]
    segments: Mapping[str, Segment]
    tables: Mapping[str, tuple[int, int]]
    recent: tuple[ExitEvent, ...] = ()
    devices: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    code_is_mapped: bool = True


def instruction_at(code: Code) -> str | None:
    """The text of the instruction at RIP."""
    lines = disassemble(code.after, code.rip, code.bits, 1)
    return lines[0].text if lines else None


def guess(report: CrashReport) -> str | None:
    """The likely cause, when the state shows one."""
    if not report.code_is_mapped:
        return f"RIP {report.code.rip:#x} is not in RAM: a jump or a return went astray"
    instruction = instruction_at(report.code)
    at = f"the instruction at RIP is `{instruction}`" if instruction else None
    if "triple fault" in report.reason:
        idt_limit = report.tables["idt"][1]
        why = "the IDT is empty" if idt_limit == 0 else f"the IDT has limit {idt_limit:#x}"
        return ", and ".join(part for part in (at, why) if part)
    return at


def render(report: CrashReport) -> str:
    """The report as text, many lines."""
    sections = [
        [f"pykvm: guest crash: {report.reason}"],
        [f"  {line}" for line in [guess(report)] if line],
        _header(report),
        _general(report),
        _flags(report),
        _segments(report),
        _code(report),
        _recent(report),
        _devices(report),
    ]
    return "\n".join(line for section in sections for line in section)


def _header(report: CrashReport) -> list[str]:
    cpl = report.segments["cs"].selector & 3
    return [f"vcpu {report.vcpu}, {report.mode} mode, CPL {cpl}, RIP {report.code.rip:#x}"]


def _general(report: CrashReport) -> list[str]:
    names = [name for name in report.code.registers if name != "rflags"]
    rows = [names[n : n + 4] for n in range(0, len(names), 4)]
    return [
        "  " + "  ".join(f"{name:>3}={report.code.registers[name]:016x}" for name in row)
        for row in rows
    ]


def _flags(report: CrashReport) -> list[str]:
    def line(name: str, register: Register) -> str:
        value = report.control[name]
        return f"  {name}={value:x}  {_set_bits(register, value)}".rstrip()

    plain = "  ".join(f"{name}={report.control[name]:x}" for name in ("cr2", "cr3", "cr8"))
    return [
        line("rflags", RFLAGS),
        line("cr0", CR0),
        line("cr4", CR4),
        line("efer", EFER),
        f"  {plain}",
    ]


def _set_bits(register: Register, value: int) -> str:
    return " ".join(f.text(value) for f in register.fields if f.get(value))


def _segments(report: CrashReport) -> list[str]:
    lines = [
        f"  {name}={s.selector:04x} base={s.base:016x} limit={s.limit:08x} {s.attributes}"
        for name, s in report.segments.items()
    ]
    tables = [
        f"  {name}     base={base:016x} limit={limit:04x}"
        for name, (base, limit) in report.tables.items()
    ]
    return lines + tables


def _code(report: CrashReport) -> list[str]:
    code = report.code
    if not report.code_is_mapped:
        return ["code: RIP is not mapped to RAM"]
    lines = ["code:"]
    for line in _before(code)[-_SHOWN_BEFORE:]:
        lines.append(f"     {line.address:#x}: {line.code.hex(' '):<24} {line.text}")
    after = disassemble(code.after, code.rip, code.bits, _SHOWN_AFTER)
    for n, line in enumerate(after):
        arrow = "->" if n == 0 else "  "
        lines.append(f"  {arrow} {line.address:#x}: {line.code.hex(' '):<24} {line.text}")
    if not after:
        lines.append(f"  -> {code.rip:#x}: {code.after.hex(' ')}  (no instruction)")
    return lines


def _before(code: Code) -> list[Line]:
    """Instructions that end exactly at RIP: the longest run of them that decodes."""
    for start in range(len(code.before)):
        lines = disassemble(code.before[start:], code.rip - len(code.before) + start, code.bits)
        if lines and lines[-1].address + len(lines[-1].code) == code.rip:
            return list(lines)
    return []


def _recent(report: CrashReport) -> list[str]:
    if not report.recent:
        return ["no exits before it"]
    return [f"last {len(report.recent)} exits, oldest first:"] + [
        "  " + render_event(event).split(None, 1)[1] for event in report.recent
    ]


def _devices(report: CrashReport) -> list[str]:
    if not report.devices:
        return []
    lines = ["devices:"]
    for name, state in report.devices.items():
        values = " ".join(
            f"{key}={_short(value)}" for key, value in state.items() if key != "version"
        )
        lines.append(f"  {name}: {values}" if values else f"  {name}")
    return lines


def _short(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int):
        text = value.hex() if isinstance(value, bytes) else str(value)
        return text if len(text) <= 40 else f"{text[:37]}..."
    return f"{value:#x}"
