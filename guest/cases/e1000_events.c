// When the card interrupts, and what a reset and a pulled cable do.
#include "clock.h"
#include "cpu.h"
#include "e1000/e1000.h"
#include "e1000/loop.h"
#include "interrupts.h"
#include "pic.h"
#include "report.h"

enum { SOON = 1000, PHY_POWER_DOWN = 0x0800, PHY_CONTROL = 0 };

static struct e1000 card;
static volatile u32 interrupts, causes;

static void on_interrupt(struct frame *frame)
{
    (void)frame;
    causes |= reg_read(&card, ICR);
    interrupts++;
    pic_eoi(pci_read8(card.pci, PCI_INT_LINE));
}

static void causes_and_masks(void)
{
    reg_write(&card, IMC, ~0u);
    reg_read(&card, ICR);
    reg_write(&card, ICS, ICR_LSC | ICR_RXT0);
    reg_write(&card, ICR, ICR_LSC);
    // The transmitter may still find its queue empty (TXQE) on its own time.
    u32 both = ICR_LSC | ICR_RXT0;
    report((reg_read(&card, ICR) & both) == ICR_RXT0, "write_clears", "writing ones to ICR clears those");
    report((reg_read(&card, ICR) & both) == 0, "read_clears", "reading clears the rest");
    reg_write(&card, IMS, ICR_RXT0);
    reg_write(&card, IMS, ICR_LSC);
    reg_write(&card, IMC, ICR_RXT0);
    report(reg_read(&card, IMS) == ICR_LSC, "mask", "IMS adds, IMC takes away");
    reg_write(&card, IMC, ~0u);
}

// Milliseconds until the cause shows in ICR after a frame was sent.
static u64 waits(u32 cause)
{
    reg_read(&card, ICR);
    u64 start = rdtsc(), deadline = deadline_ms(SOON);
    e1000_kick(&card);
    while (!(reg_read(&card, ICR) & cause))
        if (deadline_passed(deadline))
            return SOON;
    return (rdtsc() - start) / clock_tsc_khz();
}

static void empty_receiver(void)
{
    u16 length;
    while (e1000_receive(&card, &length))
        e1000_release(&card);
}

static void delays(void)
{
    enum { DELAY_50_MS = 48828 }; // units of 1.024 us
    loop_frame(&card, NULL, 60);
    e1000_queue(&card, 60);
    u64 at_once = waits(ICR_RXT0);
    reg_write(&card, RDTR, DELAY_50_MS);
    loop_frame(&card, NULL, 60);
    e1000_queue(&card, 60);
    u64 delayed = waits(ICR_RXT0);
    reg_write(&card, RADV, DELAY_50_MS / 5);
    loop_frame(&card, NULL, 60);
    e1000_queue(&card, 60);
    u64 bounded = waits(ICR_RXT0);
    reg_write(&card, RDTR, 0);
    reg_write(&card, RADV, 0);
    report(delayed >= 49 && at_once < delayed && bounded >= 9 && bounded < delayed, "rx_delay",
           "RDTR delays, RADV bounds it");
    reg_write(&card, TIDV, DELAY_50_MS);
    loop_frame(&card, NULL, 60);
    e1000_queue_delayed(&card, 60);
    delayed = waits(ICR_TXDW);
    loop_frame(&card, NULL, 60);
    e1000_queue(&card, 60); // no IDE
    u64 undelayed = waits(ICR_TXDW);
    reg_write(&card, TIDV, 0);
    report(delayed >= 49 && undelayed < delayed, "tx_delay", "TIDV delays descriptors with IDE");
    empty_receiver();
}

static void moderation(void)
{
    enum { FRAMES = 200, INTERVAL = 7812 }; // 256 ns: 2 ms
    u8 line = pci_read8(card.pci, PCI_INT_LINE);
    pic_init();
    interrupt_set(PIC_VECTOR + line, on_interrupt);
    reg_read(&card, ICR);
    reg_write(&card, ITR, INTERVAL);
    pic_unmask(line);
    reg_write(&card, IMS, ICR_RXT0);
    irq_enable();
    u64 start = rdtsc();
    u16 length;
    bool all = true;
    for (unsigned i = 0; i < FRAMES && all; i++) {
        loop_frame(&card, NULL, 60);
        e1000_queue(&card, 60);
        all = loop_take(&card, &length, SOON);
        if (all)
            e1000_release(&card);
    }
    wait_count(&interrupts, 1, SOON);
    u64 elapsed = (rdtsc() - start) / (clock_tsc_khz() * 2);
    irq_disable();
    pic_mask(line);
    reg_write(&card, IMC, ~0u);
    reg_write(&card, ITR, 0);
    report(all && interrupts >= 1 && interrupts <= elapsed + 2, "moderation",
           "ITR allows one interrupt in 2 ms");
}

static void reset_while_busy(void)
{
    bool good = true;
    for (unsigned round = 0; round < 20 && good; round++) {
        for (unsigned i = 0; i < 200; i++) {
            loop_frame(&card, NULL, 1514);
            e1000_queue(&card, 1514);
        }
        e1000_kick(&card);
        reg_write(&card, CTRL, reg_read(&card, CTRL) | CTRL_RST);
        u64 deadline = deadline_ms(100);
        while (reg_read(&card, CTRL) & CTRL_RST && !deadline_passed(deadline))
            ;
        good = !reg_read(&card, TDH) && !reg_read(&card, TDT) && !(reg_read(&card, TCTL) & TCTL_EN) &&
               !(reg_read(&card, RCTL) & RCTL_EN) && !reg_read(&card, IMS);
    }
    report(good, "reset", "twenty times in the middle of 200 frames");
    report(e1000_open(&card, 0, 0), "reopen", "the card starts again");
    e1000_loop_back(&card);
    loop_frame(&card, NULL, 500);
    e1000_queue(&card, 500);
    report(loop_comes_back(&card), "after_reset", "and moves frames");
}

static void link(void)
{
    e1000_phy_write(&card, PHY_CONTROL, 0x1140);
    reg_read(&card, ICR);
    e1000_phy_write(&card, PHY_CONTROL, 0x1140 | PHY_POWER_DOWN);
    bool down = !(reg_read(&card, STATUS) & STATUS_LU) && reg_read(&card, ICR) & ICR_LSC;
    e1000_phy_write(&card, PHY_CONTROL, 0x1140);
    bool up = reg_read(&card, STATUS) & STATUS_LU && reg_read(&card, ICR) & ICR_LSC;
    report(down && up, "link", "a PHY that sleeps has no link; LSC tells of both changes");
}

int main(void)
{
    clock_init();
    if (!report(e1000_open(&card, 0, 0), "events_open", "a card"))
        return report_summary();
    e1000_loop_back(&card);
    causes_and_masks();
    delays();
    moderation();
    reset_while_busy();
    link();
    return report_summary();
}
