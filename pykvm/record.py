"""Records: values with named, typed fields, as frozen dataclasses are, made in no time.

A dataclass writes its methods as source and compiles them when its module is imported, with half of
``inspect`` to help; on the way to a guest's first instruction that was a quarter of the time. A
record has the methods of its base, and type checkers treat it as a frozen dataclass::

    class Slot(Record):
        base: int
        size: int
        writable: bool = True

Fields are given in order or by name (by name only after ``kw_only=True``), and ``__post_init__``
may check them. A record is made of its own fields alone, so none derives from another. What changes
is no record, but a plain class.
"""

from __future__ import annotations

from pykvm.hints import Any, ClassVar, NoReturn, Self, dataclass_transform


@dataclass_transform(frozen_default=True)
class Record:
    """The base of all records. Raises TypeError for fields that are missing, unknown or given
    twice, named in its message; AttributeError for an attempt to change one."""

    _names: ClassVar[dict[str, Any]] = {}
    _positional: ClassVar[tuple[str, ...]] = ()
    _defaults: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls, *, kw_only: bool = False) -> None:
        cls._names = cls.__annotations__
        cls._positional = () if kw_only else tuple(cls._names)
        cls._defaults = {name: vars(cls)[name] for name in cls._names if name in vars(cls)}

    def __init__(self, *args: Any, **named: Any) -> None:
        values = self.__dict__
        values.update(self._defaults)
        values.update(zip(self._positional, args, strict=False))
        values.update(named)
        twice = named and not named.keys().isdisjoint(self._positional[: len(args)])
        if twice or len(args) > len(self._positional) or values.keys() != self._names.keys():
            raise TypeError(self._wrong(args, named))
        self.__post_init__()

    @classmethod
    def _wrong(cls, args: tuple[Any, ...], named: dict[str, Any]) -> str:
        """What is wrong with the fields that were given."""
        name, fields = cls.__name__, ", ".join(cls._names)
        for unknown in named.keys() - cls._names.keys():
            import difflib

            near = difflib.get_close_matches(unknown, cls._names, 1)
            hint = f"did you mean {near[0]}?" if near else f"its fields are {fields}"
            return f"{name} has no field {unknown}: {hint}"
        if len(args) > len(cls._positional):
            most = len(cls._positional)
            return f"{name} takes {most or 'no'} fields without their names, not {len(args)}"
        given = cls._positional[: len(args)]
        for twice in given:
            if twice in named:
                return f"{name}: {twice} is given twice"
        missing = [f for f in cls._names if f not in cls._defaults | named and f not in given]
        return f"{name} needs {', '.join(missing)}; its fields are {fields}"

    def __post_init__(self) -> None:
        """For checks; called last."""

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed; they are checked anew."""
        return type(self)(**self.__dict__ | changes)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__}.{name} does not change")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__}.{name} does not change")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash(tuple(self.__dict__[name] for name in self._names))

    def __repr__(self) -> str:
        fields = (f"{name}={self.__dict__[name]!r}" for name in self._names)
        return f"{type(self).__name__}({', '.join(fields)})"
