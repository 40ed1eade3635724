"""Finding the guests that the measurements run."""

from __future__ import annotations

from pathlib import Path

from pykvm.errors import UsageError


def find(name: str) -> str:
    """The path of the bench guest ``name``: shipped with the package, or built in a checkout.

    Raises UsageError that says how to build it.
    """
    package = Path(__file__).resolve().parent.parent
    candidates = (package.parent / "guest" / "build" / name, package / "guests" / name)
    for path in candidates:
        if path.is_file():
            return str(path)
    raise UsageError(f"the bench guest {name} is not built; run in a checkout: make guest")
