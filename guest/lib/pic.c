#include "pic.h"

#include "io.h"

#define PIC1 0x20
#define PIC2 0xa0
// Each has two ports: command, and data at +1.

#define ICW1_INIT 0x11 // edge triggered, cascade, ICW4 follows
#define ICW4_8086 0x01
#define OCW2_EOI  0x20 // non-specific end of interrupt
#define CASCADE   2    // the line of the first that the second hangs on

static u16 masks;

static void write_masks(void)
{
    outb(PIC1 + 1, masks);
    outb(PIC2 + 1, masks >> 8);
}

void pic_init(void)
{
    outb(PIC1, ICW1_INIT);
    outb(PIC2, ICW1_INIT);
    outb(PIC1 + 1, PIC_VECTOR); // ICW2: vector of line 0
    outb(PIC2 + 1, PIC_VECTOR + 8);
    outb(PIC1 + 1, 1u << CASCADE); // ICW3: a bit on the first, a number on the second
    outb(PIC2 + 1, CASCADE);
    outb(PIC1 + 1, ICW4_8086);
    outb(PIC2 + 1, ICW4_8086);
    pic_mask_all();
}

void pic_mask_all(void)
{
    masks = 0xffff & ~(1u << CASCADE);
    write_masks();
}

void pic_mask(unsigned irq)
{
    masks |= 1u << irq;
    write_masks();
}

void pic_unmask(unsigned irq)
{
    masks &= ~(1u << irq);
    write_masks();
}

void pic_eoi(unsigned irq)
{
    if (irq >= 8)
        outb(PIC2, OCW2_EOI);
    outb(PIC1, OCW2_EOI);
}
