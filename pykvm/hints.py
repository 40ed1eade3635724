"""The names of ``typing`` that annotations are written with, at none of its cost.

Loading it takes 3 ms, with ``re``: a tenth of a guest's start. A type checker takes the first
branch of what follows. At run time annotations are not evaluated (``from __future__ import
annotations``), so it is enough that the names exist. What a plain run does not load may as well
import ``typing``.
"""

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import IO, Any, BinaryIO, ClassVar, NoReturn, Protocol, Self, dataclass_transform
else:

    class Protocol:
        """Interfaces derive from it, and are for type checkers only."""

    IO = Any = BinaryIO = ClassVar = NoReturn = Self = Protocol

    def dataclass_transform(**_):
        """For type checkers only."""
        return lambda cls: cls


__all__ = [
    "IO",
    "TYPE_CHECKING",
    "Any",
    "BinaryIO",
    "ClassVar",
    "NoReturn",
    "Protocol",
    "Self",
    "dataclass_transform",
]
