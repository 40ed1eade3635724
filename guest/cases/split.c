// Accesses wider than a device, or than anything that is there.
#include "io.h"
#include "report.h"
#include "rtc.h"
#include "uart.h"

#define NOBODY 0x5100 // a port that no device claims

int main(void)
{
    report(inb(NOBODY) == 0xff && inw(NOBODY) == 0xffff && inl(NOBODY) == 0xffffffff, "unclaimed_read",
           "an unclaimed port reads all ones in every width");
    outb(NOBODY, 0);
    outw(NOBODY, 0);
    outl(NOBODY, 0);
    report(inl(NOBODY) == 0xffffffff, "unclaimed_write", "writes there are swallowed");

    outb(COM1 + UART_SCR, 0x5a);
    u16 msr_scr = inw(COM1 + UART_MSR);
    report(msr_scr >> 8 == 0x5a, "read16", "a 16-bit read gives two neighbouring registers");
    u32 high = inl(COM1 + UART_MCR);
    report((high & 0xff) == (MCR_DTR | MCR_RTS | MCR_OUT2) && (high >> 8 & 0xff) == (LSR_THRE | LSR_TEMT) &&
               high >> 24 == 0x5a,
           "read32", "a 32-bit read gives MCR, LSR, MSR, SCR");

    outb(COM1 + UART_LCR, LCR_DLAB | LCR_8N1);
    outw(COM1 + UART_DLL, 0x1234);
    bool latch = inb(COM1 + UART_DLL) == 0x34 && inb(COM1 + UART_DLM) == 0x12 && inw(COM1 + UART_DLL) == 0x1234;
    uart_init();
    report(latch, "write16", "a 16-bit write sets both halves of the divisor latch");

    outw(COM1 + UART_SCR, 0x77a5); // the scratch register is the last port of the device
    report(inb(COM1 + UART_SCR) == 0xa5, "border_write", "a write across the end of a device reaches the device");
    report(inw(COM1 + UART_SCR) == 0xffa5, "border_read", "a read across the end has ones in the other half");

    outw(CMOS_INDEX, 0x40 | 0x6b00);
    report(cmos_read(0x40) == 0x6b, "cmos16", "index and data in one 16-bit write, lower port first");
    return report_summary();
}
