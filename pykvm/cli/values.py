"""Option values: sizes, addresses, seconds. Each raises argparse's error with what is accepted."""

from __future__ import annotations

from pykvm.hints import NoReturn

_SHIFTS = {"": 20, "K": 10, "M": 20, "G": 30, "T": 40}
_UNITS = {unit + b: 1 << shift for unit, shift in _SHIFTS.items() for b in ("", "B", "IB")}
_DIGITS = "0123456789"


def size(text: str) -> int:
    """``128M``, ``2G``, ``640K``; a bare number is MiB. Returns bytes."""
    unit = text.lstrip(_DIGITS)
    number = text.removesuffix(unit)
    if not 1 <= len(number) <= 12 or unit.upper() not in _UNITS:
        _refuse(f"{text!r} is not a size; write 128M, 2G or 640K")
    return int(number) * _UNITS[unit.upper()]


def address(text: str) -> int:
    """``0x100000`` or decimal; at most 64 bits."""
    try:
        value = int(text, 0)
    except ValueError:
        value = -1
    if not 0 <= value < 1 << 64:
        _refuse(f"{text!r} is not an address; write 0x100000")
    return value


def seconds(text: str) -> float:
    """A number of seconds above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        _refuse(f"{text!r} is not a number of seconds above 0")
    return value


def count(text: str) -> int:
    """A whole number above 0."""
    if text.strip(_DIGITS) or not 1 <= len(text) <= 9 or int(text) == 0:
        _refuse(f"{text!r} is not a whole number above 0")
    return int(text)


def _refuse(why: str) -> NoReturn:
    from argparse import ArgumentTypeError  # which a plain command line does without

    raise ArgumentTypeError(why)
