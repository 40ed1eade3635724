// The ways out of a guest.
#pragma once
#include "types.h"

// What the kit writes to the debug-exit port. The monitor ends with (value << 1) | 1.
enum {
    EXIT_PASS = 0,      // status 1
    EXIT_FAIL = 1,      // status 3: a check failed
    EXIT_EXCEPTION = 2, // status 5: an exception nobody expected, or a broken start
};

_Noreturn void debug_exit(u8 value); // isa-debug-exit, port 0xf4
_Noreturn void power_off(void);      // ACPI S5 through PM1a_CNT, port 0x604
_Noreturn void reset_cf9(void);      // reset control register, port 0xcf9
_Noreturn void reset_8042(void);     // keyboard controller command 0xfe, port 0x64
_Noreturn void triple_fault(void);   // an exception with an empty IDT
