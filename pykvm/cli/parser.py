"""The whole command line as argparse has it: help, errors, and what ``quick.py`` leaves to it."""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Any, NoReturn

from pykvm.cli.main import complain
from pykvm.version import __version__

_COMMANDS = ("run", "doctor", "bench")
_DESCRIPTION = "A small, readable hypervisor for x86-64 Linux, in Python on /dev/kvm."
_EPILOG = """exit status:
  odd    what the guest wrote to the debug-exit port 0xf4, as (value << 1) | 1
  0      the guest powered off, reset itself or halted for good
  2      bad usage, option or image
  4      this host cannot do it (see: pykvm doctor)
  6      the guest crashed
  124    --timeout
  130    the user quit with Ctrl-A x"""


def _plain(prog: str) -> argparse.HelpFormatter:
    """Formats while no help is asked for. Without a width, argparse loads shutil to find one."""
    return argparse.HelpFormatter(prog, width=80)


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one line, as the contract has it, and whose help has colours."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("allow_abbrev", False)
        kwargs.setdefault("formatter_class", _plain)
        super().__init__(*args, **kwargs)

    def format_help(self) -> str:
        # Imported for the help alone: start-up time is a feature.
        from rich_argparse import RawDescriptionRichHelpFormatter

        self.formatter_class = RawDescriptionRichHelpFormatter
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        complain(f"{self.prog}: {message} (see: {self.prog} --help)")
        raise SystemExit(2)


def parser(only: str = "") -> Parser:
    """The whole command line; or, if ``only`` is a command, as much of it as that takes."""
    top = Parser("pykvm", description=_DESCRIPTION, epilog=_EPILOG)
    top.add_argument("--version", action="version", version=f"pykvm {__version__}")
    commands = top.add_subparsers(
        title="commands", metavar="COMMAND", required=True, prog="pykvm", parser_class=Parser
    )
    for name in (only,) if only in _COMMANDS else _COMMANDS:
        import_module(f"pykvm.cli.{name}").add(commands)
    return top
