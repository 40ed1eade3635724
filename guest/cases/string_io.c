// REP OUTS and REP INS: one instruction, many accesses.
#include "io.h"
#include "report.h"
#include "rtc.h"
#include "string.h"
#include "uart.h"

static char line[1201];
static u8 page[2 * 4096] __attribute__((aligned(4096)));

int main(void)
{
    static const char text[] = "rep outsb prints this\n";
    size_t n = sizeof(text) - 1;

    bool end = outs8(COM1, text, n) == text + n;
    report(end, "outs_pointer", "RSI ends after the text");

    for (size_t i = 0; i < 1200; i++)
        line[i] = 'a' + i % 26;
    line[1200] = '\n';
    outs8(COM1, line, sizeof(line));

    // Backwards, from the last byte on: the text is stored in reverse.
    static const char reverse[] = "*\nsdrawkcab";
    const void *p = reverse + sizeof(reverse) - 2;
    size_t count = sizeof(reverse) - 2; // not the star
    __asm__ volatile("std; rep outsb; cld" : "+S"(p), "+c"(count) : "d"(COM1) : "memory");
    report(p == reverse && count == 0, "outs_down", "with DF set it goes down");

    outs8(COM1, text, 0);
    report(true, "outs_none", "a count of zero does nothing");

    outb(COM1 + UART_SCR, 0x5a);
    memset(page, 0, sizeof(page));
    u8 *from = page + 4096 - 100;
    end = ins8(COM1 + UART_SCR, from, 200) == from + 200;
    bool all = true;
    for (int i = 0; i < 200; i++)
        all &= from[i] == 0x5a;
    report(end && all && from[-1] == 0 && from[200] == 0, "ins_page", "200 bytes across a page, and none around them");

    cmos_write(0x40, 0xc3);
    outb(CMOS_INDEX, 0x40);
    u8 cells[8] = {0};
    ins8(CMOS_DATA, cells, 7);
    all = true;
    for (int i = 0; i < 7; i++)
        all &= cells[i] == 0xc3;
    report(all && cells[7] == 0, "ins_cmos", "seven reads of one CMOS cell");

    u32 words[4] = {0};
    void *to = words;
    count = 3;
    __asm__ volatile("rep insl" : "+D"(to), "+c"(count) : "d"(0x5100) : "memory");
    report(words[0] == ~0u && words[2] == ~0u && words[3] == 0, "ins_wide", "32-bit reads of an unclaimed port");
    return report_summary();
}
