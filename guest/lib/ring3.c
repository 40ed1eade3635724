#include "ring3.h"

#include "cpu.h"

extern const u8 ring3_exit[];

bool ring3_is_exit(const struct frame *frame)
{
    return frame->vector == VECTOR_UD && from_ring3(frame) && frame->rip == (u64)ring3_exit;
}
