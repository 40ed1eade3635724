"""A crash is a report: what happened, in words, and everything needed to find out why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pykvm.crash_registers import CR0, CR4, EFER, RFLAGS
from pykvm.registers import Register
from pykvm.trace.disasm import Line, disassemble, instruction_at
from pykvm.trace.events import Code, ExitEvent
from pykvm.trace.text import summary

_SHOWN_BEFORE, _SHOWN_AFTER = 3, 4  # instructions around RIP
_SHOWN_EXITS = 16
_SHORT = 60  # characters of one value of a device's state
_UNDEFINED = ("ud0", "ud1", "ud2", "int3", "int1", "into")  # they are an exception, and say so
# Privileged wherever CPL is above 0; port access, CLI and STI can be allowed by IOPL.
_PRIVILEGED = (
    "hlt", "lgdt", "lidt", "lldt", "ltr", "lmsw", "clts", "invd", "wbinvd", "invlpg", "rdmsr",
    "wrmsr", "swapgs", "sysret", "sysexit", "xsetbv", "mov cr", "mov dr",
)  # fmt: skip
_EMPTY = bytes(8)
_DOUBLE_FAULT = 8


class Segment(NamedTuple):
    """A segment register with what the CPU has cached of its descriptor."""

    selector: int
    base: int
    limit: int
    attributes: str  # "code 64-bit dpl 0"


@dataclass(frozen=True)
class CrashReport:
    """Plain data: everything that is known of a guest that cannot go on.

    ``reason`` is a sentence, ``detail`` what else is known of it. ``code`` holds RIP, the general
    registers and the bytes around RIP; ``control`` holds cr0, cr2, cr3, cr4, cr8, efer and rflags;
    ``tables`` gdt and idt as (base, limit); ``recent`` the last exits, oldest first; ``devices``
    each device's state. ``stack_is_mapped`` says whether the bytes below RSP, where an exception
    would be pushed, are RAM (None: nobody looked).
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
    detail: str = ""
    stack_is_mapped: bool | None = None

    @property
    def cpl(self) -> int:
        """The current privilege level."""
        if self.mode == "real":
            return 0
        return 3 if self.mode == "virtual-8086" else self.segments["cs"].selector & 3


def guess(report: CrashReport) -> str | None:
    """The likely cause, when the state shows one."""
    if report.code_is_mapped:
        causes = [_instruction(report)]
    else:
        causes = [f"RIP {report.code.rip:#x} is not in RAM: a jump or a return went astray"]
    if report.stack_is_mapped is False:
        causes.append(f"the stack at RSP {report.code.registers['rsp']:#x} is not in RAM")
    if "triple fault" in report.reason and report.code_is_mapped:
        causes += [_idt(report), _page_fault(report)]
    return ", and ".join(cause for cause in causes if cause) or None


def _instruction(report: CrashReport) -> str | None:
    """What the bytes at RIP say."""
    code = report.code
    if code.after.startswith(_EMPTY):
        return "the bytes at RIP are all zero: the guest ran into empty memory"
    text = instruction_at(code)
    if text is None:
        return "the bytes at RIP are no instruction"
    if not text.startswith(_UNDEFINED) and code.before.endswith(b"\xcc"):
        return f"the instruction before RIP is `int3`, the one at RIP `{text}`"
    cause = f"the instruction at RIP is `{text}`"
    if report.cpl and text.startswith(_PRIVILEGED):
        cause += f", which is privileged, at CPL {report.cpl}"
    if "emulate" in report.reason and "xmm" in text:
        cause += " (build the guest with -mgeneral-regs-only for a KVM that emulates ring 0)"
    return cause


def _idt(report: CrashReport) -> str:
    """Why no exception could be delivered, as far as the IDT's size tells."""
    limit = report.tables["idt"][1]
    if limit == 0:
        return "the IDT is empty"
    # Bytes per gate: Intel SDM volume 3, 6.14.1, 6.11 and 20.1.4.
    gate = 16 if report.mode in ("long", "compatibility") else 4 if report.mode == "real" else 8
    if limit < (_DOUBLE_FAULT + 1) * gate - 1:
        return f"the IDT has limit {limit:#x}, too small for a double fault's gate"
    return f"the IDT has limit {limit:#x}"


def _page_fault(report: CrashReport) -> str | None:
    """CR2 is of interest unless the instruction explains itself; it can be an old fault's."""
    explained = (instruction_at(report.code) or "").startswith(_UNDEFINED)
    if explained or not report.control["cr2"] or not CR0["PG"].get(report.control["cr0"]):
        return None
    return f"the last page fault was at CR2 = {report.control['cr2']:#x}"


def render(report: CrashReport) -> str:
    """The report as text, many lines."""
    sections = [
        [f"pykvm: guest crash: {report.reason}"],
        [f"  {line}" for line in (report.detail, guess(report)) if line],
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
    rip, base = report.code.rip, report.segments["cs"].base
    linear = f" (linear {base + rip:#x})" if base and report.mode != "long" else ""
    return [f"vcpu {report.vcpu}, {report.mode} mode, CPL {report.cpl}, RIP {rip:#x}{linear}"]


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
    before = _before(code)[-_SHOWN_BEFORE:]
    after = disassemble(code.after, code.rip, code.bits, _SHOWN_AFTER)
    width = max(len(f"{line.address:#x}") for line in [*before, *after, Line(code.rip, b"", "")])
    lines = ["code:"]
    for line in [*before, *after]:
        arrow = "->" if line.address == code.rip else "  "
        lines.append(
            f"  {arrow} {hex(line.address):>{width}}: {line.code.hex(' '):<24} {line.text}"
        )
    if not after:
        lines.append(f"  -> {hex(code.rip):>{width}}: {code.after.hex(' ')}  (no instruction)")
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
    recent = report.recent[-_SHOWN_EXITS:]
    title = f"last {len(recent)} exits, oldest first:" if len(recent) > 1 else "last exit:"
    return [title] + ["  " + summary(event) for event in recent]


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
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:#x}"
    text = value.hex() if isinstance(value, bytes) else str(value)
    text = text if text.isprintable() else repr(text)
    return (text if len(text) <= _SHORT else f"{text[: _SHORT - 3]}...") or "-"
