"""One line of text per event.

0.000512  0  IO    out 0x03f8/1  uart0.THR = 0x48 'H'        0x10000f  out dx, al
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol

from pykvm.net.summary import summary as frame_summary
from pykvm.registers import Register
from pykvm.trace.disasm import exiting_instruction
from pykvm.trace.events import DeviceEvent, Event, ExitEvent, IrqEvent


class Stream(Protocol):
    """Where text goes: an open file, or what can do as much."""

    def write(self, text: str, /) -> int:
        """Write all of it."""

    def flush(self) -> None:
        """Let the reader have it."""

    def isatty(self) -> bool:
        """Whether people read along."""

    def close(self) -> None:
        """That was all."""


Accepts = Callable[[Event], bool]

_CHARACTER_REGISTERS = frozenset(("THR", "RBR"))  # of the 16550A: what they hold is text
_CONTROLS = frozenset(b"\t\n\r\x1b")
_RED, _YELLOW, _CYAN, _PLAIN = "\x1b[31m", "\x1b[33m", "\x1b[36m", "\x1b[0m"


class TextSink:
    """Writes the events that ``accepts`` takes to ``stream``; closes it when ``owned``.

    Lines are flushed one by one to a terminal or to a stream that others write to as well, else
    when the stream's buffer is full and at the end. ``colour`` None means: on a terminal, unless
    NO_COLOR is set. Without ``wants_code`` lines lack RIP and the instruction, and the guest runs
    faster; it is for selections without exits.
    """

    def __init__(
        self,
        stream: Stream,
        accepts: Accepts = lambda event: True,
        *,
        owned: bool = False,
        colour: bool | None = None,
        wants_code: bool = True,
    ) -> None:
        self.wants_code = wants_code
        self._stream = stream
        self._accepts = accepts
        self._owned = owned
        terminal = stream.isatty()
        self._flush = terminal or not owned
        wanted = terminal and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        self._line = coloured if (wanted if colour is None else colour) else render

    def event(self, event: Event) -> None:
        """Write the event's line, if it is of interest."""
        if self._accepts(event):
            self._stream.write(self._line(event) + "\n")
            if self._flush:
                self._stream.flush()

    def close(self) -> None:
        """Flush; close what is owned."""
        try:
            self._stream.flush()
        finally:
            if self._owned:
                self._stream.close()


def render(event: Event) -> str:
    """The event's line, without a newline."""
    if isinstance(event, ExitEvent):
        return _exit(event)
    start = f"{event.time_ns / 1e9:10.6f}  -  "
    if isinstance(event, IrqEvent):
        return f"{start}irq   {event.device} {event.line} {'up' if event.level else 'down'}"
    return f"{start}dev   {event.device} {event.what}{_details(event)}"


def coloured(event: Event) -> str:
    """The same for a terminal: unclaimed accesses red, interrupts yellow, device events cyan."""
    line = render(event)
    if isinstance(event, ExitEvent):
        unclaimed = event.address is not None and event.device is None
        return f"{_RED}{line}{_PLAIN}" if unclaimed else line
    return f"{_YELLOW if isinstance(event, IrqEvent) else _CYAN}{line}{_PLAIN}"


def _details(event: DeviceEvent) -> str:
    return "".join(
        f" {frame_summary(value)}" if key == "frame" else f" {key}={_detail(value)}"
        for key, value in event.details.items()
    )


def _detail(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:#x}"
    text = value.hex() if isinstance(value, bytes) else str(value)
    return text if text.isprintable() else repr(text)  # a line stays a line


def _exit(event: ExitEvent) -> str:
    start = f"{event.time_ns / 1e9:10.6f}  "
    what = summary(event)
    code = event.code
    if code is None:
        return start + what
    instruction = _instruction(event)
    return f"{start}{what:<67}  {code.rip:#x}  {instruction}".rstrip()


def _instruction(event: ExitEvent) -> str:
    try:
        return exiting_instruction(event) or ""
    except Exception:  # the bytes are the guest's, and capstone stumbles as it likes
        return "(cannot be read)"


def summary(event: ExitEvent) -> str:
    """The exit without time, RIP and instruction: vCPU, reason and what was accessed."""
    what = event.detail if event.address is None else access(event)
    return f"{event.vcpu}  {event.reason:<4}  {what}".rstrip()


def access(event: ExitEvent) -> str:
    """``out 0x03f8/1  uart0.THR = 0x48 'H'``: what a device exit did, and to which register.

    ``/1`` is the size in bytes, ``*12`` after it the count of a string instruction. An exit without
    an access gives the empty string.
    """
    if event.address is None:
        return ""
    if event.reason == "IO":
        verb, where = "out" if event.write else "in ", f"{event.address:#06x}"
    else:
        verb, where = "st " if event.write else "ld ", f"{event.address:#010x}"
    times = f"*{event.count}" if event.count > 1 else ""
    text = f"{verb} {where}/{event.size}{times}  {_target(event)} = {_value(event)}"
    return f"{text}  {event.detail}" if event.detail else text


def _target(event: ExitEvent) -> str:
    if event.device is None:
        return "unclaimed"
    register = event.register
    if register is None:
        return f"{event.device}+{event.offset:#x}"
    inside = _inside(register, event.offset)
    name = register.name if register.count == 1 else register.element(event.offset)
    return f"{event.device}.{name}+{inside}" if inside else f"{event.device}.{name}"


def _inside(register: Register, offset: int) -> int:
    """How many bytes into the register (or its array's element) ``offset`` is."""
    inside = offset - register.offset
    return inside % register.stride if register.count > 1 else inside


def _value(event: ExitEvent) -> str:
    value, register = event.value, event.register
    if register is None:
        return f"{value:#x}"
    if register.fields:
        decoded = _decode(register, event)
        return f"{value:#x} {decoded}" if decoded else f"{value:#x}"
    if register.name in _CHARACTER_REGISTERS and (0x20 <= value < 0x7F or value in _CONTROLS):
        return f"{value:#x} {chr(value)!r}"
    return f"{value:#x}"


def _decode(register: Register, event: ExitEvent) -> str:
    """The fields; of a partial access, those that lie wholly in the bytes that it touched."""
    inside = _inside(register, event.offset)
    if event.size == register.size and not inside:
        return register.decode(event.value)
    if inside < 0 or event.size > register.size:
        return ""
    first, end = 8 * inside, 8 * (inside + event.size)
    value = event.value << first
    return " ".join(
        f.text(value)
        for f in register.fields
        if first <= f.lsb
        and f.lsb + f.width <= end
        and (f.get(value) or f.width > 1 or (f.enum is not None and 0 in f.enum))
    )
