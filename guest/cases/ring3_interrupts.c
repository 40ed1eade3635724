// Ring 3 entered and left while another processor interrupts at every moment of both.
#include "clock.h"
#include "cpu.h"
#include "interrupts.h"
#include "lapic.h"
#include "pic.h"
#include "report.h"
#include "ring3.h"
#include "smp.h"

enum { VECTOR = 0x60, CALLS = 20000, MOST_CALLS = 10 * CALLS };

static volatile u32 taken, taken_in_ring3;
static volatile bool ended;

static void on_interrupt(struct frame *f)
{
    taken++;
    taken_in_ring3 += from_ring3(f);
    lapic_eoi();
}

static u64 plus_one(u64 arg) { return arg + 1; }

static void interrupt_the_first(unsigned cpu)
{
    (void)cpu;
    // Never the next before the last was taken and a while has passed, or the first would do nothing else.
    for (u32 n = 0; !ended; n++) {
        u32 before = taken;
        lapic_send(0, VECTOR);
        while (taken == before && !ended)
            cpu_pause();
        for (u64 until = rdtsc() + 100000 + n % 97 * 3000; (long)(rdtsc() - until) < 0 && !ended;)
            cpu_pause();
    }
}

int main(void)
{
    pic_mask_all(); // a firmware's timer
    clock_init();
    lapic_init();
    interrupt_set(VECTOR, on_interrupt);
    report(smp_start(2, interrupt_the_first) == 2, "ring3_other", "another processor interrupts");
    u32 calls = 0, right = 0;
    // Few come in ring 0, where KVM emulates it: go on until one has.
    while (calls < CALLS || (taken == taken_in_ring3 && calls < MOST_CALLS)) {
        irq_enable();
        right += ring3_call(plus_one, calls) == calls + 1;
        irq_disable();
        calls++;
    }
    ended = true;
    report(right == calls, "ring3_calls", "all came back with their results");
    report(taken > taken_in_ring3, "ring3_edges", "%u interrupts, %u of them in ring 3", taken, taken_in_ring3);
    return report_summary();
}
