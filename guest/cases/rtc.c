// The clock and its memory, read by polling.
#include "clock.h"
#include "printf.h"
#include "report.h"
#include "rtc.h"

#define FREE_CELL 0x40 // no firmware of ours keeps anything there

static unsigned number(u8 cell)
{
    u8 v = cmos_read(cell);
    return cmos_read(RTC_B) & RTC_B_DM ? v : (v >> 4) * 10 + (v & 15);
}

static bool wait_for_second(unsigned old)
{
    u64 deadline = deadline_ms(2500);
    while (number(RTC_SECONDS) == old && !deadline_passed(deadline))
        ;
    return number(RTC_SECONDS) != old;
}

int main(void)
{
    clock_init();

    // The time may be read for 244 us after UIP is seen clear (datasheet, update cycle).
    u64 deadline = deadline_ms(100);
    bool busy = true;
    while (busy && !deadline_passed(deadline))
        busy = cmos_read(RTC_A) & RTC_A_UIP;

    unsigned s = number(RTC_SECONDS), m = number(RTC_MINUTES), h = number(RTC_HOURS);
    unsigned day = number(RTC_DAY), month = number(RTC_MONTH);
    unsigned year = number(RTC_CENTURY) * 100 + number(RTC_YEAR), weekday = number(RTC_WEEKDAY);
    report(!busy, "rtc_uip", "an update ends");
    printf("rtc says %04u-%02u-%02u %02u:%02u:%02u\n", year, month, day, h, m, s);
    report(s < 60 && m < 60 && h < 24, "rtc_time", "hours, minutes and seconds are in range");
    report(day >= 1 && day <= 31 && month >= 1 && month <= 12 && year >= 2024 && year < 2100, "rtc_date",
           "day, month and year are in range");
    report(weekday >= 1 && weekday <= 7, "rtc_weekday", "the day of the week is 1 to 7");
    report((cmos_read(RTC_A) & 0x7f) == (RTC_A_BASE | 6), "rtc_a", "32 kHz base, rate 6 as firmware leaves it");
    report((cmos_read(RTC_B) & ~RTC_B_DM) == RTC_B_24H, "rtc_b", "24-hour mode, no interrupts");
    report(cmos_read(RTC_D) == RTC_D_VRT, "rtc_d", "battery good");

    u8 old = cmos_read(FREE_CELL);
    cmos_write(FREE_CELL, 0xa5);
    bool ok = cmos_read(FREE_CELL) == 0xa5;
    cmos_write(FREE_CELL, 0x5a);
    ok &= cmos_read(FREE_CELL) == 0x5a;
    cmos_write(FREE_CELL, old);
    report(ok, "rtc_cmos", "a free cell keeps what is written");
    cmos_write(RTC_D, 0);
    report(cmos_read(RTC_D) == RTC_D_VRT, "rtc_d_ro", "register D is read-only");

    report(wait_for_second(s), "rtc_runs", "the second changes");
    return report_summary();
}
