"""Puts the real output of commands into the documentation: ``make readme``.

A block between ``<!-- run: COMMAND -->`` and ``<!-- end -->`` is replaced by a code block with the
command and what it printed. Times, which differ from run to run, are left as they came.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md"]
BLOCK = re.compile(r"<!-- run: (?P<command>.+?) -->\n.*?<!-- end -->", re.DOTALL)


def filled(match: re.Match[str]) -> str:
    """The block with its command's output. Shown is the command, run is the venv's."""
    command = match["command"]
    done = subprocess.run(
        command,
        shell=True,
        cwd=ROOT,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
        check=False,
        env={"PATH": f"{ROOT}/.venv/bin:/usr/local/bin:/usr/bin:/bin"},
    )
    output = "\n".join(line.rstrip() for line in done.stdout.splitlines())
    if not output.strip():
        sys.exit(f"nothing came out of: {command}")
    return f"<!-- run: {command} -->\n```console\n$ {command}\n{output}\n```\n<!-- end -->"


for page in PAGES:
    page.write_text(BLOCK.sub(filled, page.read_text()))
    print(page.relative_to(ROOT))
