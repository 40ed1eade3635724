// What the card takes and how it stores it: addresses, VLANs, lengths, buffers of all sizes, checksums.
#include "clock.h"
#include "cmdline.h"
#include "e1000/e1000.h"
#include "e1000/loop.h"
#include "inet.h"
#include "report.h"
#include "string.h"

enum { ALL = RCTL_EN | RCTL_SECRC, ETHER = 14, V4 = 34, SOON = 1000 };

static struct e1000 card;
static const u8 broadcast[6] = {255, 255, 255, 255, 255, 255};
static const u8 group[6] = {0x01, 0x00, 0x5E, 0x01, 0x02, 0x03};
static const u8 stranger[6] = {0x02, 0, 0, 0, 0, 0x77};

static bool passes(const u8 *to, u32 rctl)
{
    reg_write(&card, RCTL, ALL | rctl);
    loop_frame(&card, to, 100);
    e1000_queue(&card, 100);
    return loop_comes_back(&card);
}

static void addresses(void)
{
    report(passes(NULL, 0) && !passes(stranger, 0) && passes(stranger, RCTL_UPE), "unicast",
           "its own, and every one with UPE");
    report(!passes(broadcast, 0) && passes(broadcast, RCTL_BAM), "broadcast", "with BAM only");
    bool without = passes(group, 0), promiscuous = passes(group, RCTL_MPE);
    // MO = 0 takes bits 47 to 36 of the address: here 0x030.
    u32 bits = (u32)(group[5] << 8 | group[4]) >> 4 & 0xFFF;
    reg_write(&card, MTA + (bits >> 5) * 4, 1u << (bits & 31));
    bool hashed = passes(group, 0);
    reg_write(&card, MTA + (bits >> 5) * 4, 0);
    report(!without && promiscuous && hashed && !passes(group, 0), "multicast", "by the table, or with MPE");
    u32 low;
    memcpy(&low, stranger, 4);
    reg_write(&card, RAL0 + 8 * 15, low);
    reg_write(&card, RAH0 + 8 * 15, 1u << 31 | stranger[4] | (u32)stranger[5] << 8);
    report(passes(stranger, 0), "sixteenth", "the last of the 16 receive addresses counts");
    reg_write(&card, RAH0 + 8 * 15, 0);
}

static bool tagged_passes(u16 vlan, u32 rctl)
{
    reg_write(&card, RCTL, ALL | rctl);
    u8 *out = loop_frame(&card, NULL, 100);
    put_be16(out + 12, 0x8100);
    put_be16(out + 14, vlan);
    e1000_queue(&card, 100);
    return loop_comes_back(&card);
}

static void vlans(void)
{
    for (unsigned i = 0; i < 128; i++)
        reg_write(&card, VFTA + 4 * i, 0);
    bool off = tagged_passes(5, 0), none = tagged_passes(5, RCTL_VFE);
    reg_write(&card, VFTA, 1u << 5);
    report(off && !none && tagged_passes(5, RCTL_VFE) && !tagged_passes(6, RCTL_VFE) &&
               tagged_passes(0x2005, RCTL_VFE),
           "vlan_filter", "the table decides once VFE is set");
}

// A frame that takes several buffers, piece by piece.
static bool whole(u16 size, u32 rctl, u16 buffer)
{
    reg_write(&card, RCTL, ALL | rctl);
    u8 *out = loop_frame(&card, NULL, size);
    e1000_queue(&card, size);
    u16 done = 0, length;
    while (done < size) {
        const u8 *in = loop_take(&card, &length, SOON);
        if (!in)
            return false;
        u16 left = (u16)(size - done), wanted = left < buffer ? left : buffer;
        bool last = e1000_received(&card)->status & RX_EOP;
        bool same = length == wanted && last == (left <= buffer) && memcmp(in, out + done, length) == 0;
        e1000_release(&card);
        if (!same)
            return false;
        done = (u16)(done + length);
    }
    return true;
}

static void sizes(void)
{
    static const u16 of[] = {60, 255, 256, 257, 511, 512, 513, 1024, 1025, 1514};
    bool good = true;
    for (u32 code = 0; code < 4; code++)
        for (unsigned i = 0; i < ARRAY_SIZE(of); i++)
            good = whole(of[i], code * RCTL_BSIZE, (u16)(2048 >> code)) && good;
    report(good, "buffers", "frames of all sizes in buffers of 256 to 2048 bytes");
    reg_read(&card, ROC);
    reg_write(&card, RCTL, ALL);
    loop_frame(&card, NULL, 1900);
    e1000_queue(&card, 1900);
    bool dropped = !loop_comes_back(&card);
    report(dropped && reg_read(&card, ROC) == 1, "too_long", "a long packet is counted and dropped");
    report(whole(1900, RCTL_LPE, 2048) && whole(1900, RCTL_LPE | RCTL_BSIZE, 1024), "long",
           "with LPE it is taken");
}

static void counters(void)
{
    for (unsigned r = 0x4000; r < 0x4100; r += 4)
        reg_read(&card, r);
    bool sent = passes(NULL, RCTL_BAM) && passes(broadcast, RCTL_BAM);
    report(sent && reg_read(&card, GPRC) == 2 && reg_read(&card, BPRC) == 1 && reg_read(&card, MPRC) == 0,
           "counted", "good, broadcast and multicast frames");
    u32 low = reg_read(&card, TORL), high = reg_read(&card, TORH);
    report(low == 208 && high == 0 && reg_read(&card, TORL) == 0, "octets",
           "%u octets with FCS; the high half clears both", low);
}

// Status and errors for an IPv4 packet; `breaks` is a byte to spoil, or 0.
static u32 judged(u8 protocol, unsigned breaks)
{
    u8 *out = loop_frame(&card, NULL, 134);
    u8 *ip = out + ETHER, *segment = out + V4;
    put_be16(out + 12, 0x0800);
    memcpy(ip, "\x45\0\0\x78\0\1\x40\0\x40\0\0\0\x0a\0\0\1\x0a\0\0\2", 20);
    ip[9] = protocol;
    put_be16(ip + 10, ~ones_sum(ip, 20, 0));
    u8 *sum = segment + (protocol == 6 ? 16 : 6);
    put_be16(sum, 0);
    put_be16(sum, ~ones_sum(segment, 100, pseudo_sum(ip, 100)));
    if (breaks)
        out[breaks] ^= 1;
    e1000_queue(&card, 134);
    u16 length;
    if (!loop_take(&card, &length, SOON))
        return ~0u;
    const struct rx_descriptor *d = e1000_received(&card);
    u32 outcome = (d->status & (RX_IPCS | RX_TCPCS | RX_IXSM)) | (u32)d->errors << 8;
    e1000_release(&card);
    return outcome;
}

static void offload(void)
{
    reg_write(&card, RCTL, ALL);
    reg_write(&card, RXCSUM, RXCSUM_IPOFL | RXCSUM_TUOFL);
    enum { GOOD = RX_IPCS | RX_TCPCS };
    report(judged(6, 0) == GOOD && judged(17, 0) == GOOD, "rx_sums", "TCP and UDP checked and good");
    report(judged(6, V4 + 50) == (GOOD | RX_TCPE << 8), "rx_bad_tcp", "a changed payload is told");
    report(judged(6, ETHER + 8) == (GOOD | RX_IPE << 8), "rx_bad_ip", "so is a changed IP header");
    reg_write(&card, RXCSUM, 0);
    report(judged(6, 0) == RX_IXSM, "rx_no_sums", "switched off nothing is checked");
}

int main(void)
{
    clock_init();
    if (!report(e1000_open(&card, 0, 0), "receive_open", "a card"))
        return report_summary();
    e1000_loop_back(&card);
    loop_warm_up(&card);
    addresses();
    vlans();
    sizes();
    counters();
    if (cmdline_u64("offload", 1))
        offload();
    return report_summary();
}
