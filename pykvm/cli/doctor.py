"""``pykvm doctor``: what this host's KVM offers, and how to mend what is missing."""

from __future__ import annotations

import argparse
from typing import Any


def add(commands: Any) -> None:
    """Declare the subcommand."""
    p = commands.add_parser("doctor", help="what this host offers, and how to mend what is missing")
    p.add_argument("--json", action="store_true", help="JSON instead of a table")
    p.set_defaults(command=run)


def run(args: argparse.Namespace) -> int:
    """Exit status 0 when guests can run here, else 4."""
    from pykvm import doctor

    found = doctor.checks()
    if args.json:
        import json

        print(json.dumps(doctor.as_dict(found), indent=2))
    else:
        print(doctor.text(found))
    return 0 if doctor.can_run(found) else 4
