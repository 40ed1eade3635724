// The clock's interrupts on IRQ 8: the first that goes through both PICs.
#include "clock.h"
#include "cpu.h"
#include "interrupts.h"
#include "pic.h"
#include "report.h"
#include "rtc.h"

static volatile u32 periodic, updates, bogus;

static void on_irq(struct frame *frame)
{
    (void)frame;
    u8 c = cmos_read(RTC_C); // reading it takes the line down
    periodic += !!(c & RTC_C_PF);
    updates += !!(c & RTC_C_UF);
    bogus += !(c & RTC_C_IRQF);
    pic_eoi(RTC_IRQ);
}

int main(void)
{
    clock_init();
    pic_init();
    interrupt_set(PIC_VECTOR + RTC_IRQ, on_irq);
    u8 b = cmos_read(RTC_B);
    u8 a = cmos_read(RTC_A);
    cmos_read(RTC_C);
    pic_unmask(RTC_IRQ);

    report(!wait_count(&periodic, 1, 20), "rtc_irq_off", "no interrupt before one is enabled");

    cmos_write(RTC_A, RTC_A_BASE | 10); // 64 a second (datasheet table 5)
    cmos_write(RTC_B, b | RTC_B_PIE);
    u64 start = rdtsc();
    bool came = wait_count(&periodic, 8, 3000);
    u64 ms = (rdtsc() - start) / clock_tsc_khz();
    cmos_write(RTC_B, b);
    report(came, "rtc_irq_periodic", "eight periodic interrupts at 64 Hz");
    report(ms >= 90, "rtc_irq_rate", "not faster than asked for");

    periodic = 0;
    cmos_read(RTC_C);
    bool more = wait_count(&periodic, 1, 50);
    report(!more, "rtc_irq_stops", "none after PIE is cleared");

    cmos_write(RTC_B, b | RTC_B_UIE);
    bool updated = wait_count(&updates, 1, 3000);
    cmos_write(RTC_B, b);
    cmos_write(RTC_A, a);
    pic_mask_all();
    report(updated, "rtc_irq_update", "an update-ended interrupt within a second or so");
    report(bogus == 0, "rtc_irq_flag", "IRQF was set each time");
    return report_summary();
}
