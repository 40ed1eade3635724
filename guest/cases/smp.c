// Wakes the other processors. `cpus=N` says how many there are (a PVH loader does not).
#include "clock.h"
#include "cmdline.h"
#include "lapic.h"
#include "printf.h"
#include "report.h"
#include "string.h"

// Below 1 MiB, since a processor starts in real mode; above what pykvm and firmware use.
#define PAGE 0x90

// Each one that starts counts itself and stops, all in real mode with CS = PAGE << 8.
extern const u8 ap_start[], ap_count[], ap_end[];
__asm__(".pushsection .rodata\n"
        ".code16\n"
        "ap_start:\n"
        "    lock incw %cs:ap_count - ap_start\n"
        "1:  cli\n"
        "    hlt\n"
        "    jmp 1b\n"
        "ap_count:\n"
        "    .word 0\n"
        "ap_end:\n"
        ".code64\n"
        ".popsection");

int main(void)
{
    u64 cpus = cmdline_u64("cpus", 1);
    u8 *code = (u8 *)(PAGE << 12);
    volatile u16 *count = (u16 *)(code + (ap_count - ap_start));

    clock_init();
    lapic_init();
    memcpy(code, ap_start, ap_end - ap_start);
    lapic_start_others(PAGE);
    u64 deadline = deadline_ms(3000);
    while (*count < cpus - 1 && !deadline_passed(deadline))
        ;
    report(*count == cpus - 1, "smp", "%u other processors started", *count);
    return report_summary();
}
