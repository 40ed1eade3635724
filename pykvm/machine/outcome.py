"""How a run ended."""

from __future__ import annotations

from pykvm.hints import TYPE_CHECKING
from pykvm.record import Record

if TYPE_CHECKING:
    from pykvm.crash import CrashReport

TIMEOUT_STATUS = 124
CRASH_STATUS = 6


class Outcome(Record):
    """``status`` is the exit status that the command line's contract gives this end.

    ``reason`` is a short phrase for people ("guest exited", "timeout"); ``report`` is there when
    the guest crashed, ``error`` when pykvm itself has a bug.
    """

    reason: str
    status: int = 0
    report: CrashReport | None = None
    error: BaseException | None = None

    @property
    def crashed(self) -> bool:
        return self.report is not None
