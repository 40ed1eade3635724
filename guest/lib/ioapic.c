#include "ioapic.h"

#include "io.h"

#define IOAPIC   0xfec00000u
#define IOREGSEL 0x00
#define IOWIN    0x10

#define IOAPICVER      0x01 // version 7:0, highest pin 23:16
#define IOREDTBL(pin)  (0x10 + 2 * (pin))
#define REDIR_MASKED   (1u << 16)
#define REDIR_DEST(id) ((u32)(id) << 24) // in the high word, physical destination

static u32 ioapic_read(u8 reg)
{
    mmio_write32(IOAPIC + IOREGSEL, reg);
    return mmio_read32(IOAPIC + IOWIN);
}

static void ioapic_write(u8 reg, u32 value)
{
    mmio_write32(IOAPIC + IOREGSEL, reg);
    mmio_write32(IOAPIC + IOWIN, value);
}

u32 ioapic_pins(void) { return (ioapic_read(IOAPICVER) >> 16 & 0xff) + 1; }
u32 ioapic_version(void) { return ioapic_read(IOAPICVER) & 0xff; }

void ioapic_route(unsigned pin, u8 vector, u8 id)
{
    // The high word first: the low one takes the mask off.
    ioapic_write(IOREDTBL(pin) + 1, REDIR_DEST(id));
    ioapic_write(IOREDTBL(pin), vector);
}

void ioapic_mask(unsigned pin)
{
    ioapic_write(IOREDTBL(pin), REDIR_MASKED);
}
