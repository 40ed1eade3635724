#include "uart.h"

#include "interrupts.h"
#include "io.h"
#include "pic.h"

// A power of two: head and tail run free and wrap by masking.
static volatile u8 rx[256];
static volatile u32 rx_head, rx_tail;
static bool rx_by_irq;

void uart_init(void)
{
    outb(COM1 + UART_IER, 0);
    outb(COM1 + UART_LCR, LCR_DLAB | LCR_8N1);
    outb(COM1 + UART_DLL, 1); // 1.8432 MHz / (16 * 1)
    outb(COM1 + UART_DLM, 0);
    outb(COM1 + UART_LCR, LCR_8N1);
    // FIFOs stay off: turning them on empties them, and with them the input that was piped in
    // before we got here.
    outb(COM1 + UART_FCR, 0);
    outb(COM1 + UART_MCR, MCR_DTR | MCR_RTS | MCR_OUT2);
}

void uart_putc(char c)
{
    while (!(inb(COM1 + UART_LSR) & LSR_THRE))
        ;
    outb(COM1 + UART_THR, c);
}

int uart_getc(void)
{
    if (!rx_by_irq)
        return inb(COM1 + UART_LSR) & LSR_DR ? inb(COM1 + UART_RBR) : -1;
    if (rx_head == rx_tail)
        return -1;
    return rx[rx_tail++ % sizeof(rx)];
}

static void on_irq(struct frame *frame)
{
    (void)frame;
    while (inb(COM1 + UART_LSR) & LSR_DR) {
        u8 c = inb(COM1 + UART_RBR);
        if (rx_head - rx_tail < sizeof(rx))
            rx[rx_head++ % sizeof(rx)] = c;
    }
    pic_eoi(COM1_IRQ);
}

void uart_enable_rx_irq(void)
{
    rx_by_irq = true;
    interrupt_set(PIC_VECTOR + COM1_IRQ, on_irq);
    pic_unmask(COM1_IRQ);
    outb(COM1 + UART_IER, IER_RDA);
}
