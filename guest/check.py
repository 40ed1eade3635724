#!/usr/bin/env python3
"""Runs the cases of cases/cases.toml under pykvm or QEMU and compares them with the table.

    guest/check.py [--vmm qemu|pykvm] [--pykvm PATH] [NAME...]

The project's own tests read the same table; this script is for work on the kit itself.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any

GUEST = Path(__file__).resolve().parent
QEMU = [
    "qemu-system-x86_64",
    "-accel",
    "kvm",
    "-cpu",
    "host,-arch-capabilities",
    "-M",
    "pc",
    "-display",
    "none",
    "-no-reboot",
    "-device",
    "isa-debug-exit,iobase=0xf4,iosize=4",
]
DISK = 16 << 20
PATIENCE = 300  # seconds; where ring 0 is emulated on a busy processor, some cases take minutes
TO_QEMU = {
    "--append": "-append",
    "--initrd": "-initrd",
    "-m": "-m",
    "--cpus": "-smp",
    "--serial": "-serial",
    "--fw-cfg": "-fw_cfg",
}
ALONE = {
    "--rng": ["-device", "virtio-rng-pci"],
    "--testdev": ["-device", "pc-testdev", "-device", "pci-testdev"],
}
TRANSPORTS = {"legacy": ",disable-modern=on", "modern": ",disable-legacy=on", "transitional": ""}


def command(case: dict[str, Any], vmm: str, pykvm: str) -> list[str]:
    args = case.get("args", [])
    if vmm == "pykvm":
        return [pykvm, "run", case["elf"], *args]
    memory = [] if "-m" in args else ["-m", "128"]
    serial = [] if "--serial" in args else ["-serial", "stdio"]
    return [*QEMU, "-kernel", case["elf"], *memory, *serial, *to_qemu(args)]


def to_qemu(args: list[str]) -> list[str]:
    """The arguments of `pykvm run` as QEMU has them."""
    devices = {"--nic": card, "--disk": disk, "--console": console}
    words: list[str] = []
    rest = iter(enumerate(args))
    for n, arg in rest:
        if arg in ALONE:
            words += ALONE[arg]
        elif arg in devices:
            kind, *pairs = next(rest)[1].split(",")
            words += devices[arg](kind, dict(pair.split("=", 1) for pair in pairs), n)
        else:
            words.append(TO_QEMU.get(arg, arg))
    return words


def card(model: str, options: dict[str, str], n: int) -> list[str]:
    """A cable ends in an empty hub, or comes back: a UDP socket that sends to itself."""
    if model == "e1000":
        return ["-device", f"e1000,netdev=n{n}", "-netdev", f"hubport,id=n{n},hubid={n}"]
    device = "virtio-net-pci" + TRANSPORTS[options.get("transport", "transitional")]
    device += "".join(f",{key}={options[key]}" for key in ("mac", "packed") if key in options)
    if options.get("backend") != "loopback":
        return ["-nic", "none", "-device", device]  # what it sends is gone
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        here = f"127.0.0.1:{probe.getsockname()[1]}"
    netdev = f"socket,id=n{n},udp={here},localaddr={here}"
    return ["-device", f"{device},netdev=n{n}", "-netdev", netdev]


def disk(path: str, options: dict[str, str], n: int) -> list[str]:
    drive = f"file={path},format=raw,if=none,id=d{n},discard=unmap"
    drive += f",readonly={options.get('readonly', 'off')}"
    device = f"virtio-blk-pci,drive=d{n}" + TRANSPORTS[options.get("transport", "transitional")]
    device += "".join(f",{key}={options[key]}" for key in ("serial", "packed") if key in options)
    return ["-drive", drive, "-device", device]


def console(kind: str, options: dict[str, str], n: int) -> list[str]:
    chardev = f"file,path={kind[5:]}" if kind.startswith("file:") else kind
    words = ["-chardev", f"{chardev},id=c{n}", "-device", f"virtio-serial-pci,id=s{n}"]
    return [*words, "-device", f"virtconsole,bus=s{n}.0,chardev=c{n}"]


def missing_line(expected: list[str], text: str) -> str | None:
    """The first expected line that is not there in its turn."""
    lines = iter(text.splitlines())
    return next((want for want in expected if want not in lines), None)


def run(case: dict[str, Any], vmm: str, pykvm: str) -> str | None:
    """None if the case did what the table says, else what went wrong."""
    with tempfile.NamedTemporaryFile(prefix="pykvm-disk-") as scratch:
        scratch.truncate(DISK)
        args = [arg.replace("{disk}", scratch.name) for arg in case.get("args", [])]
        return run_with({**case, "args": args}, vmm, pykvm)


def run_with(case: dict[str, Any], vmm: str, pykvm: str) -> str | None:
    try:
        done = subprocess.run(
            command(case, vmm, pykvm),
            cwd=GUEST,
            input=case.get("stdin", "").encode(),
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        return f"no end after {PATIENCE} s\n{(error.stdout or b'').decode(errors='replace')}"
    text = done.stdout.decode(errors="replace")
    everything = text + done.stderr.decode(errors="replace")
    if done.returncode != case["status"]:
        return f"status {done.returncode}, expected {case['status']}\n{everything}"
    if (line := missing_line(case.get("stdout", []), text)) is not None:
        return f"missing line: {line}\n{everything}"
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description="run the guest kit's cases")
    parser.add_argument("--vmm", choices=("qemu", "pykvm"), default="pykvm")
    parser.add_argument(
        "--pykvm", default=os.environ.get("PYKVM", str(GUEST.parent / ".venv/bin/pykvm"))
    )
    parser.add_argument("names", nargs="*", help="cases to run (default: all)")
    options = parser.parse_args()

    cases = tomllib.loads((GUEST / "cases/cases.toml").read_text())["case"]
    unknown = set(options.names) - {case["name"] for case in cases}
    if unknown:
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    failed = 0
    for case in cases:
        if options.names and case["name"] not in options.names:
            continue
        if options.vmm == "qemu" and not case.get("qemu", True):
            continue
        start = time.monotonic()
        problem = run(case, options.vmm, options.pykvm)
        print(
            f"{'FAIL' if problem else 'ok  '} {case['name']} ({time.monotonic() - start:.1f} s)",
            flush=True,
        )
        if problem:
            failed += 1
            print("     " + problem.replace("\n", "\n     "))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
