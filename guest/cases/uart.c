// The 16550A: registers, loopback, FIFOs, the divisor latch, interrupts and their priorities.
// Each check runs with the port in a state of its own; quiet() puts it back before anything is printed.
#include "clock.h"
#include "cpu.h"
#include "interrupts.h"
#include "io.h"
#include "pic.h"
#include "report.h"
#include "uart.h"

static volatile u32 irqs;
static volatile u8 first_iir;

static u8 get(u8 reg) { return inb(COM1 + reg); }
static void put(u8 reg, u8 value) { outb(COM1 + reg, value); }

static void drain(void)
{
    // Leaves what a transmitter may still have and what the last check left unread.
    while (!(get(UART_LSR) & LSR_TEMT))
        ;
    put(UART_FCR, FCR_ENABLE | FCR_CLEAR_RX | FCR_CLEAR_TX);
    put(UART_FCR, 0);
    while (get(UART_LSR) & LSR_DR)
        get(UART_RBR);
}

static void loopback(void)
{
    drain();
    put(UART_MCR, MCR_LOOP | MCR_OUT2);
}

static void quiet(void)
{
    put(UART_IER, 0);
    drain();
    uart_init();
}

static void scratch(void)
{
    bool ok = true;
    for (unsigned v = 0; v < 256; v += 0x55) {
        put(UART_SCR, v);
        ok &= get(UART_SCR) == v;
    }
    report(ok, "uart_scratch", "keeps what is written");
}

static void divisor(void)
{
    put(UART_IER, 0);
    put(UART_LCR, LCR_DLAB | LCR_8N1);
    put(UART_DLL, 0x34);
    put(UART_DLM, 0x12);
    bool ok = get(UART_DLL) == 0x34 && get(UART_DLM) == 0x12;
    put(UART_LCR, LCR_8N1);
    bool hidden = get(UART_IER) == 0;
    put(UART_LCR, LCR_DLAB | LCR_8N1);
    ok &= get(UART_DLL) == 0x34 && get(UART_DLM) == 0x12;
    quiet();
    report(ok, "uart_divisor", "the latch reads back 0x1234 behind DLAB");
    report(hidden, "uart_dlab", "IER is another register");
}

static void loops_back(void)
{
    loopback();
    bool empty = (get(UART_LSR) & (LSR_DR | LSR_THRE | LSR_TEMT)) == (LSR_THRE | LSR_TEMT);
    put(UART_THR, 0xa5);
    u64 deadline = deadline_ms(100);
    while (!(get(UART_LSR) & LSR_DR) && !deadline_passed(deadline))
        ;
    bool ready = get(UART_LSR) & LSR_DR;
    u8 back = get(UART_RBR);
    bool taken = !(get(UART_LSR) & LSR_DR);
    quiet();
    report(empty, "uart_idle", "transmitter empty, no data");
    report(ready && back == 0xa5 && taken, "uart_loopback", "a byte sent is received, and read once");
}

static void overrun(void)
{
    loopback();
    put(UART_THR, 1);
    put(UART_THR, 2);
    u8 lsr = get(UART_LSR), again = get(UART_LSR), last = get(UART_RBR);
    quiet();
    report((lsr & LSR_OE) && !(again & LSR_OE) && last == 2, "uart_overrun",
           "the second byte replaces the first, OE is set until LSR is read");
}

static void fifo(void)
{
    loopback();
    u8 off = get(UART_IIR) & IIR_FIFO;
    put(UART_FCR, FCR_ENABLE | FCR_CLEAR_RX | FCR_CLEAR_TX);
    u8 on = get(UART_IIR) & IIR_FIFO;
    for (u8 i = 0; i < 16; i++)
        put(UART_THR, 0x30 + i);
    bool order = true;
    for (u8 i = 0; i < 16; i++) {
        order &= (get(UART_LSR) & LSR_DR) != 0;
        order &= get(UART_RBR) == 0x30 + i;
    }
    bool empty = !(get(UART_LSR) & LSR_DR);
    put(UART_THR, 1);
    put(UART_FCR, FCR_ENABLE | FCR_CLEAR_RX);
    bool cleared = !(get(UART_LSR) & LSR_DR);
    put(UART_FCR, 0);
    u8 off_again = get(UART_IIR) & IIR_FIFO;
    quiet();
    report(off == 0 && on == IIR_FIFO && off_again == 0, "uart_fifo_id", "IIR 7:6 say whether the FIFOs are on");
    report(order && empty, "uart_fifo", "sixteen bytes come back in order");
    report(cleared, "uart_fifo_clear", "FCR empties the receiver");
}

static void modem_lines(void)
{
    static const struct { u8 mcr, msr; } pairs[] = {
        {MCR_DTR, MSR_DSR}, {MCR_RTS, MSR_CTS}, {MCR_OUT1, MSR_RI}, {MCR_OUT2, MSR_DCD},
    };
    bool ok = true;
    for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
        put(UART_MCR, MCR_LOOP | pairs[i].mcr);
        ok &= (get(UART_MSR) & 0xf0) == pairs[i].msr;
    }
    quiet();
    report(ok, "uart_modem_loop", "DTR RTS OUT1 OUT2 drive DSR CTS RI DCD");
}

static void priorities(void)
{
    loopback();
    u8 none = get(UART_IIR) & IIR_ID;
    put(UART_THR, 1);
    put(UART_THR, 2); // overrun
    put(UART_IER, IER_RLS | IER_RDA | IER_THRE);
    u8 first = get(UART_IIR) & IIR_ID;
    get(UART_LSR);
    u8 second = get(UART_IIR) & IIR_ID;
    get(UART_RBR);
    u8 third = get(UART_IIR) & IIR_ID; // reading IIR when THRE is the source clears it
    u8 fourth = get(UART_IIR) & IIR_ID;
    quiet();
    report(none == IIR_NONE, "uart_iir_none", "nothing pending with IER clear");
    report(first == IIR_RLS && second == IIR_RDA && third == IIR_THRE && fourth == IIR_NONE, "uart_priority",
           "line status, then data, then transmitter, then none");
}

static void trigger_level(void)
{
    loopback();
    put(UART_FCR, FCR_ENABLE | FCR_CLEAR_RX | FCR_CLEAR_TX | FCR_TRIG_14);
    put(UART_IER, IER_RDA);
    put(UART_THR, 'x');
    u64 deadline = deadline_ms(200);
    u8 timeout = IIR_NONE;
    while (timeout == IIR_NONE && !deadline_passed(deadline))
        timeout = get(UART_IIR) & IIR_ID;
    for (int i = 1; i < 14; i++)
        put(UART_THR, 'x');
    u8 full = get(UART_IIR) & IIR_ID;
    for (int i = 0; i < 14; i++)
        get(UART_RBR);
    u8 drained = get(UART_IIR) & IIR_ID;
    quiet();
    report(timeout == IIR_CTI, "uart_timeout", "a lone byte below the trigger level times out");
    report((full == IIR_RDA || full == IIR_CTI) && drained == IIR_NONE, "uart_trigger", "14 bytes raise RDA, reading them ends it");
}

static void on_irq(struct frame *frame)
{
    (void)frame;
    u8 iir = get(UART_IIR) & IIR_ID;
    if (!irqs++)
        first_iir = iir;
    if (iir == IIR_RDA)
        get(UART_RBR);
    pic_eoi(COM1_IRQ);
}

static void interrupts(void)
{
    pic_init();
    interrupt_set(PIC_VECTOR + COM1_IRQ, on_irq);
    pic_unmask(COM1_IRQ);

    irqs = 0;
    drain();
    put(UART_IER, IER_THRE);
    bool thre = wait_count(&irqs, 1, 200) && first_iir == IIR_THRE;
    quiet();
    report(thre, "uart_irq_thre", "an empty transmitter raises IRQ 4 when it is enabled");

    irqs = 0;
    loopback();
    put(UART_IER, IER_RDA);
    bool early = wait_count(&irqs, 1, 5);
    put(UART_THR, 'y');
    bool rda = wait_count(&irqs, 1, 200) && first_iir == IIR_RDA;
    quiet();
    pic_mask_all();
    report(!early && rda, "uart_irq_rda", "a received byte raises IRQ 4");
}

int main(void)
{
    clock_init();
    scratch();
    divisor();
    loops_back();
    overrun();
    fifo();
    modem_lines();
    priorities();
    trigger_level();
    interrupts();
    return report_summary();
}
