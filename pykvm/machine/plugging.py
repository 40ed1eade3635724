"""What can be plugged in, told when it is plugged in and not in the middle of a run."""

from __future__ import annotations

from collections.abc import Iterable

from pykvm.errors import PlugError
from pykvm.interfaces import Device

_DEVICE = ("registers", "access_width", "bank", "read", "write", "reset", "state", "restore")
_FUNCTION = ("config", "windows", "answers", "config_changed", "placed")
_WIDTHS = (1, 2, 4, 8)


def check_device(device: Device, plugged: Iterable[Device]) -> None:
    """Raises PlugError unless ``device`` is all that ``interfaces.Device`` says, and no other one
    of those ``plugged`` has its name; it may be among them itself, with another range."""
    name = _name(device)
    _check_attributes(name, device, _DEVICE)
    if device.access_width not in _WIDTHS:
        raise PlugError(f"{name}: access_width is {device.access_width!r}; it can be 1, 2, 4 or 8")
    for other in plugged:
        if other is not device and other.name == name:
            raise PlugError(f"{name}: another device has this name; names are unique")


def check_function(function: object) -> None:
    """Raises PlugError unless it has all that ``pci.Function`` says."""
    _check_attributes(_name(function), function, _FUNCTION)


def check_line(device: str, gsi: int, count: int) -> None:
    """Raises PlugError unless ``gsi`` is one of the ``count`` interrupt lines that there are."""
    if gsi not in range(count):
        raise PlugError(f"{device}: there is no interrupt line {gsi!r}; they are 0 to {count - 1}")


def _name(thing: object) -> str:
    name = getattr(thing, "name", None)
    if not isinstance(name, str) or not name:
        raise PlugError(f"{type(thing).__name__}: a device needs a name, a string")
    return name


def _check_attributes(name: str, thing: object, needed: Iterable[str]) -> None:
    missing = [attribute for attribute in needed if not hasattr(thing, attribute)]
    if missing:
        raise PlugError(f"{name}: {type(thing).__name__} lacks {', '.join(missing)}")
