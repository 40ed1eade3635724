"""What this host offers to guests, what is missing, and the command that mends it.

Each check is plain data, so that the table and ``--json`` say the same.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pykvm.boot.plan import Handover, Mode
from pykvm.errors import PykvmError
from pykvm.kvm.abi import lib
from pykvm.kvm.system import Kvm
from pykvm.kvm.vm import Vm
from pykvm.machine import cpu, probe, probe_syscall
from pykvm.machine.finish.engine import INSTALL
from pykvm.memory import GuestMemory

OK, WARN, FAIL = "ok", "warn", "fail"

# name: (what pykvm uses it for, whether it cannot do without)
CAPABILITIES: dict[str, tuple[str, bool]] = {
    "USER_MEMORY": ("guest RAM", True),
    "IRQCHIP": ("PIC, IOAPIC and LAPIC in the kernel", True),
    "PIT2": ("the timer in the kernel", True),
    "MP_STATE": ("noticing that a guest has halted for good", True),
    "EXT_CPUID": ("what CPUID shows", True),
    "IMMEDIATE_EXIT": ("stopping a guest without a race", True),
    "VCPU_EVENTS": ("pending exceptions in crash reports", False),
    "SYNC_REGS": ("registers at each traced exit without a call", False),
    "IRQFD": ("interrupts raised by a write to an eventfd", False),
    "IRQFD_RESAMPLE": ("level-triggered interrupts by eventfd", False),
    "IOEVENTFD": ("doorbells that do not leave the kernel", False),
    "SIGNAL_MSI": ("message-signalled interrupts", False),
    "COALESCED_MMIO": ("writes collected without an exit each", False),
    "COALESCED_PIO": ("the same for ports", False),
    "READONLY_MEM": ("ROM", False),
    "SET_GUEST_DEBUG": ("breakpoints", False),
    "GET_TSC_KHZ": ("cycles to microseconds in the benches", False),
    "BINARY_STATS_FD": ("KVM's own counters", False),
    "EXIT_ON_EMULATION_FAILURE": ("the bytes that KVM could not emulate", False),
    "NR_MEMSLOTS": ("memory slots, at most", False),
    "NR_VCPUS": ("vCPUs, recommended", False),
    "MAX_VCPUS": ("vCPUs, at most", False),
}


@dataclass(frozen=True)
class Check:
    """One finding. ``status`` is ok, warn or fail; ``mend`` is a command, or empty."""

    name: str
    purpose: str
    status: str
    found: str
    mend: str = ""


def checks() -> list[Check]:
    """Everything, in the order of the table."""
    found = list(_kvm_device())
    if all(check.status != FAIL for check in found):
        with Kvm() as kvm:
            found += _capabilities(kvm)
        found += [_first_instruction(), *_probes()]
    found += [_vendor(), _unicorn(), _tap(), _vhost(), _hugepages()]
    found += [_program(*row) for row in _PROGRAMS]
    return found


def can_run(found: list[Check]) -> bool:
    """Whether guests can run here at all."""
    return all(check.status != FAIL for check in found)


def as_dict(found: list[Check]) -> dict[str, Any]:
    """The ``--json`` form, version 1."""
    return {"version": 1, "can_run": can_run(found), "checks": [asdict(check) for check in found]}


def _kvm_device() -> Iterator[Check]:
    purpose = "running guests"
    try:
        with Kvm() as kvm:
            yield Check("/dev/kvm", purpose, OK, f"opened, API {kvm.api_version}")
    except PykvmError as error:
        text = str(error).removesuffix(" (see: pykvm doctor)")
        why, _, mend = text.partition("; ")
        yield Check("/dev/kvm", purpose, FAIL, why.removeprefix("/dev/kvm: "), mend)


def _capabilities(kvm: Kvm) -> Iterator[Check]:
    for name, (purpose, needed) in CAPABILITIES.items():
        value = kvm.capability(name)
        status = OK if value else FAIL if needed else WARN
        found = str(value) if value > 1 else "yes" if value else "no"
        yield Check(f"KVM_CAP_{name}", purpose, status, found, "" if value else "a newer kernel")


def _first_instruction() -> Check:
    """Run one: a host that lists every capability may still refuse to enter a guest."""
    purpose = "entering a guest"
    try:
        with Kvm() as kvm, GuestMemory(1 << 16) as memory, Vm(kvm, memory) as vm:
            memory.write(0x1000, b"\xe6\x80")  # out 0x80, al
            vcpu = vm.create_vcpu()
            cpu.start(vcpu, Mode.REAL, 0x1000, Handover(()))
            left = lib.pk_vcpu_run(vcpu.native, 0)
            reason = int(vcpu.run_state.exit_reason)
        if left == lib.PK_OTHER and reason == lib.KVM_EXIT_IO:
            return Check("KVM_RUN", purpose, OK, "an OUT left the guest as it should")
        return Check("KVM_RUN", purpose, FAIL, f"the guest left with reason {reason}")
    except PykvmError as error:
        return Check("KVM_RUN", purpose, FAIL, str(error))


def _probes() -> Iterator[Check]:
    """What only trying shows."""
    try:
        with Kvm() as kvm:
            features, hypercalls = probe.shows_features(kvm), probe.takes_hypercalls(kvm)
            frames = probe.uses_stack_base(kvm)
            finished = probe_syscall.must_be_finished(kvm)
            programs = _user_space(probe_syscall.ring(kvm), finished)
    except PykvmError as error:
        yield Check("CPUID", "what a guest is shown", WARN, str(error))
        return
    yield Check(
        "CPUID", "showing a guest other features than the host's: --cpu", OK if features else WARN,
        "as it is set" if features else "the host's own features, whatever is set",
    )  # fmt: skip
    yield Check(
        "hypercalls", "interrupts between vCPUs without an exit each", OK if hypercalls else WARN,
        "they return" if hypercalls else "they never return; guests are not offered any",
    )  # fmt: skip
    yield Check(
        "interrupt frames", "32-bit guests whose stack segment has a base: iPXE",
        OK if frames else WARN,
        "on the stack" if frames else "at ESP without the base; iret looks for them there",
    )  # fmt: skip
    yield programs


def _user_space(ring: int | None, finished: bool) -> Check:
    """From the ring in which a system call arrives, and whether pykvm sets that right."""
    found = "system calls never arrive" if ring is None else f"system calls arrive in ring {ring}"
    if ring != 0:
        found += ", and pykvm takes them to ring 0" if finished else ": no program runs"
    return Check("Linux user space", "programs in a guest", OK if ring == 0 else WARN, found)


def _vendor() -> Check:
    """Which kind of KVM: hardware, nested in another hypervisor, or software."""
    modules = {name for name in ("kvm_intel", "kvm_amd", "kvm_pvm") if _module(name)}
    flags = _cpu_flags()
    nested = "hypervisor" in flags
    purpose = "speed"
    if "kvm_pvm" in modules or not flags & {"vmx", "svm"}:
        return Check(
            "virtualization", purpose, WARN,
            "software (no VT-x or AMD-V in this CPU): a guest's ring 0 is emulated one "
            "instruction at a time, some by pykvm; ring 3 runs at full speed",
            "run on a host with VT-x or AMD-V",
        )  # fmt: skip
    if nested:
        return Check("virtualization", purpose, WARN, "nested: each exit costs several", "")
    return Check("virtualization", purpose, OK, "hardware")


def _unicorn() -> Check:
    there = find_spec("unicorn") is not None
    return Check(
        "unicorn", "SSE and x87 instructions that KVM could not emulate", OK if there else WARN,
        "installed" if there else "not installed", "" if there else INSTALL,
    )  # fmt: skip


def _module(name: str) -> bool:
    return Path("/sys/module", name).exists()


def _cpu_flags() -> set[str]:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("flags"):
            return set(line.split(":", 1)[1].split())
    return set()


def _tap() -> Check:
    purpose = "network interfaces for guests"
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        return Check("/dev/net/tun", purpose, WARN, "absent", "sudo modprobe tun")
    except OSError as error:
        mend = "sudo chmod 666 /dev/net/tun"
        return Check("/dev/net/tun", purpose, WARN, error.strerror or "", mend)
    if os.geteuid() == 0:
        return Check("/dev/net/tun", purpose, OK, "opened, as root")
    mend = "sudo ip tuntap add tap0 mode tap user $USER"
    return Check("/dev/net/tun", purpose, OK, "opened; make a TAP of your own as root", mend)


def _vhost() -> Check:
    there = os.path.exists("/dev/vhost-net")
    mend = "" if there else "sudo modprobe vhost_net"
    found = "there" if there else "absent"
    return Check(
        "/dev/vhost-net", "virtio-net in the kernel", OK if there else WARN, found, mend
    )  # fmt: skip


def _hugepages() -> Check:
    purpose = "fewer page faults in guest RAM"
    path = Path("/sys/kernel/mm/transparent_hugepage/shmem_enabled")
    try:
        chosen = path.read_text().split("[")[1].split("]")[0]
    except (OSError, IndexError):
        return Check("huge pages", purpose, WARN, "the kernel has none for shared memory")
    if chosen in ("never", "deny"):
        mend = f"echo advise | sudo tee {path}"
        return Check("huge pages", purpose, WARN, chosen, mend)
    return Check("huge pages", purpose, OK, chosen)


_PROGRAMS = (
    ("qemu-system-x86_64", "comparing with QEMU", "sudo apt-get install qemu-system-x86"),
    ("passt", "networking without root", "sudo apt-get install passt"),
)


def _program(name: str, purpose: str, mend: str) -> Check:
    path = shutil.which(name)
    return Check(name, purpose, OK if path else WARN, path or "not installed", "" if path else mend)


def text(found: list[Check]) -> str:
    """The table for people: problems carry the command that mends them below their line."""
    names = max(len(check.name) for check in found)
    lines = []
    for check in found:
        lines.append(f"{check.status:<4}  {check.name:<{names}}  {check.found}  ({check.purpose})")
        if check.mend:
            lines.append(f"{'':<4}  {'':<{names}}  -> {check.mend}")
    verdict = "guests can run here" if can_run(found) else "guests cannot run here"
    return "\n".join([*lines, "", verdict])
