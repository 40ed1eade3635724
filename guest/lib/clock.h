// Time limits for waits, from the TSC. Uses the PIT for 12 ms the first time, so do that before
// starting the PIT for something else; IRQ 0 must be masked.
#pragma once
#include "types.h"

void clock_init(void);
u64 clock_tsc_khz(void);

// A TSC value this many milliseconds from now; compare with deadline_passed().
u64 deadline_ms(u32 ms);
bool deadline_passed(u64 deadline);

// Spins until *counter reaches value, with interrupts on; true if it got there within ms.
bool wait_count(volatile u32 *counter, u32 value, u32 ms);
