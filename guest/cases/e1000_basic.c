// The card as a driver meets it: identity, EEPROM, link, frames through the PHY's loopback, interrupts.
#include "clock.h"
#include "cpu.h"
#include "e1000/e1000.h"
#include "e1000/loop.h"
#include "interrupts.h"
#include "pic.h"
#include "report.h"
#include "string.h"

static struct e1000 card;
static volatile u32 interrupts, causes;

static void on_interrupt(struct frame *frame)
{
    (void)frame;
    causes |= reg_read(&card, ICR); // reading takes the line down
    interrupts++;
    pic_eoi(pci_read8(card.pci, PCI_INT_LINE));
}

static void probe(void)
{
    report(pci_read16(card.pci, 0x0A) == 0x0200, "e1000_class", "an Ethernet controller");
    report(pci_bar_size(card.pci, 0) == 0x20000, "e1000_bar", "128 KiB of registers");
    u16 sum = 0;
    for (unsigned word = 0; word < 64; word++)
        sum = (u16)(sum + e1000_eeprom(&card, (u8)word));
    report(sum == 0xBABA, "e1000_eeprom", "the words add up to 0xBABA");
    u32 low = reg_read(&card, RAL0), high = reg_read(&card, RAH0);
    report(memcmp(card.mac, &low, 4) == 0 && memcmp(card.mac + 4, &high, 2) == 0 && high >> 31,
           "e1000_mac", "the receive address is the EEPROM's");
    report(reg_read(&card, STATUS) & STATUS_LU, "e1000_link", "the link is up");
}

// Sends a frame of that size, which comes back whole.
static bool round_trip(u16 size)
{
    u16 length;
    u8 *out = loop_frame(&card, NULL, size);
    e1000_queue(&card, size);
    const u8 *in = loop_take(&card, &length, 1000);
    bool same = in && length == (size < 60 ? 60 : size) && memcmp(in, out, size) == 0;
    if (in)
        e1000_release(&card);
    return same;
}

static void loopback(void)
{
    loop_warm_up(&card);
    static const u16 sizes[] = {60, 61, 64, 128, 255, 256, 512, 1000, 1023, 1513, 1514};
    bool all = true;
    for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++)
        all = round_trip(sizes[i]) && all;
    report(all, "e1000_sizes", "frames from 60 to 1514 bytes come back whole");
    for (unsigned i = 0; i < 3 * E1000_RING && all; i++)
        all = round_trip(60);
    report(all, "e1000_wrap", "both rings wrap around");
    u32 sent = reg_read(&card, GPTC);
    report(sent == ARRAY_SIZE(sizes) + 3 * E1000_RING, "e1000_gptc", "%u frames counted", sent);
    report(reg_read(&card, GPTC) == 0, "e1000_clear", "reading clears the counter");
}

static void take_interrupts(void)
{
    u8 line = pci_read8(card.pci, PCI_INT_LINE);
    pic_init();
    interrupt_set(PIC_VECTOR + line, on_interrupt);
    reg_read(&card, ICR);
    pic_unmask(line);
    irq_enable();
    reg_write(&card, ICS, ICR_LSC);
    report(!wait_count(&interrupts, 1, 20), "e1000_masked", "a masked cause stays away");
    reg_write(&card, IMS, ICR_LSC | ICR_RXT0 | ICR_TXDW);
    report(wait_count(&interrupts, 1, 1000) && causes & ICR_LSC, "e1000_irq", "unmasked it comes");
    causes = 0;
    u32 before = interrupts;
    bool came = round_trip(100) && wait_count(&interrupts, before + 1, 1000);
    report(came && causes & (ICR_RXT0 | ICR_TXDW), "e1000_irq_frame", "so it does for a frame");
    irq_disable();
    pic_mask_all();
}

int main(void)
{
    clock_init();
    if (!report(e1000_open(&card, 0, 0), "e1000_open", "a card, reset and started"))
        return report_summary();
    e1000_loop_back(&card);
    probe();
    loopback();
    take_interrupts();
    return report_summary();
}
