"""What an instruction can end in besides its result."""

from __future__ import annotations

UD, NM, DF, NP, SS, GP, PF, MF = 6, 7, 8, 11, 12, 13, 14, 16


class Fault(Exception):
    """An exception of the guest's CPU, raised before the instruction changed anything.

    ``error_code`` None for vectors that have none; ``cr2`` with #PF only.
    """

    def __init__(self, vector: int, error_code: int | None = None, cr2: int | None = None) -> None:
        super().__init__(f"vector {vector}")
        self.vector = vector
        self.error_code = error_code
        self.cr2 = cr2


class CannotFinish(Exception):
    """Nobody here knows the instruction; the message says why, for the crash report."""
