// The first serial port: a 16550A at 0x3f8, IRQ 4 (National Semiconductor PC16550D datasheet).
#pragma once
#include "types.h"

#define COM1     0x3f8
#define COM1_IRQ 4

// Register offsets; DLL and DLM take the place of the first two while LCR.DLAB is set.
#define UART_RBR 0 // receive buffer (read)
#define UART_THR 0 // transmit holding (write)
#define UART_IER 1 // interrupt enable
#define UART_IIR 2 // interrupt identification (read)
#define UART_FCR 2 // FIFO control (write)
#define UART_LCR 3 // line control
#define UART_MCR 4 // modem control
#define UART_LSR 5 // line status
#define UART_MSR 6 // modem status
#define UART_SCR 7 // scratch
#define UART_DLL 0 // divisor latch, low
#define UART_DLM 1 // divisor latch, high

#define IER_RDA  0x01 // received data available
#define IER_THRE 0x02 // transmit holding register empty
#define IER_RLS  0x04 // receiver line status
#define IER_MS   0x08 // modem status

// IIR bits 3:0, by falling priority.
#define IIR_ID   0x0f
#define IIR_RLS  0x06
#define IIR_RDA  0x04
#define IIR_CTI  0x0c // character timeout, same priority as RDA
#define IIR_THRE 0x02
#define IIR_MS   0x00
#define IIR_NONE 0x01
#define IIR_FIFO 0xc0 // both set: FIFOs on

#define FCR_ENABLE   0x01
#define FCR_CLEAR_RX 0x02
#define FCR_CLEAR_TX 0x04
#define FCR_TRIG_1   0x00
#define FCR_TRIG_14  0xc0

#define LCR_8N1  0x03
#define LCR_DLAB 0x80

#define MCR_DTR  0x01
#define MCR_RTS  0x02
#define MCR_OUT1 0x04
#define MCR_OUT2 0x08 // on a PC this pin connects the interrupt to the bus
#define MCR_LOOP 0x10

#define LSR_DR   0x01 // data ready
#define LSR_OE   0x02 // overrun
#define LSR_THRE 0x20
#define LSR_TEMT 0x40

#define MSR_DCTS 0x01
#define MSR_DDSR 0x02
#define MSR_TERI 0x04
#define MSR_DDCD 0x08
#define MSR_CTS  0x10
#define MSR_DSR  0x20
#define MSR_RI   0x40
#define MSR_DCD  0x80

// 115200 8N1, FIFOs off, interrupts off, not in loopback.
void uart_init(void);

void uart_putc(char c);

// The next character, or -1 if there is none: from the buffer that the interrupt handler fills
// after uart_enable_rx_irq(), else from the port.
int uart_getc(void);

// Receives by IRQ 4 through the PIC (which the caller has set up and left interrupts off).
void uart_enable_rx_irq(void);
