// The 8254 interval timer, channel 0, on IRQ 0 (Intel 82C54 datasheet).
#pragma once
#include "types.h"

#define PIT_IRQ 0
#define PIT_HZ  1193182u

void pit_start(u32 hz); // periodic, 19 Hz or more
void pit_stop(void);    // no further interrupts
u16 pit_count(void);    // the counter now, counting down
void pit_free_run(void); // count down from 65536 over and over
