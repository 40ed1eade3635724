// Never ends and takes no interrupt: for the monitor's time limit. `ring=3` spins there, at full speed.
#include "cmdline.h"
#include "cpu.h"
#include "printf.h"
#include "ring3.h"

static u64 spin(u64 arg)
{
    for (;;)
        __asm__ volatile("" ::: "memory");
    return arg;
}

int main(void)
{
    u64 ring = cmdline_u64("ring", 0);

    printf("spinning in ring %lu\n", ring);
    irq_disable();
    return ring == 3 ? ring3_call(spin, 0) : spin(0);
}
