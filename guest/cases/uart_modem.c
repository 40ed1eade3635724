// Modem status changes: the delta bits and their interrupt, driven through loopback. (QEMU's model
// shows the lines in loopback but no changes, so this one is not compared with it.)
#include "io.h"
#include "report.h"
#include "uart.h"

static u8 get(u8 reg) { return inb(COM1 + reg); }
static void put(u8 reg, u8 value) { outb(COM1 + reg, value); }

int main(void)
{
    put(UART_MCR, MCR_LOOP);
    get(UART_MSR); // reading clears the deltas
    u8 still = get(UART_MSR) & 0x0f;
    put(UART_IER, IER_MS);
    put(UART_MCR, MCR_LOOP | MCR_RTS | MCR_DTR | MCR_OUT2);
    u8 source = get(UART_IIR) & IIR_ID;
    u8 rise = get(UART_MSR) & 0x0f;
    u8 after = get(UART_IIR) & IIR_ID;
    put(UART_MCR, MCR_LOOP | MCR_OUT1);
    u8 ring_on = get(UART_MSR) & MSR_TERI;
    put(UART_MCR, MCR_LOOP);
    u8 ring_off = get(UART_MSR) & MSR_TERI;
    put(UART_IER, 0);
    uart_init();

    report(still == 0, "uart_msr_still", "reading MSR clears the change bits");
    report(source == IIR_MS && after == IIR_NONE, "uart_msr_irq", "a change interrupts until MSR is read");
    report(rise == (MSR_DCTS | MSR_DDSR | MSR_DDCD), "uart_msr_delta", "DCTS DDSR DDCD follow RTS DTR OUT2");
    report(!ring_on && ring_off, "uart_msr_teri", "TERI marks only the end of a ring");
    return report_summary();
}
