"""A virtual machine: memory slots, the in-kernel interrupt controllers, eventfds."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping

from pykvm.errors import KvmError
from pykvm.hints import Any
from pykvm.kvm.abi import call, call_long, ffi, lib
from pykvm.kvm.system import Kvm
from pykvm.kvm.vcpu import Vcpu
from pykvm.memory import GuestMemory

# Three pages and a page that VT-x without "unrestricted guest" needs somewhere no RAM is.
_TSS_ADDRESS = 0xFFFB_D000
_IDENTITY_MAP = 0xFFFB_C000

# With the default routing a GSI below 16 reaches the PIC and the IOAPIC, 16 to 23 the IOAPIC.
GSI_COUNT = 24


class Vm:
    """One VM and what belongs to it; a context manager that closes every descriptor.

    ``memory`` must outlive it. With ``irqchip`` the PIC, IOAPIC, LAPICs and the PIT are KVM's own.
    The guest's writes of the MSR ``watched`` leave KVM_RUN (KVM_EXIT_X86_WRMSR), undone.
    Raises KvmError.
    """

    def __init__(
        self, kvm: Kvm, memory: GuestMemory, *, irqchip: bool = True, watched: int | None = None
    ) -> None:
        self.kvm = kvm
        self.memory = memory
        self.irqchip = irqchip
        self.vcpus: list[Vcpu] = []
        self.fd = kvm.create_vm()
        self.bus = ffi.gc(lib.pk_bus_new(), lib.pk_bus_free)
        self.doorbells: Any = ffi.gc(lib.pk_doorbells_new(self.fd, self.bus), lib.pk_doorbells_free)
        try:
            if watched is not None:
                # Before the chips: KVM would wait until their ports are known everywhere, 16 ms.
                self._watch_msr(watched)
            call_long(self.fd, "KVM_SET_TSS_ADDR", _TSS_ADDRESS)
            call(self.fd, "KVM_SET_IDENTITY_MAP_ADDR", ffi.new("uint64_t *", _IDENTITY_MAP))
            for number, slot in enumerate(memory.slots):
                region = ffi.new("struct kvm_userspace_memory_region *")
                region.slot = number
                region.flags = 0 if slot.writable else lib.KVM_MEM_READONLY
                region.guest_phys_addr = slot.base
                region.memory_size = slot.size
                region.userspace_addr = memory.host_address(slot)
                call(self.fd, "KVM_SET_USER_MEMORY_REGION", region)
            if irqchip:
                call(self.fd, "KVM_CREATE_IRQCHIP")
                # The dummy speaker keeps port 0x61 in the kernel, beside the PIT that it gates.
                pit = ffi.new("struct kvm_pit_config *")
                pit.flags = lib.KVM_PIT_SPEAKER_DUMMY
                call(self.fd, "KVM_CREATE_PIT2", pit)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Vm:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the vCPUs and the VM; idempotent. No vCPU may be running."""
        lib.pk_doorbells_map(self.doorbells, ffi.NULL)
        for vcpu in self.vcpus:
            vcpu.close()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def create_vcpu(self) -> Vcpu:
        """The next vCPU; its number is its APIC ID."""
        vcpu = Vcpu(self, len(self.vcpus))
        self.vcpus.append(vcpu)
        return vcpu

    # -- interrupts ---------------------------------------------------------------------------

    def irq_line(self, gsi: int, level: bool) -> None:
        """Drive an interrupt line; from any thread."""
        line = ffi.new("struct kvm_irq_level *")
        line.irq = gsi
        line.level = level
        call(self.fd, "KVM_IRQ_LINE", line)

    def irqfd(self, fd: int, gsi: int, *, resample: int | None = None, assign: bool = True) -> None:
        """Bind eventfd ``fd`` to ``gsi``: a write to it is an edge, or with ``resample`` a level
        that stays until the guest's EOI, which is then signalled on ``resample``."""
        irqfd = ffi.new("struct kvm_irqfd *")
        irqfd.fd = fd
        irqfd.gsi = gsi
        if not assign:
            irqfd.flags = lib.KVM_IRQFD_FLAG_DEASSIGN
        elif resample is not None:
            irqfd.flags = lib.KVM_IRQFD_FLAG_RESAMPLE
            irqfd.resamplefd = resample
        call(self.fd, "KVM_IRQFD", irqfd)

    def set_level_triggered(self, gsis: Iterable[int]) -> None:
        """Program the PICs' edge/level registers, as firmware does for PCI's interrupt lines."""
        for chip in (0, 1):
            state = ffi.new("struct kvm_irqchip *")
            state.chip_id = chip
            call(self.fd, "KVM_GET_IRQCHIP", state)
            for gsi in gsis:
                if gsi >> 3 == chip:
                    state.chip.pic.elcr |= 1 << (gsi & 7)
            call(self.fd, "KVM_SET_IRQCHIP", state)

    def signal_msi(self, address: int, data: int) -> bool:
        """Deliver one MSI; False when the guest blocked it, or it is none that anybody gets."""
        msi = ffi.new("struct kvm_msi *")
        msi.address_lo = address & 0xFFFF_FFFF
        msi.address_hi = address >> 32
        msi.data = data
        try:
            return call(self.fd, "KVM_SIGNAL_MSI", msi) > 0
        except KvmError as error:
            if error.errno == errno.EPERM:  # what KVM says where no interrupt controller takes it
                return False
            raise

    def set_message_routes(self, messages: Mapping[int, tuple[int, int]]) -> None:
        """Route each of these GSIs (from ``GSI_COUNT`` on) to an MSI of (address, data), beside the
        board's own inputs, which stay where KVM has them by default."""
        chips = [(n, lib.KVM_IRQCHIP_IOAPIC, n) for n in range(GSI_COUNT)]
        chips += [(n, lib.KVM_IRQCHIP_PIC_MASTER + n // 8, n % 8) for n in range(16)]
        # struct kvm_irq_routing: a count, flags, entries.
        size = ffi.sizeof("struct kvm_irq_routing_entry")
        block = ffi.new("char[]", 8 + size * (len(chips) + len(messages)))
        ffi.cast("uint32_t *", block)[0] = len(chips) + len(messages)
        entries = ffi.cast("struct kvm_irq_routing_entry *", block + 8)
        for entry, (gsi, chip, pin) in zip(entries[0 : len(chips)], chips, strict=True):
            entry.gsi, entry.type = gsi, lib.KVM_IRQ_ROUTING_IRQCHIP
            entry.u.irqchip.irqchip, entry.u.irqchip.pin = chip, pin
        for n, (gsi, (address, data)) in enumerate(messages.items(), len(chips)):
            entry = entries[n]
            entry.gsi, entry.type = gsi, lib.KVM_IRQ_ROUTING_MSI
            entry.u.msi.address_lo, entry.u.msi.address_hi = address & 0xFFFF_FFFF, address >> 32
            entry.u.msi.data = data
        call(self.fd, "KVM_SET_GSI_ROUTING", block)

    # -- doorbells ----------------------------------------------------------------------------

    def ioeventfd(
        self,
        fd: int,
        address: int,
        size: int,
        *,
        pio: bool = False,
        match: int | None = None,
        assign: bool = True,
    ) -> None:
        """Signal eventfd ``fd`` instead of exiting when the guest writes ``size`` bytes (0: any)
        at ``address``; only for the value ``match`` if given."""
        event = ffi.new("struct kvm_ioeventfd *")
        event.addr = address
        event.len = size
        event.fd = fd
        if pio:
            event.flags |= lib.KVM_IOEVENTFD_FLAG_PIO
        if match is not None:
            event.flags |= lib.KVM_IOEVENTFD_FLAG_DATAMATCH
            event.datamatch = match
        if not assign:
            event.flags |= lib.KVM_IOEVENTFD_FLAG_DEASSIGN
        call(self.fd, "KVM_IOEVENTFD", event)

    def coalesce(self, address: int, size: int, *, pio: bool = False, on: bool = True) -> None:
        """Collect writes to ``[address, address + size)`` in the ring that
        ``Vcpu.drain_coalesced`` empties, without an exit for each."""
        zone = ffi.new("struct kvm_coalesced_mmio_zone *")
        zone.addr = address
        zone.size = size
        zone.pio = pio
        call(
            self.fd,
            "KVM_REGISTER_COALESCED_MMIO" if on else "KVM_UNREGISTER_COALESCED_MMIO",
            zone,
        )

    # -- the rest -----------------------------------------------------------------------------

    def enable(self, capability: str, *arguments: int) -> None:
        """KVM_ENABLE_CAP for ``KVM_CAP_<capability>``."""
        cap = ffi.new("struct kvm_enable_cap *")
        cap.cap = getattr(lib, f"KVM_CAP_{capability}")
        for n, argument in enumerate(arguments):
            cap.args[n] = argument
        call(self.fd, "KVM_ENABLE_CAP", cap)

    def _watch_msr(self, index: int) -> None:
        nothing_allowed = ffi.new("uint8_t[]", 1)
        msrs = ffi.new("struct kvm_msr_filter *")
        watched = msrs.ranges[0]
        watched.flags, watched.nmsrs, watched.base = lib.KVM_MSR_FILTER_WRITE, 1, index
        watched.bitmap = nothing_allowed
        self.enable("X86_USER_SPACE_MSR", lib.KVM_MSR_EXIT_REASON_FILTER)
        call(self.fd, "KVM_X86_SET_MSR_FILTER", msrs)

    def set_native_ranges(self, space: int, ranges: list[Any]) -> None:
        """Replace the C side's copy of one bus (``PK_PIO``, ``PK_MMIO``); see native/bus.h."""
        block = ffi.new("struct pk_range[]", max(len(ranges), 1))
        for n, r in enumerate(ranges):
            block[n] = r
        if not lib.pk_bus_set(self.bus, space, block, len(ranges)):
            raise ValueError(f"{len(ranges)} ranges do not fit")
