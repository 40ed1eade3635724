"""``pykvm run``: start a guest, show what was asked for, end with its status."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from pykvm.cli import values
from pykvm.cli.stderr import STDERR
from pykvm.hints import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse

    from pykvm.boot.plan import Start
    from pykvm.machine.machine import Machine
    from pykvm.machine.outcome import Outcome
    from pykvm.trace.recorder import Tracer
    from pykvm.trace.stats import Statistics

_MODES = ("auto", "real", "protected", "long", "multiboot", "pvh", "linux")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def add(commands: Any) -> None:
    """Declare the subcommand."""
    p = commands.add_parser(
        "run",
        help="run a guest image",
        description="Run a guest image. Its serial port is your terminal: Ctrl-A x quits, "
        "Ctrl-A h helps.",
    )
    p.add_argument(
        "image",
        metavar="IMAGE",
        nargs="?",
        help="flat, ELF, multiboot, PVH, Linux bzImage or vmlinux",
    )
    p.add_argument(
        "--mode",
        choices=_MODES,
        default="auto",
        help="CPU mode or boot protocol to start by (auto: the image's own, long for a flat one)",
    )
    p.add_argument(
        "--load-addr",
        metavar="A",
        type=values.address,
        help="where a flat image goes (0x1000 in real mode, else 0x100000)",
    )
    p.add_argument(
        "--entry", metavar="A", type=values.address, help="first instruction (the image's start)"
    )
    p.add_argument(
        "-m", "--memory", metavar="SIZE", type=values.size, default=128 << 20,
        help="RAM: 128M, 2G; a bare number is MiB (default 128M)",
    )  # fmt: skip
    p.add_argument("--cpus", metavar="N", type=values.count, default=1, help="vCPUs (default 1)")
    p.add_argument(
        "--cpu", metavar="MODEL[,+F][,-F]", default="host",
        help="features that the guest is shown: host or base, with others added or removed",
    )  # fmt: skip
    p.add_argument("--append", metavar="CMDLINE", default="", help="the guest's command line")
    p.add_argument(
        "--initrd", metavar="FILE", action="append", default=[],
        help="a file for the guest: initrd or module; more than once for more files",
    )  # fmt: skip
    p.add_argument("--firmware", metavar="FILE", help="a ROM to start in, instead of an image")
    p.add_argument(
        "--kaslr", action="store_true",
        help="run a bzImage's own decompressor, which moves the kernel (default: pykvm unpacks it)",
    )  # fmt: skip
    p.add_argument(
        "--nic", metavar="MODEL[,backend=B][,mac=M][,pcap=FILE]", action="append", default=[],
        help="a network card (e1000, virtio-net) and where its frames go: null, loopback, tap, "
        "tap:NAME, passt, socket:PATH, python:MODULE:OBJECT",
    )  # fmt: skip
    p.add_argument(
        "--disk", metavar="FILE[,readonly=on][,serial=S]", action="append", default=[],
        help="a virtio disk: a raw file, or a block device of the host",
    )  # fmt: skip
    p.add_argument(
        "--console", metavar="WHERE", help="a virtio console: stdio, null, pty or file:PATH"
    )
    p.add_argument("--rng", action="store_true", help="random numbers by virtio")
    p.add_argument("--no-acpi", action="store_true", help="no ACPI tables in memory")
    p.add_argument(
        "--serial", metavar="WHERE", default="stdio", help="stdio, null, pty or file:PATH"
    )
    p.add_argument(
        "--debugcon", metavar="WHERE", default="null",
        help="the debug console, ports 0xe9 and 0x402: stdio, null, pty or file:PATH",
    )  # fmt: skip
    p.add_argument(
        "--fw-cfg", metavar="name=N,file=F", action="append", default=[],
        help="an item for firmware or kernel: name=opt/x,file=F or name=opt/x,string=S",
    )  # fmt: skip
    p.add_argument(
        "--testdev", action="store_true",
        help="QEMU's pc-testdev and pci-testdev, for kernels that test a monitor",
    )  # fmt: skip
    p.add_argument(
        "--trace", metavar="KIND[,KIND...]", help="print events: exits, irq, a device's name ..."
    )
    p.add_argument("--debug", action="store_true", help="the same as --trace exits")
    p.add_argument("--trace-file", metavar="PATH", help="write the trace there, not to stderr")
    p.add_argument("--stats", action="store_true", help="at the end, a table of all exits")
    p.add_argument("--stats-json", metavar="FILE", help="the same as JSON")
    p.add_argument(
        "--timeout", metavar="SECONDS", type=values.seconds, help="stop after that long: status 124"
    )
    p.set_defaults(command=run)


def run(args: argparse.Namespace) -> int:
    """The command. Returns the exit status; raises PykvmError for what ends as one line."""
    gc.disable()  # all that a start makes stays, and is never searched for garbage
    try:
        return _run(args)
    finally:
        gc.enable()


def _run(args: argparse.Namespace) -> int:
    from pykvm.machine.config import Config, DiskConfig, NicConfig
    from pykvm.machine.cpumodel import CpuModel
    from pykvm.machine.fwcfg import FwCfgItem
    from pykvm.machine.machine import Machine

    config = Config(
        image=_image(args),
        firmware=args.firmware is not None,
        mode=_start(args.mode),
        load_address=args.load_addr,
        entry=args.entry,
        memory=args.memory,
        cpus=args.cpus,
        cpu=CpuModel.parse(args.cpu),
        append=args.append,
        initrd=tuple(args.initrd),
        kaslr=args.kaslr,
        serial=args.serial,
        timeout=args.timeout,
        nics=tuple(NicConfig.parse(text) for text in args.nic),
        disks=tuple(DiskConfig.parse(text) for text in args.disk),
        console=args.console,
        rng=args.rng,
        acpi=not args.no_acpi,
        debugcon=args.debugcon,
        testdev=args.testdev,
        fw_cfg=tuple(FwCfgItem.parse(text) for text in args.fw_cfg),
    )
    with ExitStack() as stack:
        tracer, statistics = _observers(args)
        if args.stats_json:
            with _file_for_statistics(args.stats_json, "a"):
                pass  # better told now than when the guest has run

        def attach(machine: Machine) -> None:
            machine.terminals.append(STDERR)
            if tracer is not None:
                tracer.warn = machine.complaints.tell
                stack.callback(tracer.close)
                _attach(args, tracer, statistics, machine)

        machine = stack.enter_context(Machine(config, say=say, tracer=tracer, add=attach))
        gc.freeze()
        gc.enable()
        with _signals(machine) as caught:
            outcome = machine.run()
        if statistics is not None:
            from pykvm.kvm.stats import of_vcpus
            from pykvm.machine.counts import collect

            collect(machine, statistics)
            statistics.kernel = of_vcpus(thread.vcpu.fd for thread in machine.threads)
        stack.close()  # the trace is whole, the terminal is itself again: now talk
        _report(args, machine, outcome, statistics)
    if caught:
        _die_by(caught[0])
    return outcome.status


def _image(args: argparse.Namespace) -> str:
    """The file to start: an image, or firmware. Raises UsageError unless it is one of them."""
    if (args.image is None) == (args.firmware is None):
        from pykvm.errors import UsageError

        raise UsageError("an IMAGE, or --firmware FILE instead of one")
    return str(args.image if args.firmware is None else args.firmware)


def _start(mode: str) -> Start | None:
    from pykvm.boot.plan import Mode, Protocol

    if mode == "auto":
        return None
    return Protocol(mode) if mode in {protocol.value for protocol in Protocol} else Mode(mode)


def say(line: str) -> None:
    """pykvm's own words go to stderr: stdout is the guest's."""
    STDERR.write(f"pykvm: {line}\n")


def _observers(args: argparse.Namespace) -> tuple[Tracer | None, Statistics | None]:
    """A tracer if any option asks for events, and statistics if one asks for those."""
    if not _watched(args):
        return None, None
    from pykvm.trace.recorder import Tracer
    from pykvm.trace.stats import Statistics

    traced = _traced(args)
    if traced and args.nic:
        say("traced cards move frames in Python, and every exit passes through it")
    tracer = Tracer(warn=say, inside=traced)
    return tracer, Statistics() if args.stats or args.stats_json else None


def _traced(args: argparse.Namespace) -> bool:
    """Whether any option asks for more than counts."""
    return args.trace is not None or args.debug


def _watched(args: argparse.Namespace) -> bool:
    """Whether any option asks for events. Raises UsageError for a trace file of nothing."""
    traced = _traced(args)
    if args.trace_file is not None and not traced:
        from pykvm.errors import UsageError

        raise UsageError("--trace-file needs --debug or --trace KIND: what shall it hold?")
    return bool(traced or args.stats or args.stats_json)


def _attach(
    args: argparse.Namespace, tracer: Tracer, statistics: Statistics | None, machine: Machine
) -> None:
    """Attach the sinks that the options ask for, now that the devices have names."""
    if statistics is not None:
        tracer.add(statistics)
    kinds = [kind for kind in (args.trace, "exits" if args.debug else None) if kind is not None]
    if kinds:
        from pykvm.cli.tracing import text_sink

        names = [device.name for device in machine.board.devices]
        tracer.add(text_sink(",".join(kinds), args.trace_file, names))


@contextmanager
def _signals(machine: Machine) -> Iterator[list[int]]:
    """Stop the machine on Ctrl-C and friends; yields the list of those that came."""
    from pykvm.machine.outcome import Outcome

    caught: list[int] = []

    def stop(number: int, frame: object) -> None:
        caught.append(number)
        machine.stop(Outcome(signal.Signals(number).name, status=130))

    before = {number: signal.signal(number, stop) for number in _SIGNALS}
    before[signal.SIGWINCH] = signal.signal(signal.SIGWINCH, lambda *_: machine.resized())
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _die_by(number: int) -> None:
    """End as the signal would have ended us, so that a shell or a supervisor sees why."""
    sys.stdout.flush()
    sys.stderr.flush()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _report(
    args: argparse.Namespace, machine: Machine, outcome: Outcome, statistics: Statistics | None
) -> None:
    if outcome.report is not None:
        from pykvm.crash import render

        STDERR.write(render(outcome.report) + "\n")
    elif outcome.status in (6, 124, 130):
        say(f"stopped after {args.timeout:g} s" if outcome.status == 124 else outcome.reason)
    if statistics is None:
        return
    if args.stats:
        statistics.print_table(STDERR)
    if args.stats_json:
        import json

        with _file_for_statistics(args.stats_json, "w") as file:
            json.dump(statistics.as_dict(), file, indent=2)
            file.write("\n")


@contextmanager
def _file_for_statistics(path: str, mode: str) -> Iterator[IO[str]]:
    try:
        with open(path, mode) as file:
            yield file
    except OSError as e:
        from pykvm.errors import UsageError

        raise UsageError(f"--stats-json {path}: {e.strerror}") from e
