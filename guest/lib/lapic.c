#include "lapic.h"

#include "interrupts.h"
#include "io.h"

#define LAPIC 0xfee00000u

#define LAPIC_ID      0x020 // bits 31:24
#define LAPIC_VERSION 0x030
#define LAPIC_TPR     0x080
#define LAPIC_EOI     0x0b0
#define LAPIC_SVR     0x0f0 // spurious vector; bit 8 enables the APIC
#define LAPIC_ICR     0x300 // interrupt command, low word; writing it sends
#define LAPIC_ICR_HIGH 0x310 // bits 31:24: to whom
#define LAPIC_TIMER   0x320 // LVT: vector 7:0, mask 16, periodic 17
#define LAPIC_INIT    0x380 // initial count
#define LAPIC_CURRENT 0x390
#define LAPIC_DIVIDE  0x3e0

#define SVR_ENABLE    (1u << 8)
#define LVT_MASKED    (1u << 16)
#define LVT_PERIODIC  (1u << 17)
#define ICR_INIT      (5u << 8)
#define ICR_STARTUP   (6u << 8)
#define ICR_ASSERT    (1u << 14)
#define ICR_OTHERS    (3u << 18) // shorthand: all excluding self
#define DIVIDE_BY_16  0x3

static void on_spurious(struct frame *frame)
{
    (void)frame; // no EOI for these (SDM vol. 3, 11.9)
}

void lapic_init(void)
{
    interrupt_set(LAPIC_SPURIOUS_VECTOR, on_spurious);
    mmio_write32(LAPIC + LAPIC_TPR, 0);
    mmio_write32(LAPIC + LAPIC_SVR, SVR_ENABLE | LAPIC_SPURIOUS_VECTOR);
}

u32 lapic_id(void) { return mmio_read32(LAPIC + LAPIC_ID) >> 24; }
u32 lapic_version(void) { return mmio_read32(LAPIC + LAPIC_VERSION) & 0xff; }
void lapic_eoi(void) { mmio_write32(LAPIC + LAPIC_EOI, 0); }

void lapic_start_others(u8 page)
{
    mmio_write32(LAPIC + LAPIC_ICR, ICR_OTHERS | ICR_ASSERT | ICR_INIT);
    mmio_write32(LAPIC + LAPIC_ICR, ICR_OTHERS | ICR_ASSERT | ICR_STARTUP | page);
}

void lapic_send(u32 id, u8 vector)
{
    mmio_write32(LAPIC + LAPIC_ICR_HIGH, id << 24);
    mmio_write32(LAPIC + LAPIC_ICR, ICR_ASSERT | vector);
}

void lapic_timer_start(u8 vector, u32 count, bool periodic)
{
    mmio_write32(LAPIC + LAPIC_DIVIDE, DIVIDE_BY_16);
    mmio_write32(LAPIC + LAPIC_TIMER, vector | (periodic ? LVT_PERIODIC : 0));
    mmio_write32(LAPIC + LAPIC_INIT, count);
}

void lapic_timer_stop(void)
{
    mmio_write32(LAPIC + LAPIC_TIMER, LVT_MASKED);
    mmio_write32(LAPIC + LAPIC_INIT, 0);
}

u32 lapic_timer_count(void) { return mmio_read32(LAPIC + LAPIC_CURRENT); }
