"""The machine's virtio console: ``--console`` becomes a device in a slot, over its backend."""

from __future__ import annotations

import os
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from pykvm.devices.virtio.console import Console, Size
from pykvm.machine.virtio import plug

if TYPE_CHECKING:
    from pykvm.machine.machine import Machine

_STDOUT = 1


def plug_console(machine: Machine, stack: ExitStack, where: str) -> None:
    """Open and plug it; ``stack`` closes it. Raises UsageError, HostError."""
    backend = machine.open_terminal("--console", where)
    machine.terminals.append(backend)
    stack.callback(backend.close)
    has_size = where == "stdio" and os.isatty(_STDOUT)
    console = Console(backend, _size if has_size else None)
    plug(machine, stack, "virtio-console", console)
    if has_size:
        _watch_size(machine, stack, console)


def _size() -> Size:
    try:
        size = os.get_terminal_size(_STDOUT)
    except OSError:  # the terminal has gone
        return 0, 0
    return size.columns, size.lines


def _watch_size(machine: Machine, stack: ExitStack, console: Console) -> None:
    """By an eventfd, which is all that a signal handler may safely touch."""
    changed = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def came() -> None:
        os.eventfd_read(changed)
        console.resized()

    def close() -> None:
        machine.resized = lambda: None
        machine.loop.remove_reader(changed)
        os.close(changed)

    machine.loop.add_reader(changed, came)
    machine.resized = partial(os.eventfd_write, changed, 1)
    stack.callback(close)
