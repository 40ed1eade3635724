// The I/O APIC at 0xfec00000 (Intel 82093AA datasheet).
#pragma once
#include "types.h"

u32 ioapic_pins(void);
u32 ioapic_version(void);

// Sends an edge-triggered, active-high pin to this vector of this local APIC.
void ioapic_route(unsigned pin, u8 vector, u8 lapic_id);
void ioapic_mask(unsigned pin);
