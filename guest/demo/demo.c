// What a new user sees first: who and where we are, a timer that ticks, a serial line that answers,
// and a clean end.
#include "bootinfo.h"
#include "clock.h"
#include "cmdline.h"
#include "cpu.h"
#include "exit.h"
#include "interrupts.h"
#include "pic.h"
#include "pit.h"
#include "printf.h"
#include "uart.h"

#define HZ    100
#define QUIET (2 * HZ) // ticks without input after which we stop waiting
#define EOT   0x04

static volatile u32 ticks;

static void on_tick(struct frame *frame)
{
    (void)frame;
    ticks++;
    pic_eoi(PIT_IRQ);
}

static void greet(void)
{
    union {
        u32 reg[4];
        char text[17];
    } vendor = {.text = ""};
    u32 max_leaf;

    // Leaf 0 spells the vendor in EBX, EDX, ECX (SDM vol. 2, CPUID).
    cpuid(0, &max_leaf, &vendor.reg[0], &vendor.reg[2], &vendor.reg[1]);
    printf("\nHello from a bare-metal guest, ring %u, 64-bit.\n", read_cs() & 3u);
    printf("  processor  %u x %s\n", boot_info.cpus, vendor.text);
    printf("  memory     %lu MiB\n", (boot_info.memory_low + boot_info.memory_high) >> 20);
    printf("  loader     %s\n", booted_by_pvh ? "PVH" : "pykvm boot info");
    if (*cmdline())
        printf("  arguments  %s\n", cmdline());
}

// Interrupts are off but during irq_wait(), so a tick cannot slip in between a check and its wait.
static void count_ticks(void)
{
    printf("Ten timer interrupts, a tenth of a second:");
    ticks = 0;
    for (u32 seen = 0; seen < 10; seen++) {
        while (ticks <= seen)
            irq_wait();
        printf(" %u", seen + 1);
    }
    printf("\n");
}

static void echo(void)
{
    char first = 0;
    u32 length = 0;

    printf("Type something, I send it back. \"quit\", \"q\", Ctrl-D or two quiet seconds end this.\n");
    ticks = 0;
    static const char quit[] = "quit";
    u32 matched = 0;
    while (ticks < QUIET) {
        int c = uart_getc();
        if (c < 0) {
            irq_wait();
            continue;
        }
        ticks = 0;
        if (c == EOT)
            break;
        if (c == '\r') // what a terminal's Enter key sends
            c = '\n';
        uart_putc(c);
        if (c == '\n') {
            if ((length == 4 && matched == 4) || (length == 1 && first == 'q'))
                break;
            length = matched = 0;
            continue;
        }
        if (!length)
            first = c;
        if (matched == length && length < 4 && quit[length] == c)
            matched++;
        length++;
    }
}

int main(void)
{
    greet();
    pic_init();
    interrupt_set(PIC_VECTOR + PIT_IRQ, on_tick);
    uart_enable_rx_irq();
    pic_unmask(PIT_IRQ);
    pit_start(HZ);

    count_ticks();
    echo();

    pit_stop();
    pic_mask_all();
    printf("Bye, powering off.\n");
    power_off();
}
