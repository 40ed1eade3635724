#include "ring3.h"

#include "cpu.h"

extern const u8 ring3_exit[], ring3_wait_trap[];
_Noreturn void ring3_resume(u64 rsp, u64 result);

bool ring3_is_exit(const struct frame *frame)
{
    return frame->vector == VECTOR_UD && from_ring3(frame) && frame->rip == (u64)ring3_exit;
}

bool ring3_waits(const struct frame *frame)
{
    return frame->vector == VECTOR_UD && from_ring3(frame) && frame->rip == (u64)ring3_wait_trap;
}

void ring3_end(const struct frame *frame)
{
    // The frame is the first on the stack of TSS.RSP0; above it is what ring3_call left.
    ring3_resume(*(const u64 *)(frame + 1), frame->rax);
}

void ring3_sleep(struct frame *frame)
{
    // Interrupts are off from the look to the HLT, so that none slips in between.
    if (*(const volatile u32 *)frame->rdi == (u32)frame->rsi)
        irq_wait();
    frame->rip += 2; // the UD2
}
