"""``pykvm bench trace``: what observing a guest costs, when it is on and when it is off.

"Without" is the very same vCPU loop with its observer statements taken out of its source, so the
difference to "off" is what the hooks cost a guest that nobody watches.
"""

from __future__ import annotations

import ast
import inspect
import os
import tempfile
import textwrap
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pykvm.bench.figures import Figure, table
from pykvm.machine import vcpu_thread
from pykvm.machine.config import Config
from pykvm.machine.machine import Machine
from pykvm.machine.vcpu_thread import VcpuThread

EXITS = 20_000
VARIANTS = ("without", "off", "stats", "file")

# mov ecx, EXITS; again: out 0x80, al; dec ecx; jnz again; out 0xf4, al
_GUEST = b"\xb9" + EXITS.to_bytes(4, "little") + bytes.fromhex("e680 ffc9 75fa 31c0 e6f4")


@dataclass
class Results:
    """Microseconds per exit, a figure per round; lines that the trace file held."""

    wall: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    traced: list[int] = field(default_factory=list)


class _Unhook(ast.NodeTransformer):
    """Takes out every statement that names the observer."""

    removed = 0

    def visit_If(self, node: ast.If) -> Any:
        if any(isinstance(n, ast.Name) and n.id == "observer" for n in ast.walk(node.test)):
            self.removed += 1
            return None
        return self.generic_visit(node)


def loop_without_hooks() -> Callable[[VcpuThread], None]:
    """``VcpuThread._loop`` as it would be if nobody had ever thought of tracing.

    Raises RuntimeError when there was nothing to take out: the comparison would be empty.
    """
    tree = ast.parse(textwrap.dedent(inspect.getsource(VcpuThread._loop)))
    unhook = _Unhook()
    tree = ast.fix_missing_locations(unhook.visit(tree))
    if not unhook.removed:
        raise RuntimeError("the vCPU loop has no hooks to take out")
    scope: dict[str, Any] = {}
    exec(compile(tree, vcpu_thread.__file__, "exec"), vars(vcpu_thread), scope)
    loop: Callable[[VcpuThread], None] = scope["_loop"]
    return loop


def measure(rounds: int) -> Results:
    """Run every variant ``rounds`` times, interleaved."""
    results = Results()
    with tempfile.TemporaryDirectory() as directory:
        image = os.path.join(directory, "exits.bin")
        with open(image, "wb") as file:
            file.write(_GUEST)
        for _ in range(rounds):
            for variant in VARIANTS:
                results.wall[variant].append(_run(image, variant, directory, results))
    return results


def _run(image: str, variant: str, directory: str, results: Results) -> float:
    from pykvm.cli.tracing import text_sink
    from pykvm.trace.recorder import Tracer
    from pykvm.trace.stats import Statistics

    trace_file = os.path.join(directory, "trace.txt")
    tracer = Tracer(warn=print, inside=variant != "stats")
    if variant == "stats":
        tracer.add(Statistics())
    elif variant == "file":
        tracer.add(text_sink("exits", trace_file))
    with Machine(Config(image=image, serial="null", timeout=120), tracer=tracer) as machine:
        if variant == "without":
            thread = machine.threads[0]
            setattr(thread, "_loop", loop_without_hooks().__get__(thread))  # noqa: B010
        started = time.perf_counter()
        outcome = machine.run()
        elapsed = time.perf_counter() - started
    tracer.close()
    if outcome.status != 1:
        raise RuntimeError(f"the guest ended with {outcome.status}: {outcome.reason}")
    if variant == "file":
        with open(trace_file) as file:
            results.traced.append(sum(1 for line in file if "postcode" in line))
    return elapsed / EXITS * 1e6


def as_dict(results: Results) -> dict[str, Any]:
    """The ``--json`` form, version 1: microseconds per exit."""
    return {
        "version": 1,
        "bench": "trace",
        "exits": EXITS,
        "exits_in_trace_file": results.traced,
        "microseconds_per_exit": {v: Figure.of(w).as_dict() for v, w in results.wall.items()},
    }


def text(results: Results) -> str:
    """The table for people."""
    base = Figure.of(results.wall["without"])
    rows = []
    for variant, values in results.wall.items():
        figure = Figure.of(values)
        rows.append([variant, figure.text(), f"{figure.median / base.median:.2f}"])
    kept = min(results.traced)
    return (
        table(["tracing", "us per exit", "x without"], rows)
        + f"\n\nmedian (lowest-highest); the trace files held {kept} of {EXITS} exits.\n"
    )
