// The local APIC at its reset address (SDM vol. 3, chapter 11).
#pragma once
#include "types.h"

#define LAPIC_SPURIOUS_VECTOR 0xff

void lapic_init(void); // software-enables it; the spurious vector gets a handler that does nothing
u32 lapic_id(void);
u32 lapic_version(void);
void lapic_eoi(void);

// INIT, then start-up at page (address >> 12), to every processor but this one. The caller waits.
void lapic_start_others(u8 page);

void lapic_send(u32 id, u8 vector); // an interrupt to one processor

// The timer counts down from count, at the bus clock divided by 16.
void lapic_timer_start(u8 vector, u32 count, bool periodic);
void lapic_timer_stop(void);
u32 lapic_timer_count(void);
