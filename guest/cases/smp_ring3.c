// Every other processor runs in ring 3 on a stack of its own, and is woken by interrupts. `cpus=N` says how
// many there are.
#include "clock.h"
#include "cmdline.h"
#include "cpu.h"
#include "interrupts.h"
#include "lapic.h"
#include "report.h"
#include "ring3.h"
#include "smp.h"

enum { WAKE = 0x40, PATIENCE_MS = 3000, ROUNDS = 50 };

static volatile u32 woken[CPUS];
static volatile u64 answer[CPUS];

static void on_wake(struct frame *frame)
{
    (void)frame;
    for (unsigned cpu = 0; cpu < CPUS; cpu++)
        if (smp_apic(cpu) == lapic_id())
            woken[cpu] = woken[cpu] + 1;
    lapic_eoi();
}

// What is on the stack shall still be there after all the sleep.
static u64 sleep_and_count(u64 cpu)
{
    volatile u64 mine = cpu;
    for (u32 round = 0; round < ROUNDS; round++)
        while (woken[cpu] == round)
            ring3_wait(&woken[cpu], round);
    return (u64)(read_cs() & 3) << 16 | mine << 8 | woken[cpu];
}

static void other(unsigned cpu) { answer[cpu] = ring3_call_on(sleep_and_count, cpu, cpu); }

static unsigned awake(u32 round)
{
    unsigned n = 0;
    for (unsigned cpu = 1; cpu < CPUS; cpu++)
        n += woken[cpu] == round;
    return n;
}

static unsigned answered(void)
{
    unsigned n = 0;
    for (u64 cpu = 1; cpu < CPUS; cpu++)
        n += answer[cpu] == (3 << 16 | cpu << 8 | ROUNDS);
    return n;
}

int main(void)
{
    unsigned cpus = (unsigned)cmdline_u64("cpus", 2), others;
    clock_init();
    interrupt_set(WAKE, on_wake);
    others = smp_start(cpus, other) - 1;
    report(others == cpus - 1, "start", "%u other processors run", others);
    u64 deadline = deadline_ms(PATIENCE_MS);
    for (u32 round = 0; round < ROUNDS; round++) {
        for (unsigned cpu = 1; cpu <= others; cpu++)
            lapic_send(smp_apic(cpu), WAKE);
        while (awake(round + 1) < others && !deadline_passed(deadline))
            cpu_pause();
    }
    while (answered() < others && !deadline_passed(deadline))
        cpu_pause();
    report(answered() == cpus - 1, "ring3", "%u of them slept and woke there", answered());
    return report_summary();
}
