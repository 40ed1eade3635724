// The processor: segments, the task-state segment, and the instructions C cannot say.
#pragma once
#include "types.h"

// Selectors of our GDT (cpu.c). User code and data carry RPL 3.
#define KERNEL_CS 0x08
#define KERNEL_DS 0x10
#define USER_DS   0x1b
#define USER_CS   0x23
#define TSS_SEL   0x28 // of the first processor, 16 more for each further one

#define RFLAGS_IF (1u << 9)

enum { CPUS = 4 }; // that may run C; the first is 0

// Loads our GDT, segments and this processor's TSS. Called once on each by the start code.
void cpu_init(unsigned cpu);

// The stack the processor switches to when ring 3 is interrupted (TSS.RSP0).
void cpu_set_kernel_stack(unsigned cpu, u64 rsp);

// Allows or denies one I/O port to ring 3. All ports are allowed at the start.
void cpu_allow_port(u16 port, bool allow);

static inline void irq_enable(void) { __asm__ volatile("sti" ::: "memory"); }
static inline void irq_disable(void) { __asm__ volatile("cli" ::: "memory"); }

// Sleeps until an interrupt. STI holds interrupts off for one more instruction (SDM vol. 2, STI),
// so one that is already pending wakes the HLT instead of slipping in before it.
static inline void irq_wait(void) { __asm__ volatile("sti; hlt; cli" ::: "memory"); }

static inline void cpu_pause(void) { __asm__ volatile("pause" ::: "memory"); }

// Stops for good: with interrupts off nothing but a reset wakes a halted processor.
_Noreturn static inline void cpu_halt(void)
{
    for (;;)
        __asm__ volatile("cli; hlt" ::: "memory");
}

static inline u64 rdtsc(void)
{
    u32 lo, hi;
    __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi) : : "memory");
    return (u64)hi << 32 | lo;
}

static inline void cpuid(u32 leaf, u32 *a, u32 *b, u32 *c, u32 *d)
{
    __asm__ volatile("cpuid" : "=a"(*a), "=b"(*b), "=c"(*c), "=d"(*d) : "a"(leaf), "c"(0));
}

static inline u64 read_cr2(void)
{
    u64 v;
    __asm__ volatile("movq %%cr2, %0" : "=r"(v));
    return v;
}

static inline u16 read_cs(void)
{
    u16 v;
    __asm__ volatile("movw %%cs, %0" : "=r"(v));
    return v;
}

static inline u64 read_rflags(void)
{
    u64 v;
    __asm__ volatile("pushfq; popq %0" : "=r"(v) : : "memory");
    return v;
}
