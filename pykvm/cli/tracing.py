"""The text trace as the command line opens it: to stderr, or to a file."""

from __future__ import annotations

from collections.abc import Iterable

from pykvm.cli.stderr import STDERR
from pykvm.errors import UsageError
from pykvm.trace.select import Selection
from pykvm.trace.text import TextSink


def text_sink(kinds: str, path: str | None, devices: Iterable[str] = ()) -> TextSink:
    """A sink for the events that ``kinds`` names. Raises UsageError."""
    selection = Selection(kinds, devices)
    if path is None:
        return TextSink(STDERR, selection.accepts, wants_code=selection.wants_exits)
    try:
        stream = open(path, "w", buffering=1 << 16)  # noqa: SIM115  (the sink owns it)
    except OSError as e:
        raise UsageError(f"--trace-file {path}: {e.strerror}") from e
    return TextSink(stream, selection.accepts, owned=True, wants_code=selection.wants_exits)
