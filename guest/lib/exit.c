#include "exit.h"

#include "cpu.h"
#include "io.h"

// The port that QEMU's isa-debug-exit is put at by convention (kvm-unit-tests: 0xf4).
#define DEBUG_EXIT 0xf4

// ACPI 6.4, 4.8.3.2.1: PM1 control, SLP_TYPx in bits 12:10, SLP_EN bit 13. S5 is SLP_TYP 0 on this
// machine and on QEMU's "pc", where the block is at 0x600.
#define PM1A_CNT 0x604
#define SLP_EN   (1u << 13)

// Reset control register of the PIIX3 and later (82371 datasheet, RC): bit 1 full reset, bit 2 0->1 starts it.
#define RESET_CONTROL 0xcf9

// Keyboard controller command: pulse output line 0, which is wired to the CPU's reset (8042, AT manual).
#define KBC_COMMAND 0x64
#define KBC_RESET   0xfe

_Noreturn void debug_exit(u8 value)
{
    outb(DEBUG_EXIT, value);
    cpu_halt();
}

_Noreturn void power_off(void)
{
    outw(PM1A_CNT, SLP_EN);
    cpu_halt();
}

_Noreturn void reset_cf9(void)
{
    outb(RESET_CONTROL, 0x02);
    outb(RESET_CONTROL, 0x06);
    cpu_halt();
}

_Noreturn void reset_8042(void)
{
    outb(KBC_COMMAND, KBC_RESET);
    cpu_halt();
}

_Noreturn void triple_fault(void)
{
    struct {
        u16 limit;
        u64 base;
    } __attribute__((packed)) empty = {0, 0};

    // #UD finds no gate, #GP neither, nor #DF: the processor shuts down.
    __asm__ volatile("lidt %0; ud2" : : "m"(empty));
    __builtin_unreachable();
}
