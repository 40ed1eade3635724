#include "smp.h"

#include "clock.h"
#include "cpu.h"
#include "interrupts.h"
#include "lapic.h"
#include "string.h"

// Below 1 MiB, since a processor starts in real mode; above what pykvm and firmware use.
enum { PAGE = 0x90, PATIENCE_MS = 3000 };

extern const u8 ap_start[], ap_end[]; // smp_asm.S
void smp_enter(unsigned cpu);

static void (*work)(unsigned cpu);
static volatile u32 apic[CPUS];
static volatile bool runs[CPUS];

void smp_enter(unsigned cpu)
{
    cpu_init(cpu);
    interrupts_load();
    lapic_init();
    apic[cpu] = lapic_id();
    runs[cpu] = true;
    work(cpu);
}

u32 smp_apic(unsigned cpu) { return apic[cpu]; }

static unsigned running(void)
{
    unsigned n = 0;
    for (unsigned cpu = 0; cpu < CPUS; cpu++)
        n += runs[cpu];
    return n;
}

unsigned smp_start(unsigned cpus, void (*fn)(unsigned cpu))
{
    work = fn;
    lapic_init();
    apic[0] = lapic_id();
    runs[0] = true;
    memcpy((u8 *)(PAGE << 12), ap_start, (size_t)(ap_end - ap_start));
    lapic_start_others(PAGE);
    u64 deadline = deadline_ms(PATIENCE_MS);
    while (running() < cpus && !deadline_passed(deadline))
        ;
    return running();
}
