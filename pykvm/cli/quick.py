"""A plain command line, read without argparse, which takes 5 ms to load and to build.

``parse`` has a command declare its options as for argparse, and reads what needs no thought:
options spelled out, and values that do not look like options. For the rest (help, ``--``,
``-m64M``, all that is wrong) it says None, and argparse decides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace

from pykvm.hints import Any


def parse(add: Callable[[Any], None], arguments: Sequence[str]) -> SimpleNamespace | None:
    """What argparse would make of the ``arguments`` of the command that ``add`` declares; None if
    that takes argparse."""
    command = _Command()
    add(command)
    try:
        return command.parse(arguments)
    except Exception:  # also of a conversion: argparse will meet it again, and tell it
        return None


class _Option:
    """One option, or the positional argument; as ``add_argument`` declares it."""

    def __init__(
        self, name: str, action: str = "store", type: Callable[[str], Any] = str,
        choices: Sequence[str] | None = None, default: Any = None, **shown: Any,
    ) -> None:  # fmt: skip
        self.name = name.lstrip("-").replace("-", "_")
        self.takes_value = action != "store_true"
        self.many = action == "append"
        self.convert = type
        self.choices = choices
        self.default = default if self.takes_value else False

    def value(self, text: str) -> Any:
        """Raises ValueError, or what the conversion raises."""
        value = self.convert(text)
        if self.choices is not None and value not in self.choices:
            raise ValueError(text)
        return value


class _Command:
    """Stands in for argparse's subparsers, and for the one that they make."""

    def __init__(self) -> None:
        self.options: dict[str, _Option] = {}
        self.positional = _Option("")
        self.values: dict[str, Any] = {}

    def add_parser(self, name: str, **shown: Any) -> _Command:
        return self

    def add_argument(self, *names: str, **declared: Any) -> None:
        option = _Option(names[-1], **declared)
        self.values[option.name] = option.default
        if not names[0].startswith("-"):
            self.positional = option
        for name in names:
            self.options[name] = option

    def set_defaults(self, **values: Any) -> None:
        self.values.update(values)

    def parse(self, arguments: Sequence[str]) -> SimpleNamespace:
        """Raises for all but the plain."""
        values, words, images = dict(self.values), iter(arguments), 0
        for word in words:
            if not word.startswith("-"):
                option, text, images = self.positional, word, images + 1
            else:
                name, equals, text = word.partition("=")
                option = self.options[name]
                if option.takes_value and not equals:
                    text = next(words)
                    _plain(not text.startswith("-"))
                else:
                    _plain(option.takes_value == bool(equals) and (not equals or name[1] == "-"))
            value = option.value(text) if option.takes_value else True
            values[option.name] = [*values[option.name], value] if option.many else value
        _plain(images <= 1)
        return SimpleNamespace(**values)


def _plain(is_it: bool) -> None:
    if not is_it:
        raise ValueError
