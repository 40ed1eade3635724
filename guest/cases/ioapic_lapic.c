// Interrupts without the PIC: device to I/O APIC to local APIC, and the local timer.
#include "clock.h"
#include "cpu.h"
#include "interrupts.h"
#include "io.h"
#include "ioapic.h"
#include "lapic.h"
#include "pic.h"
#include "pit.h"
#include "report.h"
#include "uart.h"

enum { V_PIT = 0x40, V_UART, V_TIMER };

static volatile u32 pit, serial, timer;

static void on_pit(struct frame *f)
{
    (void)f;
    pit++;
    lapic_eoi();
}

static void on_uart(struct frame *f)
{
    (void)f;
    inb(COM1 + UART_IIR); // clears THRE
    serial++;
    lapic_eoi();
}

static void on_timer(struct frame *f)
{
    (void)f;
    timer++;
    lapic_eoi();
}

int main(void)
{
    clock_init();
    pic_init(); // remapped and all masked: nothing may come that way
    lapic_init();
    interrupt_set(V_PIT, on_pit);
    interrupt_set(V_UART, on_uart);
    interrupt_set(V_TIMER, on_timer);

    report(lapic_version() >= 0x10 && lapic_version() < 0x20, "lapic_version", "an integrated local APIC");
    report(ioapic_pins() == 24, "ioapic_pins", "24 pins");

    // IRQ 0 is on pin 2 of a PC's I/O APIC, and on pin 0 where nobody rerouted it.
    ioapic_route(0, V_PIT, lapic_id());
    ioapic_route(2, V_PIT, lapic_id());
    pit_start(100);
    bool came = wait_count(&pit, 5, 2000);
    pit_stop();
    ioapic_mask(0);
    ioapic_mask(2);
    report(came, "ioapic_pit", "five PIT interrupts");

    ioapic_route(COM1_IRQ, V_UART, lapic_id());
    outb(COM1 + UART_IER, IER_THRE);
    came = wait_count(&serial, 1, 500);
    outb(COM1 + UART_IER, 0);
    ioapic_mask(COM1_IRQ);
    report(came, "ioapic_serial", "a serial interrupt on pin 4");

    lapic_timer_start(V_TIMER, 100000, false);
    came = wait_count(&timer, 1, 1000);
    bool again = wait_count(&timer, 2, 50);
    report(came && !again, "lapic_oneshot", "the local timer fires once");

    timer = 0;
    lapic_timer_start(V_TIMER, 1000000, true);
    u32 count = lapic_timer_count();
    came = wait_count(&timer, 5, 3000);
    lapic_timer_stop();
    report(count > 0 && count <= 1000000, "lapic_count", "the count runs down from where it was set");
    report(came, "lapic_periodic", "five periodic interrupts");
    timer = 0;
    report(!wait_count(&timer, 1, 30), "lapic_stop", "none after it is stopped");
    return report_summary();
}
