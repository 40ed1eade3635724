"""Guests that write and read the registers of every device at random: made from a seed, and run.

    python -m tests.support.random_programs FIRST_SEED SECONDS NIC...

prints what came of it as JSON, and each seed on stderr before it runs, so that a death can be
replayed. A program is machine code for long mode without loops: loads, stores, in and out, each
through a register, then ``cli; hlt``.
"""

import gc
import json
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from pykvm.machine.config import Config, DiskConfig, NicConfig
from pykvm.machine.machine import Machine
from pykvm.memory import PAGE

CODE, RAM, RAM_END = 0x10_0000, 0x40_0000, 0x80_0000
STEPS = 400
TIMEOUT = 2.0
ENDS_RUN = ("debugexit", "acpi", "reset", "keyboard", "pvpanic", "pci")
CONFIG_PORTS = 0xCF8
_CLI_HLT = b"\xfa\xf4"
_EDGES = (0, 1, 2, 3, 4, 7, 0xF, 0x7F, 0x80, 0xFF, 0x100, 0xFFF, 0x1000, 0x7FFF, 0xFFFF, 0x10000,
          0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)  # fmt: skip


def store(address, size, value):
    """mov rdi, address; mov rax, value; mov [rdi], al/ax/eax/rax."""
    return (
        b"\x48\xbf" + address.to_bytes(8, "little") + b"\x48\xb8" + value.to_bytes(8, "little")
        + {1: b"\x88\x07", 2: b"\x66\x89\x07", 4: b"\x89\x07", 8: b"\x48\x89\x07"}[size]
    )  # fmt: skip


def load(address, size):
    opcode = {1: b"\x8a\x07", 2: b"\x66\x8b\x07", 4: b"\x8b\x07", 8: b"\x48\x8b\x07"}[size]
    return b"\x48\xbf" + address.to_bytes(8, "little") + opcode


def out(port, size, value):
    """mov edx, port; mov eax, value; out dx, al/ax/eax."""
    return (
        b"\xba" + port.to_bytes(4, "little") + b"\xb8" + (value & 0xFFFF_FFFF).to_bytes(4, "little")
        + {1: b"\xee", 2: b"\x66\xef", 4: b"\xef"}[size]
    )  # fmt: skip


def read_port(port, size):
    return b"\xba" + port.to_bytes(4, "little") + {1: b"\xec", 2: b"\x66\xed", 4: b"\xed"}[size]


class Program:
    """The program of ``seed`` for ``machine``; ``touched`` is (device, register, write)."""

    def __init__(self, seed, machine):
        self.random = random.Random(seed)
        self.machine = machine
        self.touched = set()
        board = machine.board
        self.windows = [(window, False) for window in board.pio]
        self.windows += [(window, True) for window in board.mmio]
        self.functions = list(range(3, 3 + len(machine.pci.functions)))
        self.masters = b"".join(
            out(CONFIG_PORTS, 4, 0x8000_0004 | slot << 11) + out(CONFIG_PORTS + 4, 4, 7)
            for slot in self.functions
        )
        code = self.masters + b"".join(self.step() for _ in range(STEPS))
        self.code = code + _CLI_HLT

    def step(self):
        kind = self.random.random()
        if kind < 0.05:
            return self.configure()
        if kind < 0.12:
            return store(self.ram(), 8, self.value())
        if kind < 0.22:
            return self.ring()
        if kind < 0.27:
            return self.bring_up()
        window, memory = self.random.choice(self.windows)
        if window.device.name.startswith(ENDS_RUN) and self.random.random() > 0.02:
            return b""
        return self.access(window, memory)

    def ram(self):
        return self.random.randrange(RAM, RAM_END, 16)

    def address(self):
        """Where a DMA may lead: mostly RAM, also its end, a BAR, nowhere."""
        kind = self.random.random()
        if kind < 0.7:
            return self.random.randrange(RAM, RAM_END, PAGE)
        if kind < 0.8:
            return self.ram() + self.random.randrange(16)
        if kind < 0.9:
            return self.random.choice([w.base for w, memory in self.windows if memory] or [0])
        return self.random.choice(
            (self.machine.memory.low_size - 8, 0xFEE0_0000, (1 << 64) - 16, 0xC000_0000, 1 << 40)
        )

    def value(self):
        kind = self.random.random()
        if kind < 0.3:
            return self.random.choice(_EDGES)
        if kind < 0.5:
            return 1 << self.random.randrange(64)
        if kind < 0.75:
            return self.address()
        return self.random.getrandbits(64)

    def ring(self):
        """Something in memory that a device may take for a descriptor, or an avail ring."""
        at = self.random.randrange(RAM, RAM_END, PAGE) + 16 * self.random.randrange(16)
        length = self.random.choice((0, 1, 14, 60, 64, 1514, 4096, 65535, 0xFFFF_FFFF))
        flags = self.random.choice((0, 1, 2, 3, 4, 5, 0x8080, 0xFFFF, 0x0B00_0000))
        second = length | flags << 32 | self.random.randrange(8) << 48
        return store(at, 8, self.address()) + store(at + 8, 8, second & (1 << 64) - 1)

    def bring_up(self):
        """The steps of a driver that starts a card, each left out now and then."""
        window, _ = self.random.choice([w for w in self.windows if w[1]])
        table, base = window.device.registers, window.base
        names = {register.name for register in table}
        steps, page = [], self.random.randrange(RAM, RAM_END - 16 * PAGE, PAGE)
        if "QUEUE_DESC_LO" in names:
            taken = self.random.choice((0, 0xFFFF_FFFF, self.random.getrandbits(32)))
            steps += [("STATUS", 0), ("STATUS", 1), ("STATUS", 3)]
            steps += [("DRIVER_FEATURE_SELECT", 0), ("DRIVER_FEATURE", taken & 0x3000_0FFF)]
            steps += [("DRIVER_FEATURE_SELECT", 1), ("DRIVER_FEATURE", 1), ("STATUS", 0xB)]
            for queue in range(3):
                steps += [("QUEUE_SELECT", queue), ("QUEUE_SIZE", 1 << self.random.randrange(8))]
                for part in ("DESC", "DRIVER", "DEVICE"):
                    steps.append((f"QUEUE_{part}_LO", page))
                    page += PAGE
                steps.append(("QUEUE_ENABLE", 1))
            steps += [("STATUS", 0xF), ("NOTIFY", 0)]
            avail = [store(page + 2 - PAGE * n, 2, self.random.randrange(16)) for n in range(9)]
        elif "TDBAL" in names:
            length = 128 * self.random.choice((1, 2, 8, 0x1FFF))
            for ring in "TR":
                steps += [(f"{ring}DBAL", page), (f"{ring}DBAH", 0), (f"{ring}DLEN", length)]
                page += PAGE
            steps += [("TCTL", 0x4010A | 1 << 1), ("RCTL", self.value() & 0xFFFF_FFFF | 2)]
            steps += [("IMS", 0xFFFF_FFFF), ("RDT", 7), ("TDT", self.random.randrange(0x200))]
            avail = []
        else:
            return b""
        kept = [step for step in steps if self.random.random() < 0.97]
        self.touched |= {(window.device.name, name, True) for name, _ in kept}
        return b"".join(avail) + b"".join(
            store(base + table[name].offset, table[name].size, value) for name, value in kept
        )

    def configure(self):
        """A write of a configuration space: COMMAND, BARs and capabilities move."""
        slot = self.random.choice(self.functions)
        where = self.random.choice((4, 4, 4, 0x10, 0x14, 0x18, 0x20, 0x24, 0x30, 0x3C))
        if self.random.random() < 0.4:
            where = self.random.randrange(0, 256, 4)
        value = 7 if where == 4 and self.random.random() < 0.8 else self.value()
        address = 0x8000_0000 | slot << 11 | where
        return out(CONFIG_PORTS, 4, address) + out(CONFIG_PORTS + 4, 4, value)

    def access(self, window, memory):
        registers = list(window.device.registers)
        register = self.random.choice(registers) if registers else None
        write = self.random.random() < 0.7
        sizes = (1, 2, 4, 8) if memory else (1, 2, 4)
        if register is None or self.random.random() < 0.15:
            offset, size = self.random.randrange(window.size), self.random.choice(sizes)
            register = window.device.registers.lookup(offset, write, window.device.bank)
        else:
            offset = register.offset + register.step * self.random.randrange(register.count)
            size = register.size if self.random.random() < 0.9 else self.random.choice(sizes)
        size = size if size in sizes else sizes[-1]
        if register is not None:
            self.touched.add((window.device.name, register.name, write))
        at = window.base + offset
        if memory:
            return store(at, size, self.value()) if write else load(at, size)
        at &= 0xFFFF
        chosen = self.select(window, register)
        return chosen + (out(at, size, self.value()) if write else read_port(at, size))

    def select(self, window, register):
        """The bank that the register is in."""
        if register is None or register.bank < 0:
            return b""
        if window.device.name == "rtc":
            return out(window.base, 1, register.bank)
        if window.device.name == "uart0":
            return out(window.base + 3, 1, register.bank << 7)
        return b""


class Watched(Machine):
    """Notes when it was stopped first."""

    stopped_at = None

    def stop(self, outcome):
        self.stopped_at = self.stopped_at or time.monotonic()
        super().stop(outcome)


def resident():
    """KiB in RAM now, without guest memory that programs have touched: it is given back."""
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * resource.getpagesize() // 1024


def run(seed, image, nics, disk, say):
    """One program: (seconds from stop to the end, outcome's reason, what it touched)."""
    config = Config(
        image=image, serial="null", timeout=TIMEOUT, rng=True, console="null", testdev=True,
        memory=16 << 20, nics=tuple(NicConfig.parse(text) for text in nics),
        disks=(DiskConfig.parse(disk),), cpus=1,
    )  # fmt: skip
    with Watched(config, say=say) as machine:
        program = Program(seed, machine)
        machine.memory.write(CODE, program.code)
        reason = machine.run().reason
    return time.monotonic() - machine.stopped_at, reason, program.touched


def registers(image, nics, disk):
    """How many registers each device has that programs are made for."""
    config = Config(
        image=image, serial="null", rng=True, console="null", testdev=True, memory=16 << 20,
        nics=tuple(NicConfig.parse(text) for text in nics), disks=(DiskConfig.parse(disk),),
    )  # fmt: skip
    with Machine(config) as machine:
        return {
            window.device.name: sorted({register.name for register in window.device.registers})
            for bus in (machine.board.pio, machine.board.mmio) for window in bus
        }  # fmt: skip


def main(first, seconds, *nics):
    said, slowest, touched, outcomes = 0, 0.0, set(), Counter()
    with tempfile.TemporaryDirectory() as place:
        image, disk = f"{place}/guest.bin", f"{place}/disk.img"
        Path(image).write_bytes(_CLI_HLT)
        Path(disk).write_bytes(bytes(1 << 20))
        have = registers(image, nics, disk)
        end, seed, before, said_most = time.monotonic() + float(seconds), int(first), 0, 0
        while time.monotonic() < end or seed < int(first) + 3:
            print(f"seed {seed}", file=sys.stderr, flush=True)
            lines = []
            took, reason, what = run(seed, image, nics, disk, lines.append)
            said_most = max(said_most, sum(map(len, lines)))
            said += len(lines)
            slowest = max(slowest, took)
            touched |= what
            outcomes[reason.split(":")[0]] += 1
            seed += 1
            gc.collect()
            if seed == int(first) + 3:
                before = resident()
        grown = resident() - before
    covered = {
        name: [
            len({r for device, r, write in touched if device == name and not write}),
            len({r for device, r, write in touched if device == name and write}),
            len(names),
        ]
        for name, names in have.items()
    }
    print(json.dumps({
        "programs": seed - int(first), "grown_kib": grown, "slowest_end": slowest,
        "said_most": said_most, "outcomes": outcomes, "covered": covered,
    }))  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
