// GDT and TSS. Descriptor layout: Intel SDM vol. 3, 3.4.5; the 64-bit TSS: 8.7 (figure 8-11).
#include "cpu.h"

// In 64-bit mode a code segment keeps only its L bit and DPL, a data segment only its DPL.
static u64 gdt[] = {
    0,
    0x00af9b000000ffff, // 0x08 ring 0 code, L=1
    0x00cf93000000ffff, // 0x10 ring 0 data
    0x00cff3000000ffff, // 0x18 ring 3 data
    0x00affb000000ffff, // 0x20 ring 3 code, L=1
    [5 + 2 * CPUS] = 0, // from 0x28 on a TSS for each processor, 16 bytes, filled in by cpu_init
};

// The I/O permission bitmap follows the last TSS and is in the limit of all: a clear bit lets ring 3 use
// the port. The processor reads two bytes at a time, hence the byte of ones at the end (SDM vol. 1, 19.5.2).
static struct {
    struct {
        u32 reserved0;
        u64 rsp[3];
        u64 reserved1;
        u64 ist[7];
        u64 reserved2;
        u16 reserved3;
        u16 iomap_base;
    } __attribute__((packed)) of[CPUS];
    u8 iomap[8192];
    u8 iomap_end;
} __attribute__((packed)) tss;

void cpu_set_kernel_stack(unsigned cpu, u64 rsp)
{
    tss.of[cpu].rsp[0] = rsp;
}

void cpu_allow_port(u16 port, bool allow)
{
    u8 bit = 1u << (port & 7);
    if (allow)
        tss.iomap[port >> 3] &= ~bit;
    else
        tss.iomap[port >> 3] |= bit;
}

void cpu_init(unsigned cpu)
{
    u64 base = (u64)&tss.of[cpu], limit = (u64)&tss.iomap_end - base;

    tss.of[cpu].iomap_base = (u16)((u64)tss.iomap - base);
    tss.iomap_end = 0xff;
    // Type 9 (available 64-bit TSS), present.
    gdt[5 + 2 * cpu] = (limit & 0xffff) | (base & 0xffffff) << 16 | 0x89ull << 40 | (base >> 24 & 0xff) << 56;
    gdt[6 + 2 * cpu] = base >> 32;

    struct {
        u16 limit;
        u64 base;
    } __attribute__((packed)) gdtr = {sizeof(gdt) - 1, (u64)gdt};

    __asm__ volatile("lgdt %0\n\t"
                     "pushq %1\n\t"
                     "leaq 1f(%%rip), %%rax\n\t"
                     "pushq %%rax\n\t"
                     "lretq\n"
                     "1:\n\t"
                     "movw %w2, %%ds\n\t"
                     "movw %w2, %%es\n\t"
                     "movw %w2, %%fs\n\t"
                     "movw %w2, %%gs\n\t"
                     "movw %w2, %%ss\n\t"
                     "ltr %w3"
                     :
                     : "m"(gdtr), "i"(KERNEL_CS), "r"(KERNEL_DS), "r"(TSS_SEL + 16 * cpu)
                     : "rax", "memory");
}
