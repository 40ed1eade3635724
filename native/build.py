"""Describes the C extension ``pykvm._native`` to cffi.

The layout of every KVM structure and the value of every constant come from ``<linux/kvm.h>`` by way
of the compiler: a declaration below names fields, the compiler places them.
"""

from __future__ import annotations

import os
import re
import subprocess
import sysconfig
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).parent
SOURCES = [
    "guestmem.c", "bus.c", "doorbell.c", "kicks.c", "accesscount.c", "vcpu.c", "inet.c",
    "irqline.c", "host.c", "processors.c", "duty.c", "worker.c", "coalesce.c", "virtq.c",
    "virtq_split.c", "virtq_packed.c", "isr.c", "vnet_header.c", "virtio_net.c",
    "virtio_net_rx.c",
    "virtio_window.c", "e1000.c", "e1000_worker.c", "e1000_doorbells.c", "e1000_tx.c",
    "e1000_segment.c", "e1000_send.c", "e1000_wire.c", "e1000_rx.c", "e1000_causes.c",
    "e1000_card.c", "atomic.c", "floor.c",
]  # fmt: skip
HEADERS = [
    "guestmem.h", "bus.h", "doorbell.h", "kicks.h", "accesscount.h", "vcpu.h", "irqline.h",
    "processors.h", "duty.h", "virtq.h", "isr.h", "netcounts.h", "virtio_net.h",
    "virtio_window.h", "e1000.h", "atomic.h", "floor.h",
]  # fmt: skip
PRIVATE = [
    "inet.h", "pieces.h", "coalesce.h", "virtq_ring.h", "host.h", "worker.h", "e1000_card.h",
    "e1000_frame.h", "vnet_header.h", "virtio_net_work.h",
]  # fmt: skip

# The ioctls that pykvm issues; numbers come from the header.
IOCTLS = [
    "KVM_GET_API_VERSION",
    "KVM_CREATE_VM",
    "KVM_CHECK_EXTENSION",
    "KVM_GET_VCPU_MMAP_SIZE",
    "KVM_GET_SUPPORTED_CPUID",
    "KVM_GET_MSR_INDEX_LIST",
    "KVM_CREATE_VCPU",
    "KVM_SET_USER_MEMORY_REGION",
    "KVM_SET_TSS_ADDR",
    "KVM_SET_IDENTITY_MAP_ADDR",
    "KVM_CREATE_IRQCHIP",
    "KVM_CREATE_PIT2",
    "KVM_IRQ_LINE",
    "KVM_GET_IRQCHIP",
    "KVM_SET_IRQCHIP",
    "KVM_IRQFD",
    "KVM_IOEVENTFD",
    "KVM_SIGNAL_MSI",
    "KVM_SET_GSI_ROUTING",
    "KVM_REGISTER_COALESCED_MMIO",
    "KVM_UNREGISTER_COALESCED_MMIO",
    "KVM_ENABLE_CAP",
    "KVM_GET_CLOCK",
    "KVM_SET_CLOCK",
    "KVM_GET_DIRTY_LOG",
    "KVM_GET_STATS_FD",
    "KVM_RUN",
    "KVM_GET_REGS",
    "KVM_SET_REGS",
    "KVM_GET_SREGS",
    "KVM_SET_SREGS",
    "KVM_GET_FPU",
    "KVM_SET_FPU",
    "KVM_GET_XSAVE",
    "KVM_SET_XSAVE",
    "KVM_GET_XCRS",
    "KVM_SET_XCRS",
    "KVM_SET_CPUID2",
    "KVM_GET_CPUID2",
    "KVM_GET_MSRS",
    "KVM_SET_MSRS",
    "KVM_X86_SET_MSR_FILTER",
    "KVM_GET_MP_STATE",
    "KVM_SET_MP_STATE",
    "KVM_GET_VCPU_EVENTS",
    "KVM_SET_VCPU_EVENTS",
    "KVM_SET_GUEST_DEBUG",
    "KVM_GET_DEBUGREGS",
    "KVM_SET_DEBUGREGS",
    "KVM_GET_LAPIC",
    "KVM_SET_LAPIC",
    "KVM_TRANSLATE",
    "KVM_GET_TSC_KHZ",
    "KVM_NMI",
    "KVM_INTERRUPT",
]

# Whole families of plain numbers, taken as the header has them.
FAMILIES = re.compile(
    r"#define (KVM_(?:EXIT|CAP|INTERNAL_ERROR|MEM|IRQFD_FLAG|IOEVENTFD_FLAG|MP_STATE|GUESTDBG"
    r"|SYNC_X86|IRQCHIP|IRQ_ROUTING|PIT|SYSTEM_EVENT|VCPUEVENT_VALID|MAX|MSI|MSR|NOTIFY"
    r"|COALESCED|CPUID_FLAG|STATS|RUN)_\w+)\s+(?!_IO)[(]?[0-9(1]"
)

STRUCTS = """
struct kvm_segment {
    uint64_t base; uint32_t limit; uint16_t selector; uint8_t type, present, dpl, db, s, l, g, avl,
    unusable, padding; };
struct kvm_dtable { uint64_t base; uint16_t limit; uint16_t padding[3]; };
struct kvm_regs {
    uint64_t rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8, r9, r10, r11, r12, r13, r14, r15, rip,
    rflags; };
struct kvm_sregs {
    struct kvm_segment cs, ds, es, fs, gs, ss, tr, ldt;
    struct kvm_dtable gdt, idt;
    uint64_t cr0, cr2, cr3, cr4, cr8, efer, apic_base;
    uint64_t interrupt_bitmap[4]; };
struct kvm_fpu {
    uint8_t fpr[8][16]; uint16_t fcw, fsw; uint8_t ftwx; uint16_t last_opcode;
    uint64_t last_ip, last_dp; uint8_t xmm[16][16]; uint32_t mxcsr; ...; };
struct kvm_xcr { uint32_t xcr, reserved; uint64_t value; };
struct kvm_xcrs { uint32_t nr_xcrs, flags; struct kvm_xcr xcrs[16]; ...; };
struct kvm_xsave { uint32_t region[1024]; ...; };
struct kvm_vcpu_events {
    struct { uint8_t injected, nr, has_error_code, pending; uint32_t error_code; } exception;
    struct { uint8_t injected, nr, soft, shadow; } interrupt;
    struct { uint8_t injected, pending, masked, pad; } nmi;
    uint32_t sipi_vector, flags;
    struct { uint8_t smm, pending, smm_inside_nmi, latched_init; } smi;
    struct { uint8_t pending; } triple_fault;
    uint8_t reserved[26], exception_has_payload; uint64_t exception_payload; };
struct kvm_sync_regs {
    struct kvm_regs regs; struct kvm_sregs sregs; struct kvm_vcpu_events events; };
struct kvm_debug_exit_arch { uint32_t exception, pad; uint64_t pc, dr6, dr7; };
struct kvm_run {
    uint8_t request_interrupt_window, immediate_exit;
    uint32_t exit_reason;
    uint8_t ready_for_interrupt_injection, if_flag;
    uint16_t flags;
    uint64_t cr8, apic_base;
    union {
        struct { uint64_t hardware_exit_reason; } hw;
        struct { uint64_t hardware_entry_failure_reason; uint32_t cpu; } fail_entry;
        struct { uint32_t exception, error_code; } ex;
        struct { uint8_t direction, size; uint16_t port; uint32_t count; uint64_t data_offset; } io;
        struct { struct kvm_debug_exit_arch arch; } debug;
        struct { uint64_t phys_addr; uint8_t data[8]; uint32_t len; uint8_t is_write; } mmio;
        struct { uint64_t nr; uint64_t args[6]; uint64_t ret; uint64_t flags; } hypercall;
        struct { uint32_t suberror, ndata; uint64_t data[16]; } internal;
        struct { uint32_t type, ndata; uint64_t data[16]; } system_event;
        struct { uint8_t vector; } eoi;
        struct { uint8_t error; uint8_t pad[7]; uint32_t reason, index; uint64_t data; } msr;
        struct { uint32_t flags; } notify;
        char padding[256];
    };
    uint64_t kvm_valid_regs, kvm_dirty_regs;
    union { struct kvm_sync_regs regs; char padding[2048]; } s;
    ...; };
struct kvm_userspace_memory_region {
    uint32_t slot, flags; uint64_t guest_phys_addr, memory_size, userspace_addr; ...; };
struct kvm_pit_config { uint32_t flags; ...; };
struct kvm_pic_state {
    uint8_t last_irr, irr, imr, isr, priority_add, irq_base, read_reg_select, poll, special_mask,
    init_state, auto_eoi, rotate_on_auto_eoi, special_fully_nested_mode, init4, elcr, elcr_mask; };
struct kvm_irqchip {
    uint32_t chip_id, pad; union { uint64_t padding[64]; struct kvm_pic_state pic; } chip; };
struct kvm_irq_level { uint32_t irq; uint32_t level; ...; };
struct kvm_irqfd { uint32_t fd, gsi, flags, resamplefd; ...; };
struct kvm_ioeventfd { uint64_t datamatch, addr; uint32_t len; int32_t fd; uint32_t flags; ...; };
struct kvm_msi { uint32_t address_lo, address_hi, data, flags; ...; };
struct kvm_irq_routing_irqchip { uint32_t irqchip, pin; };
struct kvm_irq_routing_msi { uint32_t address_lo, address_hi, data, devid; };
struct kvm_irq_routing_entry {
    uint32_t gsi, type, flags;
    union { struct kvm_irq_routing_irqchip irqchip; struct kvm_irq_routing_msi msi;
            uint32_t pad[8]; } u;
    ...; };
struct kvm_coalesced_mmio_zone { uint64_t addr; uint32_t size; uint32_t pio; ...; };
struct kvm_coalesced_mmio {
    uint64_t phys_addr; uint32_t len; uint32_t pio; uint8_t data[8]; ...; };
struct kvm_coalesced_mmio_ring {
    uint32_t first, last; struct kvm_coalesced_mmio coalesced_mmio[]; ...; };
struct kvm_enable_cap { uint32_t cap, flags; uint64_t args[4]; ...; };
struct kvm_cpuid_entry2 {
    uint32_t function, index, flags, eax, ebx, ecx, edx; ...; };
struct kvm_msr_entry { uint32_t index; uint64_t data; ...; };
struct kvm_msr_filter_range { uint32_t flags, nmsrs, base; uint8_t *bitmap; ...; };
struct kvm_msr_filter { uint32_t flags; struct kvm_msr_filter_range ranges[16]; ...; };
struct kvm_mp_state { uint32_t mp_state; ...; };
struct kvm_translation {
    uint64_t linear_address, physical_address; uint8_t valid, writeable, usermode; ...; };
struct kvm_guest_debug_arch { uint64_t debugreg[8]; ...; };
struct kvm_guest_debug { uint32_t control; struct kvm_guest_debug_arch arch; ...; };
struct kvm_debugregs { uint64_t db[4]; uint64_t dr6, dr7, flags; ...; };
struct kvm_clock_data { uint64_t clock; uint32_t flags; ...; };
struct kvm_lapic_state { char regs[...]; ...; };
"""


def kvm_constants() -> list[str]:
    """Names of the families' macros in the compiler's own ``<linux/kvm.h>``."""
    compiler = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    text = subprocess.run(
        [*compiler.split(), "-dM", "-E", "-include", "linux/kvm.h", "-x", "c", "/dev/null"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return sorted(set(FAMILIES.findall(text)))


def header_declarations(name: str) -> str:
    """A header of ours as cffi takes it: declarations and plain numbers, no other preprocessing."""
    text = re.sub(r"/\*.*?\*/", "", (HERE / name).read_text(), flags=re.DOTALL)
    keep = re.compile(r"(?!#)|#define PK_\w+ \d+$")
    return "\n".join(line for line in text.splitlines() if keep.match(line))


ffibuilder = FFI()
ffibuilder.cdef("\n".join(f"#define {name} ..." for name in [*IOCTLS, *kvm_constants()]))
# The kernel says __u64, which is long long; an array of long would be another type.
ffibuilder.cdef(STRUCTS.replace("uint64_t", "unsigned long long"))
for header in HEADERS:
    ffibuilder.cdef(header_declarations(header))

PREAMBLE = """
#pragma GCC diagnostic ignored "-Wunused-parameter"  /* of cffi's glue; ours gets every warning */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#pragma GCC diagnostic ignored "-Wsign-compare"
#define PAGE_SIZE 4096  /* <linux/kvm.h> sizes the coalesced ring by it */
#include <linux/kvm.h>
"""
flags = ["-std=c11", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE"]
flags += ["-fvisibility=hidden", "-flto=auto"]  # calls between these files are inlined, too
flags += os.environ.get("PYKVM_CFLAGS", "").split()
ffibuilder.set_source(
    "pykvm._native",
    PREAMBLE + "".join(f'#include "{header}"\n' for header in HEADERS),
    sources=[f"native/{source}" for source in SOURCES],
    include_dirs=["native"],
    depends=[f"native/{name}" for name in [*SOURCES, *HEADERS, *PRIVATE, "build.py"]],
    extra_compile_args=flags,
    extra_link_args=["-pthread", "-flto=auto", *os.environ.get("PYKVM_LDFLAGS", "").split()],
)

if __name__ == "__main__":
    ffibuilder.compile(verbose=True)
