// Ring 3: code, ports, exceptions and interrupts there.
#include "clock.h"
#include "cpu.h"
#include "interrupts.h"
#include "io.h"
#include "pic.h"
#include "pit.h"
#include "report.h"
#include "ring3.h"
#include "uart.h"

static volatile u32 ticks, ticks_in_ring3;
static volatile u64 fault_cs, fault_rip;

static u64 current_level(u64 arg) { return (read_cs() & 3) + arg; }

static u64 use_scratch(u64 value)
{
    outb(COM1 + UART_SCR, value);
    return inb(COM1 + UART_SCR);
}

static u64 denied_port(u64 arg)
{
    // Two bytes long, so that the handler steps over all of it.
    __asm__ volatile("outb %%al, %%dx; nop" : : "a"(0), "d"(COM1 + UART_SCR));
    return arg + 1;
}

static u64 say(u64 text)
{
    for (const char *p = (const char *)text; *p; p++)
        uart_putc(*p);
    return 0;
}

static u64 do_ud2(u64 arg)
{
    __asm__ volatile("ud2");
    return arg + 1;
}

static u64 do_cli(u64 arg)
{
    __asm__ volatile("cli; nop");
    return arg + 1;
}

static u64 do_load(u64 address)
{
    u64 v = 0;
    // Two bytes long, as the others.
    __asm__ volatile("movl (%1), %k0" : "+c"(v) : "b"(address));
    return v;
}

static u64 spin_for_ticks(u64 n)
{
    u64 deadline = rdtsc() + clock_tsc_khz() * 3000;
    while (ticks_in_ring3 < n && (long)(rdtsc() - deadline) < 0)
        ;
    return ticks_in_ring3;
}

static void skip_two_bytes(struct frame *f)
{
    fault_cs = f->cs;
    fault_rip = f->rip;
    f->rip += 2;
}

static void on_tick(struct frame *f)
{
    ticks++;
    ticks_in_ring3 += from_ring3(f);
    pic_eoi(PIT_IRQ);
}

static void expect_fault(unsigned vector, const char *name, u64 (*fn)(u64), u64 arg, u64 result)
{
    fault_cs = 0;
    interrupt_set(vector, skip_two_bytes);
    u64 got = ring3_call(fn, arg);
    interrupt_set(vector, NULL);
    report(fault_cs == USER_CS && got == result, name, "taken in ring 0, ring 3 went on");
}

int main(void)
{
    clock_init();

    report((read_cs() & 3) == 0, "ring3_start", "main runs in ring 0");
    u64 got = ring3_call(current_level, 100);
    report(got == 103, "ring3_level", "CPL 3 inside, argument and result pass through");
    report((read_cs() & 3) == 0, "ring3_back", "ring 0 afterwards");

    report(ring3_call(use_scratch, 0x5a) == 0x5a, "ring3_port", "ports 0x3f8.. work in ring 3");
    ring3_call(say, (u64) "text written by ring 3\n");

    cpu_allow_port(COM1 + UART_SCR, false);
    expect_fault(VECTOR_GP, "ring3_port_denied", denied_port, 41, 42);
    cpu_allow_port(COM1 + UART_SCR, true);

    expect_fault(VECTOR_UD, "ring3_ud", do_ud2, 41, 42);
    expect_fault(VECTOR_GP, "ring3_gp", do_cli, 41, 42);
    expect_fault(VECTOR_PF, "ring3_pf", do_load, 0x123456789000, 0);
    report(read_cr2() == 0x123456789000, "ring3_cr2", "CR2 has the address");

    pic_init();
    interrupt_set(PIC_VECTOR + PIT_IRQ, on_tick);
    pic_unmask(PIT_IRQ);
    pit_start(100);
    irq_enable();
    got = ring3_call(spin_for_ticks, 3);
    irq_disable();
    pit_stop();
    pic_mask_all();
    report(got >= 3, "ring3_timer", "three timer interrupts taken while in ring 3");
    report((read_rflags() & RFLAGS_IF) == 0, "ring3_flags", "interrupts are off again");
    return report_summary();
}
