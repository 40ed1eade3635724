"""``pykvm bench``: the measurements, as tables and as JSON."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pykvm.cli import values

if TYPE_CHECKING:
    from pykvm.bench.qemu import Peer


def add(commands: Any) -> None:
    """Declare the subcommand and its benches."""
    p = commands.add_parser("bench", help="measure, side by side with QEMU where it is installed")
    benches = p.add_subparsers(title="benches", metavar="BENCH", required=True, prog=p.prog)
    exits = benches.add_parser("exits", help="the round trip of one VM exit, by who answers it")
    exits.add_argument("--rounds", type=values.count, default=5, metavar="N", help="default 5")
    exits.add_argument(
        "--iterations", type=values.count, default=2000, metavar="N", help="a pass (default 2000)"
    )
    exits.add_argument("--no-qemu", action="store_true", help="leave QEMU out")
    exits.set_defaults(command=run_exits)
    start = benches.add_parser("start", help="from the command to the guest's first instruction")
    start.add_argument("--rounds", type=values.count, default=10, metavar="N", help="default 10")
    start.set_defaults(command=run_start)
    boot = benches.add_parser("boot", help="from the command to the guest's first serial byte")
    boot.add_argument("--rounds", type=values.count, default=7, metavar="N", help="default 7")
    boot.add_argument(
        "--kernel", metavar="FILE", action="append", default=[],
        help="a Linux kernel to start, too; more than once for more",
    )  # fmt: skip
    boot.add_argument("--stock", metavar="FILE", help="a bzImage whose unpacking to measure")
    boot.add_argument(
        "--within", type=values.seconds, default=60, metavar="SECONDS",
        help="how long to wait for a byte (default 60)",
    )  # fmt: skip
    boot.add_argument("--no-qemu", action="store_true", help="leave QEMU out")
    boot.set_defaults(command=run_boot)
    trace = benches.add_parser("trace", help="what tracing costs, on and off")
    trace.add_argument("--rounds", type=values.count, default=7, metavar="N", help="default 7")
    trace.set_defaults(command=run_trace)
    tx = benches.add_parser("tx", help="frames from a guest's card to a TAP")
    tx.add_argument(
        "--nic",
        choices=("e1000", "virtio-net"),
        default="e1000",
        help="the card (default e1000)",
    )
    tx.add_argument("--rounds", type=values.count, default=9, metavar="N", help="default 9")
    tx.add_argument(
        "--frames", type=values.count, default=20_000, metavar="N", help="a pass (default 20000)"
    )
    tx.add_argument("--engine", choices=("native", "vcpu", "python"), help="what moves the frames")
    tx.set_defaults(command=run_tx)
    rx = benches.add_parser("rx", help="frames from a TAP to a guest's driver")
    rx.add_argument(
        "--nic", choices=("e1000", "virtio-net"), default="e1000",
        help="the card (default e1000)",
    )  # fmt: skip
    rx.add_argument("--rounds", type=values.count, default=9, metavar="N", help="default 9")
    rx.add_argument(
        "--frames", type=values.count, default=18_000, metavar="N", help="a pass (default 18000)"
    )
    rx.set_defaults(command=run_rx)
    net, scale = _add_net(benches), _add_scale(benches)
    contend = _add_contend(benches)
    for bench in (tx, rx, net):
        _add_surroundings(bench)
    for bench in (tx, rx, net, contend):
        _add_peers(bench)
    for bench in (exits, start, boot, trace, tx, rx, net, scale, contend):
        bench.add_argument("--json", action="store_true", help="JSON instead of a table")


def _add_peers(bench: argparse.ArgumentParser) -> None:
    bench.add_argument(
        "--qemu", metavar="PATH", action="append", default=[],
        help="another QEMU to measure, too; more than once for more",
    )  # fmt: skip
    bench.add_argument("--no-qemu", action="store_true", help="leave every QEMU out")


def _add_surroundings(bench: argparse.ArgumentParser) -> None:
    bench.add_argument(
        "--cpus-for-all", type=values.count, metavar="N",
        help="processors that pykvm, QEMU and the guest share (default: all)",
    )  # fmt: skip
    bench.add_argument(
        "--neighbours", type=values.count, default=0, metavar="N",
        help="so many processes beside that never wait",
    )  # fmt: skip


def _add_net(benches: Any) -> argparse.ArgumentParser:
    net: argparse.ArgumentParser = benches.add_parser(
        "net", help="the same stream over e1000, virtio-net and QEMU's"
    )
    net.add_argument("--rounds", type=values.count, default=5, metavar="N", help="default 5")
    net.add_argument("--stream", choices=("raw", "tcp", "linux"), help="one stream (default: five)")
    net.add_argument("--dir", choices=("tx", "rx"), help="from the guest or to it (default tx)")
    net.add_argument("--unit", choices=("mtu", "big"), help="what is sent at once (default big)")
    net.add_argument(
        "--seconds", type=values.count, default=3, metavar="S", help="a run (default 3)"
    )
    net.add_argument("--batch", type=values.count, metavar="N", help="frames to a doorbell")
    net.add_argument(
        "--queues", type=int, choices=range(1, 5), metavar="N",
        help="pairs of virtio-net's queues for raw streams, 1 to 4",
    )  # fmt: skip
    net.add_argument("--smp", action="store_true", help="a vCPU for each pair, where it sends")
    net.add_argument(
        "--driver", choices=("linux", "poll"), default="linux",
        help="the guest's: linux sleeps and is interrupted (default), poll looks",
    )  # fmt: skip
    net.add_argument("--kernel", metavar="FILE", help="a Linux kernel for --stream linux")
    net.add_argument("--html", metavar="FILE", help="write a page with tables and graphs, too")
    net.set_defaults(command=run_net)
    return net


def _add_scale(benches: Any) -> argparse.ArgumentParser:
    scale: argparse.ArgumentParser = benches.add_parser(
        "scale", help="more vCPUs and queues, more guests on one bridge"
    )
    scale.add_argument("--rounds", type=values.count, default=3, metavar="N", help="default 3")
    scale.add_argument(
        "--seconds", type=values.count, default=2, metavar="S", help="a run (default 2)"
    )
    scale.set_defaults(command=run_scale)
    return scale


def _add_contend(benches: Any) -> argparse.ArgumentParser:
    contend: argparse.ArgumentParser = benches.add_parser(
        "contend", help="both cards against every QEMU, with all processors and with a busy one"
    )
    contend.add_argument("--rounds", type=values.count, default=5, metavar="N", help="default 5")
    contend.add_argument(
        "--frames", type=values.count, metavar="N",
        help="of each row (default: as many as take a tenth of a second or more)",
    )  # fmt: skip
    contend.add_argument(
        "--only", metavar="PATTERN",
        help="rows like 'wait-*', or with the card: 'e1000 tx-60-*'",
    )  # fmt: skip
    contend.set_defaults(command=run_contend)
    return contend


def run_exits(args: argparse.Namespace) -> int:
    from pykvm.bench import exits

    results = exits.measure(args.rounds, args.iterations, with_qemu=not args.no_qemu)
    return _show(args, results, exits.as_dict, exits.text)


def run_start(args: argparse.Namespace) -> int:
    from pykvm.bench import start

    return _show(args, start.measure(args.rounds), start.as_dict, start.text)


def run_boot(args: argparse.Namespace) -> int:
    from pykvm.bench import boot

    results = boot.measure(
        args.rounds, args.kernel, args.stock, within=args.within, with_qemu=not args.no_qemu
    )
    return _show(args, results, boot.as_dict, boot.text)


def run_trace(args: argparse.Namespace) -> int:
    from pykvm.bench import trace

    return _show(args, trace.measure(args.rounds), trace.as_dict, trace.text)


def run_tx(args: argparse.Namespace) -> int:
    from pykvm.bench import tx
    from pykvm.bench.cards import CARDS

    peers = _peers(args)
    with _surroundings(args) as said:
        results = tx.measure(
            args.rounds, args.frames, card=CARDS[args.nic], peers=peers, engine=args.engine
        )
    results.notes += said
    return _show(args, results, tx.as_dict, tx.text)


def run_rx(args: argparse.Namespace) -> int:
    from pykvm.bench import rx
    from pykvm.bench.cards import CARDS

    peers = _peers(args)
    with _surroundings(args) as said:
        results = rx.measure(args.rounds, args.frames, card=CARDS[args.nic], peers=peers)
    results.notes += said
    return _show(args, results, rx.as_dict, rx.text)


def _peers(args: argparse.Namespace) -> list[Peer]:
    from pykvm.bench import qemu

    return [] if args.no_qemu else qemu.peers(args.qemu)


@contextmanager
def _surroundings(args: argparse.Namespace) -> Iterator[list[str]]:
    """What is measured in; yields what is to be said of it."""
    from pykvm.bench import neighbours

    with neighbours.processors(args.cpus_for_all), neighbours.neighbours(args.neighbours):
        unusual = args.cpus_for_all or args.neighbours
        said = neighbours.describe(args.cpus_for_all, args.neighbours)
        yield [f"Measured with {said}."] if unusual else []


def run_net(args: argparse.Namespace) -> int:
    from pykvm.bench import net, net_html, net_table

    if args.html:
        net_html.check(args.html)  # better told now than when everything has run
    streams = net.chosen(
        args.stream, args.dir, args.unit, seconds=args.seconds, batch=args.batch,
        driver=args.driver, queues=args.queues, smp=args.smp,
    )  # fmt: skip
    peers = _peers(args)
    with _surroundings(args) as said:
        results = net.measure(
            streams, args.rounds, peers=peers, sample=bool(args.html), kernel=args.kernel,
            say=_progress,
        )  # fmt: skip
    results.notes += said
    if args.html:
        net_html.write(results, args.html)
    return _show(args, results, net_table.as_dict, net_table.text)


def run_contend(args: argparse.Namespace) -> int:
    from pykvm.bench import contend, contend_table

    results = contend.measure(
        args.rounds, _peers(args), only=args.only, frames=args.frames, say=_progress
    )
    _show(args, results, contend_table.as_dict, contend_table.text)
    return 130 if results.stopped else 0


def run_scale(args: argparse.Namespace) -> int:
    from pykvm.bench import scale

    results = scale.measure(args.rounds, args.seconds, say=_progress)
    return _show(args, results, scale.as_dict, scale.text)


def _progress(line: str) -> None:
    print(f"pykvm: {line}", file=sys.stderr, flush=True)


def _show(
    args: argparse.Namespace,
    results: Any,
    as_dict: Callable[[Any], dict[str, Any]],
    text: Callable[[Any], str],
) -> int:
    if args.json:
        import json

        print(json.dumps(as_dict(results), indent=2))
    else:
        print(text(results))
    return 0
