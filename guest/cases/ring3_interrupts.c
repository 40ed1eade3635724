// Ring 3 entered and left while interrupts come at every moment of both.
#include "cpu.h"
#include "interrupts.h"
#include "lapic.h"
#include "pic.h"
#include "report.h"
#include "ring3.h"

enum { VECTOR = 0x60, ROUNDS = 20000, LATEST = 500 };

static volatile u32 taken, taken_in_ring3;

static void on_timer(struct frame *f)
{
    taken++;
    taken_in_ring3 += from_ring3(f);
    lapic_eoi();
}

static u64 plus_one(u64 arg) { return arg + 1; }

int main(void)
{
    pic_mask_all(); // a firmware's timer
    lapic_init();
    interrupt_set(VECTOR, on_timer);
    u32 right = 0;
    for (u32 i = 0; i < ROUNDS; i++) {
        irq_enable();
        lapic_timer_start(VECTOR, 1 + i % LATEST, false);
        right += ring3_call(plus_one, i) == i + 1;
        irq_disable();
    }
    lapic_timer_stop();
    report(right == ROUNDS, "ring3_calls", "%u of %u came back with their results", right, ROUNDS);
    report(taken > taken_in_ring3, "ring3_edges", "%u interrupts, %u of them in ring 3", taken, taken_in_ring3);
    return report_summary();
}
