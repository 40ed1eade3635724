// Timer interrupts through the PIC.
#include "clock.h"
#include "cpu.h"
#include "interrupts.h"
#include "pic.h"
#include "pit.h"
#include "report.h"

static volatile u32 ticks;

static void on_tick(struct frame *frame)
{
    (void)frame;
    ticks++;
    pic_eoi(PIT_IRQ);
}

int main(void)
{
    clock_init();
    pic_init();
    interrupt_set(PIC_VECTOR + PIT_IRQ, on_tick);

    pit_start(1000);
    u16 a = pit_count();
    bool moves = false;
    for (int i = 0; i < 1000 && !moves; i++)
        moves = pit_count() != a;
    report(moves, "pit_counts", "the latched count moves");

    // Something is pending by now; masked, it must not arrive.
    u64 deadline = deadline_ms(10);
    irq_enable();
    while (!deadline_passed(deadline))
        cpu_pause();
    irq_disable();
    report(ticks == 0, "pic_mask", "a masked line stays away");

    pit_start(100);
    ticks = 0;
    pic_unmask(PIT_IRQ);
    u64 start = rdtsc();
    bool came = wait_count(&ticks, 10, 3000);
    u64 ms = (rdtsc() - start) / clock_tsc_khz();
    report(came, "pit_irq", "ten interrupts at 100 Hz");
    report(ms >= 70, "pit_rate", "not faster than asked for");

    ticks = 0;
    while (ticks < 3)
        irq_wait();
    report(true, "pit_hlt", "a timer interrupt ends HLT");

    pit_stop();
    pic_mask_all();
    ticks = 0;
    report(!wait_count(&ticks, 1, 30), "pit_stop", "none after it is stopped");
    return report_summary();
}
