// The MC146818 real-time clock and its CMOS memory (Motorola MC146818A datasheet), ports 0x70/0x71, IRQ 8.
#pragma once
#include "io.h"

#define CMOS_INDEX 0x70
#define CMOS_DATA  0x71
#define RTC_IRQ    8

#define RTC_SECONDS 0x00
#define RTC_MINUTES 0x02
#define RTC_HOURS   0x04
#define RTC_WEEKDAY 0x06
#define RTC_DAY     0x07
#define RTC_MONTH   0x08
#define RTC_YEAR    0x09
#define RTC_A       0x0a
#define RTC_B       0x0b
#define RTC_C       0x0c
#define RTC_D       0x0d
#define RTC_CENTURY 0x32 // not the chip's: the cell that ACPI's FADT names on a PC

#define RTC_A_UIP   0x80 // update in progress
#define RTC_A_BASE  0x20 // 32.768 kHz crystal
#define RTC_B_24H   0x02
#define RTC_B_DM    0x04 // binary, else BCD
#define RTC_B_UIE   0x10 // update-ended interrupt
#define RTC_B_PIE   0x40 // periodic interrupt
#define RTC_C_UF    0x10
#define RTC_C_PF    0x40
#define RTC_C_IRQF  0x80
#define RTC_D_VRT   0x80 // valid RAM and time

static inline u8 cmos_read(u8 cell)
{
    outb(CMOS_INDEX, cell);
    return inb(CMOS_DATA);
}

static inline void cmos_write(u8 cell, u8 value)
{
    outb(CMOS_INDEX, cell);
    outb(CMOS_DATA, value);
}
