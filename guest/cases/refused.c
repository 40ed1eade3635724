// Instructions in ring 0 that a KVM in software refuses: the monitor finishes them there.
#include "cpu.h"
#include "interrupts.h"
#include "report.h"

static volatile u64 trapped_vector, trapped_rip, trapped_cr2;

static void trapped(struct frame *frame)
{
    trapped_vector = frame->vector;
    trapped_rip = frame->rip;
}

// A fault's RIP is on its instruction: step over it, the five bytes of popcnt (%rbx), %rax.
static void faulted(struct frame *frame)
{
    trapped(frame);
    __asm__ volatile("mov %%cr2, %0" : "=r"(trapped_cr2));
    frame->rip += 5;
}

static u64 popcnt(u64 value)
{
    u64 count;
    __asm__ volatile("popcnt %1, %0" : "=r"(count) : "r"(value) : "cc");
    return count;
}

static bool cmpxchg16b(u64 *at, u64 expected, u64 desired)
{
    bool same;
    u64 high = 0;
    __asm__ volatile("lock cmpxchg16b %1"
                     : "=@ccz"(same), "+m"(*(u64(*)[2])at), "+a"(expected), "+d"(high)
                     : "b"(desired), "c"((u64)1)
                     : "memory");
    return same;
}

int main(void)
{
    u64 after;

    interrupt_set(3, trapped);
    __asm__ volatile("int3; 1: lea 1b(%%rip), %0" : "=r"(after));
    report(trapped_vector == 3 && trapped_rip == after, "int3", "is #BP, RIP past it");

    interrupt_set(0x77, trapped);
    __asm__ volatile("int $0x77; 1: lea 1b(%%rip), %0" : "=r"(after));
    report(trapped_vector == 0x77 && trapped_rip == after, "int_n", "takes the vector, RIP past it");

    report(popcnt(0xf0f0f0f0f0f0f0f0) == 32 && popcnt(0) == 0, "popcnt", "counts");

    static u64 cell[2] __attribute__((aligned(16))) = {7, 0};
    bool first = cmpxchg16b(cell, 7, 9), second = cmpxchg16b(cell, 7, 11);
    report(first && !second && cell[0] == 9 && cell[1] == 1, "cmpxchg16b", "exchanges when equal");

    // Without OSFXSR what follows is #UD (SDM vol. 3, 2.5).
    u64 cr4;
    __asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
    __asm__ volatile("mov %0, %%cr4" ::"r"(cr4 | 1 << 9)); // OSFXSR

    u32 mxcsr = 0x1fc0, read = 0;
    __asm__ volatile("ldmxcsr %1; stmxcsr %0" : "=m"(read) : "m"(mxcsr));
    report(read == mxcsr, "mxcsr", "loads and stores");

    __asm__ volatile("wait");
    report(true, "wait", "waits for nothing");

    // The low 4 GiB are mapped, this is beyond.
    interrupt_set(VECTOR_PF, faulted);
    u64 nowhere = 1ull << 40, ignored;
    __asm__ volatile("popcnt (%%rbx), %0" : "=a"(ignored) : "b"(nowhere) : "cc");
    report(trapped_vector == VECTOR_PF && trapped_cr2 == nowhere, "fault", "a page fault at its address");

    static const float one[4] __attribute__((aligned(16))) = {1, 1, 1, 1};
    static float sum[4] __attribute__((aligned(16)));
    __asm__ volatile("movaps %1, %%xmm0; addps %%xmm0, %%xmm0; movaps %%xmm0, %0"
                     : "=m"(sum) : "m"(one));
    const u32 *bits = (const u32 *)sum;
    report(bits[0] == 0x40000000 && bits[3] == 0x40000000, "addps", "1 + 1 = 2");
    return report_summary();
}
