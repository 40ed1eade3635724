// Does to the first card what broke other emulated cards, and asks the second after each whether the
// machine still stands. Names are those of the public reports.
#include "clock.h"
#include "e1000/e1000.h"
#include "e1000/loop.h"
#include "printf.h"
#include "report.h"
#include "string.h"

enum { COUNT = 16, EVERYTHING = RCTL_EN | RCTL_UPE | RCTL_MPE | RCTL_BAM | RCTL_LPE };

static struct e1000 victim, witness;
static u64 tx[COUNT][2] __attribute__((aligned(128)));
static u64 rx[COUNT][2] __attribute__((aligned(128)));
static u8 data[0x10000], sink[COUNT][2048];

// A descriptor's second word (3.3.3, 3.3.6, 3.3.7).
#define LEGACY(length, command) ((u64)(length) | (u64)(command) << 24)
#define LEGACY_SUM(length, command, cso, css) (LEGACY(length, command) | (u64)(cso) << 16 | (u64)(css) << 40)
#define DATA(length, command, popts) \
    ((u64)(length) | 1u << 20 | (u64)((command) | DCMD_DEXT) << 24 | (u64)(popts) << 40)
#define CONTEXT(payload, tucmd, hdrlen, mss) \
    ((u64)(payload) | (u64)((tucmd) | DCMD_DEXT | TX_RS) << 24 | (u64)(hdrlen) << 40 | (u64)(mss) << 48)
#define OFFSETS(ipcss, ipcso, tucss, tucso) \
    ((u64)(ipcss) | (u64)(ipcso) << 8 | (u64)(tucss) << 32 | (u64)(tucso) << 40)

static void start(u32 rctl)
{
    for (unsigned i = 0; i < COUNT; i++) {
        rx[i][0] = (u64)sink[i];
        rx[i][1] = tx[i][0] = tx[i][1] = 0;
    }
    reg_write(&victim, CTRL, reg_read(&victim, CTRL) | CTRL_RST);
    reg_write(&victim, CTRL, reg_read(&victim, CTRL) | CTRL_SLU);
    e1000_loop_back(&victim);
    reg_write(&victim, TDBAL, (u32)(u64)tx);
    reg_write(&victim, TDLEN, sizeof tx);
    reg_write(&victim, RDBAL, (u32)(u64)rx);
    reg_write(&victim, RDLEN, sizeof rx);
    reg_write(&victim, RCTL, rctl);
    reg_write(&victim, RDT, COUNT - 1);
    reg_write(&victim, TCTL, TCTL_EN | TCTL_PSP);
}

// Rings for the descriptors so far, waits a moment, and has the other card move a frame.
static void survived(const char *name, unsigned tail)
{
    reg_write(&victim, TDT, tail);
    u64 deadline = deadline_ms(10);
    while (!deadline_passed(deadline))
        ;
    reg_read(&victim, ICR);
    loop_frame(&witness, NULL, 200);
    e1000_queue(&witness, 200);
    report(loop_comes_back(&witness), name, "the other card works");
}

static void lengths(void)
{
    start(EVERYTHING);
    for (unsigned i = 0; i < 8; i++) {
        tx[i][0] = (u64)data;
        tx[i][1] = DATA(0x4000, i == 7 ? TX_EOP | TX_RS : 0, 0);
    }
    survived("CVE-2012-6075", 8); // 128 KiB against 2 KiB buffers

    start(EVERYTHING);
    for (unsigned i = 0; i < 15; i++)
        tx[i][1] = DATA(0xFFFFF, 0, 0), tx[i][0] = (u64)data;
    survived("CVE-2016-6888", 15); // lengths that add up to 15 MiB, and no end

    start(EVERYTHING);
    for (unsigned i = 0; i < 15; i++)
        tx[i][1] = DATA(0, i == 14 ? TX_EOP : 0, 0);
    survived("CVE-2016-6834", 15); // nothing but empty fragments
}

static void segmentation(void)
{
    static const struct {
        const char *name;
        u64 offsets, context, request;
    } rows[] = {
        {"CVE-2015-6815", OFFSETS(0, 0, 0, 0), CONTEXT(1000, 7, 0, 0), DATA(1000, 0x0D, 3)},
        {"CVE-2020-16092", OFFSETS(14, 24, 34, 50), CONTEXT(10, 7, 54, 1460), DATA(10, 0x0D, 3)},
        {"CVE-2020-27617", OFFSETS(255, 255, 255, 255), CONTEXT(0xFFFFF, 7, 255, 1), DATA(4000, 0x0D, 3)},
        {"CVE-2024-3567", OFFSETS(14, 24, 34, 253), CONTEXT(3000, 6, 255, 9000), DATA(3000, 0x0D, 3)},
        {"CVE-2019-5609", OFFSETS(14, 24, 34, 50), CONTEXT(60000, 7, 240, 1), DATA(20000, 0x0D, 3)},
        {"CVE-2022-23087", OFFSETS(60, 250, 61, 251), CONTEXT(60, 3, 10, 100), DATA(60, 0x09, 3)},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        start(EVERYTHING);
        tx[0][0] = rows[i].offsets;
        tx[0][1] = rows[i].context;
        tx[1][0] = (u64)data;
        tx[1][1] = rows[i].request;
        survived(rows[i].name, 2);
    }
    start(EVERYTHING);
    tx[0][0] = (u64)data;
    tx[0][1] = LEGACY_SUM(60, TX_EOP | TX_RS | TX_IC, 250, 200);
    survived("css_past_the_end", 1);
}

static void rings(void)
{
    start(EVERYTHING);
    reg_write(&victim, TDH, 0xFFFF);
    reg_write(&victim, RDH, 0xFFFF);
    survived("CVE-2016-1981", 1);

    start(EVERYTHING);
    reg_write(&victim, TDLEN, 0);
    survived("tdlen_0", 1);

    start(EVERYTHING);
    reg_write(&victim, RDLEN, 0x7F);
    tx[0][0] = (u64)data;
    tx[0][1] = LEGACY(60, TX_EOP | TX_RS);
    survived("rdlen_odd", 1);

    start(EVERYTHING);
    for (unsigned i = 0; i < COUNT; i++) {
        rx[i][0] = 0;
        tx[i][0] = (u64)data;
        tx[i][1] = LEGACY(1514, TX_EOP | TX_RS);
    }
    survived("CVE-2020-28916", 15); // null receive buffers

    start(EVERYTHING);
    for (unsigned i = 0; i < COUNT; i++)
        tx[i][0] = tx[i][1] = ~0ull;
    survived("CVE-2021-20257", 15);
}

static void addresses(void)
{
    u64 own = victim.registers;
    start(EVERYTHING);
    tx[0][0] = own + TDT;
    tx[0][1] = LEGACY(64, TX_EOP | TX_RS);
    survived("CVE-2020-15859", 1); // sends its own registers

    start(EVERYTHING);
    for (unsigned i = 0; i < COUNT; i++) {
        rx[i][0] = own + TDT; // what comes in would ring the doorbell
        tx[i][0] = (u64)data;
        tx[i][1] = LEGACY(64, TX_EOP | TX_RS);
    }
    survived("CVE-2023-3019", 15);

    start(EVERYTHING);
    reg_write(&victim, TDBAL, (u32)own);
    survived("ring_in_the_bar", 4);

    start(EVERYTHING | RCTL_LBM);
    for (unsigned i = 0; i < COUNT; i++) {
        tx[i][0] = (u64)data;
        tx[i][1] = LEGACY(1514, TX_EOP | TX_RS);
    }
    survived("CVE-2021-3416", 15); // every frame comes straight back

    start(EVERYTHING);
    u16 command = pci_read16(victim.pci, PCI_COMMAND);
    pci_write16(victim.pci, PCI_COMMAND, (u16)(command & ~PCI_COMMAND_MASTER));
    tx[0][0] = (u64)data;
    tx[0][1] = LEGACY(60, TX_EOP | TX_RS);
    survived("no_bus_master", 1);
    report(!(tx[0][1] >> 32 & DD), "no_bus_master_dma", "and nothing was written");
    pci_write16(victim.pci, PCI_COMMAND, command);
}

int main(void)
{
    clock_init();
    memset(data, 0x5A, sizeof data);
    memset(data, 0xFF, 6);
    if (!report(e1000_open(&victim, 0, 0) && e1000_open(&witness, 1, 0), "hostile_open", "two cards"))
        return report_summary();
    e1000_loop_back(&witness);
    lengths();
    segmentation();
    rings();
    addresses();
    start(EVERYTHING);
    tx[0][0] = (u64)data;
    tx[0][1] = LEGACY(1000, TX_EOP | TX_RS);
    reg_write(&victim, TDT, 1);
    u64 deadline = deadline_ms(1000);
    while (!(((volatile u64 *)rx[0])[1] >> 32 & DD) && !deadline_passed(deadline))
        ;
    report((rx[0][1] & 0xFFFF) == 1004, "recovered", "after a reset the first card works, too");
    return report_summary();
}
