#include "pit.h"

#include "io.h"

#define PIT_CH0     0x40
#define PIT_CONTROL 0x43

// Control word: channel 7:6, access 5:4 (3 = low byte then high byte, 0 = latch), mode 3:1.
#define CH0_RATE    0x34 // mode 2, rate generator
#define CH0_ONESHOT 0x30 // mode 0: waits for a count before it starts
#define CH0_LATCH   0x00

static void load(u16 count)
{
    outb(PIT_CONTROL, CH0_RATE);
    outb(PIT_CH0, count);
    outb(PIT_CH0, count >> 8);
}

void pit_start(u32 hz)
{
    load(PIT_HZ / hz);
}

void pit_free_run(void)
{
    load(0); // means 65536
}

void pit_stop(void)
{
    outb(PIT_CONTROL, CH0_ONESHOT);
}

u16 pit_count(void)
{
    outb(PIT_CONTROL, CH0_LATCH);
    u8 low = inb(PIT_CH0);
    return low | inb(PIT_CH0) << 8;
}
