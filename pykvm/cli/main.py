"""``pykvm``: from the command line to a subcommand, and what an error becomes."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pykvm.errors import PykvmError
from pykvm.hints import Any


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status. A bug of ours keeps its traceback."""
    args = _parsed(sys.argv[1:] if argv is None else argv)
    try:
        return int(args.command(args))
    except PykvmError as error:
        complain(f"pykvm: {error}")
        return error.exit_status
    except KeyboardInterrupt:
        return 130  # a measurement; a guest is stopped by its own handler
    except BrokenPipeError:
        return 0  # whoever read our output has seen enough


def _parsed(arguments: Sequence[str]) -> Any:
    """The options by name. Ends here with help, or with status 2 and a line."""
    if arguments[:1] == ["run"]:
        from pykvm.cli import quick, run

        args = quick.parse(run.add, arguments[1:])
        if args is not None:
            return args
    from pykvm.cli.parser import parser

    return parser(*arguments[:1]).parse_args(arguments)


def complain(message: str) -> None:
    """One line, even where a file's name has several."""
    print("\\n".join(message.splitlines()), file=sys.stderr)
