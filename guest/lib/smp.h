// The other processors, up to CPUS in all, to run C of ours.
#pragma once
#include "types.h"

// Starts them; each calls fn(cpu) in ring 0 with interrupts off and a stack of its own, its local APIC
// on, and stops for good when it returns. Waits until so many processors run, the first included, and
// returns how many do. Once. It needs clock_init().
unsigned smp_start(unsigned cpus, void (*fn)(unsigned cpu));

// The local APIC ID of a processor that runs.
u32 smp_apic(unsigned cpu);
