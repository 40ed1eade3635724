#include "clock.h"

#include "cpu.h"
#include "pit.h"

static u64 tsc_khz;

void clock_init(void)
{
    const u32 window = PIT_HZ / 100; // 10 ms

    if (tsc_khz)
        return;
    pit_free_run();
    u16 start = pit_count();
    u64 t0 = rdtsc();
    u32 elapsed = 0;
    // Bounded: a machine with no PIT reads the same count for ever.
    for (u32 i = 0; i < 1000000 && elapsed < window; i++)
        elapsed = (u16)(start - pit_count());
    u64 cycles = rdtsc() - t0;
    pit_stop();
    tsc_khz = elapsed >= window ? cycles * PIT_HZ / elapsed / 1000 : 2000000;
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
