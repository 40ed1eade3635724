"""Character backends by name: what ``--serial`` and ``--console`` take."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pykvm.errors import UsageError
from pykvm.interfaces import CharBackend, EventLoop


def open_char_backend(
    spec: str,
    loop: EventLoop,
    actions: Mapping[str, Callable[[], None]],
    say: Callable[[str], None],
    *,
    option: str = "--serial",
) -> CharBackend:
    """Open ``stdio``, ``null``, ``pty`` or ``file:PATH``.

    ``actions`` are what the user's keys behind Ctrl-A do; ``say`` tells the user something,
    ``option`` is where the name comes from.
    Raises UsageError for another name, HostError when the host cannot open it.
    """
    kind, _, argument = spec.partition(":")
    if spec == "stdio":
        from pykvm.backends.char_stdio import StdioBackend

        return StdioBackend(loop, actions, say)
    if spec == "null":
        from pykvm.backends.char_null import NullBackend

        return NullBackend()
    if spec == "pty":
        from pykvm.backends.char_pty import PtyBackend

        return PtyBackend(loop, say, option)
    if kind == "file" and argument:
        from pykvm.backends.char_file import FileBackend

        return FileBackend(argument, option)
    raise UsageError(f"{option}: {spec!r}; it takes stdio, null, pty or file:PATH")
