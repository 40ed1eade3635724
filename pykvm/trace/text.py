"""One line of text per event.

0.000512  0  IO    out 0x03f8/1  uart0.THR = 0x48 'H'        0x10000f  out dx, al
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TextIO

from pykvm.trace.disasm import exiting_instruction
from pykvm.trace.events import DeviceEvent, Event, ExitEvent, IrqEvent

Accepts = Callable[[Event], bool]


class TextSink:
    """Writes the events that ``accepts`` takes to ``stream``; closes it when ``owned``.

    Lines are flushed one by one to a terminal, else when the stream's buffer is full or at the end.
    """

    wants_code = True

    def __init__(
        self, stream: TextIO, accepts: Accepts = lambda event: True, *, owned: bool = False
    ) -> None:
        self._stream = stream
        self._accepts = accepts
        self._owned = owned
        self._flush = not owned

    def event(self, event: Event) -> None:
        if self._accepts(event):
            self._stream.write(render(event) + "\n")
            if self._flush:
                self._stream.flush()

    def close(self) -> None:
        self._stream.flush()
        if self._owned:
            self._stream.close()


def render(event: Event) -> str:
    """The event's line, without a newline."""
    if isinstance(event, ExitEvent):
        return _exit(event)
    start = f"{event.time_ns / 1e9:10.6f}  -  "
    if isinstance(event, IrqEvent):
        return f"{start}irq   {event.device} {event.line} {'up' if event.level else 'down'}"
    return f"{start}{event.device}  {event.what} {_details(event)}".rstrip()


def _details(event: DeviceEvent) -> str:
    return " ".join(
        f"{key}={value:#x}" if isinstance(value, int) else f"{key}={value}"
        for key, value in event.details.items()
    )


def _exit(event: ExitEvent) -> str:
    start = f"{event.time_ns / 1e9:10.6f}  {event.vcpu}  {event.reason:<4}  "
    what = event.detail if event.address is None else access(event)
    if event.code is None:
        return (start + what).rstrip()
    instruction = exiting_instruction(event) or ""
    return f"{start}{what:<58}  {event.code.rip:#x}  {instruction}".rstrip()


def access(event: ExitEvent) -> str:
    """``out 0x03f8/1  uart0.THR = 0x48 'H'``: what a device exit did, and to which register."""
    assert event.address is not None
    if event.reason == "IO":
        verb, where = "out" if event.write else "in ", f"{event.address:#06x}"
    else:
        verb, where = "st " if event.write else "ld ", f"{event.address:#010x}"
    times = f"*{event.count}" if event.count > 1 else ""
    return f"{verb} {where}/{event.size}{times}  {_target(event)} = {_value(event)}"


def _target(event: ExitEvent) -> str:
    if event.device is None:
        return "unclaimed"
    if event.register is None:
        return f"{event.device}+{event.offset:#x}"
    return f"{event.device}.{event.register.element(event.offset)}"


def _value(event: ExitEvent) -> str:
    text = f"{event.value:#x}"
    register = event.register
    if register is None:
        return text
    if register.fields and event.size <= register.size:
        decoded = register.decode(event.value)
        return f"{text} {decoded}" if decoded else text
    if register.name in ("THR", "RBR") and 0x20 <= event.value < 0x7F:
        return f"{text} {chr(event.value)!r}"
    return text
