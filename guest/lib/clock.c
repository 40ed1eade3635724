#include "clock.h"

#include "cpu.h"
#include "pit.h"

static u64 tsc_khz;

#define WINDOW  (PIT_HZ / 250) // 4 ms
#define NOMINAL 2000000u       // without a PIT: better a wrong limit than none

static u64 measure(void)
{
    u16 start = pit_count();
    u64 t0 = rdtsc();
    u32 elapsed = 0;

    // Bounded: a machine with no PIT reads the same count for ever.
    for (u32 i = 0; i < 100000 && elapsed < WINDOW; i++)
        elapsed = (u16)(start - pit_count());
    u64 cycles = rdtsc() - t0;
    return elapsed >= WINDOW ? cycles * PIT_HZ / elapsed / 1000 : NOMINAL;
}

void clock_init(void)
{
    if (tsc_khz)
        return;
    pit_free_run();
    // The host may take the processor away between the two readings of a pair. The middle one of
    // three has not suffered that, or all of them are off by little.
    u64 a = measure(), b = measure(), c = measure();
    pit_stop();
    u64 low = a < b ? a : b, high = a < b ? b : a;
    tsc_khz = c < low ? low : c > high ? high : c;
}

u64 clock_tsc_khz(void)
{
    clock_init();
    return tsc_khz;
}

u64 deadline_ms(u32 ms)
{
    return rdtsc() + clock_tsc_khz() * ms;
}

bool deadline_passed(u64 deadline)
{
    return (long)(rdtsc() - deadline) >= 0;
}

bool wait_count(volatile u32 *counter, u32 value, u32 ms)
{
    u64 deadline = deadline_ms(ms);

    irq_enable();
    while (*counter < value && !deadline_passed(deadline))
        cpu_pause();
    irq_disable();
    return *counter >= value;
}
