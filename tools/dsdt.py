#!/usr/bin/env python3
"""Compiles pykvm/machine/firmware/dsdt.asl with iasl, its numbers taken from the machine itself.

.venv/bin/python tools/dsdt.py
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from pykvm.devices import fwcfg, power
from pykvm.machine import board, pci
from pykvm.machine.firmware import acpi

SOURCE = Path(acpi.__file__).with_name("dsdt.asl")


def numbers() -> dict[str, int]:
    """What the source calls by name."""
    io, memory = pci.IO_WINDOW, pci.MEMORY_WINDOW
    return {
        "PCI_CONFIG": pci.CONFIG_PORTS,
        "PCI_IO_FIRST": io[0],
        "PCI_IO_LAST": io[1] - 1,
        "PCI_IO_SIZE": io[1] - io[0],
        "PCI_MEMORY_FIRST": memory[0],
        "PCI_MEMORY_LAST": memory[1] - 1,
        "PCI_MEMORY_SIZE": memory[1] - memory[0],
        "ACPI_PORT": board.ACPI,
        "ACPI_PORTS": power.SIZE,
        "PVPANIC_PORT": board.PVPANIC,
        "FW_CFG_PORT": board.FW_CFG,
        "FW_CFG_PORTS": fwcfg.SIZE,
        "COM1_PORT": board.COM1,
        "COM1_IRQ": board.COM1_IRQ,
        "RTC_PORT": board.RTC,
        "RTC_IRQ": board.RTC_IRQ,
        **{f"GSI_{slot}": pci.gsi_of(slot) for slot in range(32)},
    }


def compiled() -> bytes:
    """The AML; the same bytes whichever iasl made it. Raises CalledProcessError."""
    known = numbers()
    # Not by iasl's own preprocessor, which replaces parts of names too.
    text = re.sub(r"\b[A-Z0-9_]+\b", lambda m: str(known.get(m[0], m[0])), SOURCE.read_text())
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, SOURCE.name)
        source.write_text(text)
        command = ["iasl", "-vi", "-we", str(source)]
        subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        return acpi.signed_by_us(source.with_suffix(".aml").read_bytes())


def main() -> int:
    try:
        aml = compiled()
    except FileNotFoundError:
        print("iasl is missing: sudo apt-get install acpica-tools", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(error.stdout, file=sys.stderr)
        return 1
    Path(acpi.DSDT_FILE).write_bytes(aml)
    return 0


if __name__ == "__main__":
    sys.exit(main())
