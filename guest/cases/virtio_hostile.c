// Does to the first card's rings what broke other emulated cards, and asks the second after each
// whether the machine still stands. Names are those of the public reports.
#include "bootinfo.h"
#include "report.h"
#include "string.h"
#include "virtio/hostile.h"

enum { HUGE = 0xFFFFFFFF, RX_SMALL = 128 };

static u8 data[0x4000];
static struct descriptor table[64] __attribute__((aligned(16)));

#define TX victim_tx()
#define RX victim_rx()

static void start(void) { hostile_start(0, 0); }

// One descriptor, sent.
static void send(u64 address, u32 length, u16 flags, u16 next)
{
    raw_descriptor(TX, 0, address, length, flags, next);
    raw_offer(TX, 0);
    raw_kick(TX);
}

static void indirect(void)
{
    static const struct {
        const char *name;
        u32 length;
        u16 flags, inner;
    } rows[] = {
        {"CVE-2011-2212", 0xFFFFFFF0, DESC_INDIRECT, DESC_NEXT},
        {"indirect_odd", 17, DESC_INDIRECT, 0},
        {"indirect_empty", 0, DESC_INDIRECT, 0},
        {"indirect_nested", 16, DESC_INDIRECT, DESC_INDIRECT},
        {"indirect_next", 16, DESC_INDIRECT | DESC_NEXT, 0},
        {"indirect_loop", sizeof table, DESC_INDIRECT, DESC_NEXT},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        start();
        for (unsigned n = 0; n < ARRAY_SIZE(table); n++)
            table[n] = (struct descriptor){(u64)data, 64, rows[i].inner, 0}; // the next one is the first
        send((u64)table, rows[i].length, rows[i].flags, 0);
        survived(rows[i].name);
    }
    start();
    send(boot_info.memory_low - 16, 64, DESC_INDIRECT, 0);
    survived("indirect_past_ram");
}

static void chains(void)
{
    start();
    send((u64)data, 0, DESC_NEXT, 0);
    survived("CVE-2016-6490"); // no length, and its own successor

    start();
    send((u64)data, HUGE, 0, 0);
    survived("CVE-2016-7422");

    start();
    for (u16 n = 0; n < TX->size; n++)
        raw_descriptor(TX, n, (u64)data, sizeof data, DESC_NEXT, (u16)((n + 1) & (TX->size - 1)));
    raw_offer(TX, 0);
    raw_kick(TX);
    survived("chain_circle");

    start();
    send((u64)data, 64, DESC_NEXT, 0xFFFF);
    survived("next_past_the_table");

    start();
    raw_offer(TX, 0xFFFF);
    raw_kick(TX);
    survived("head_past_the_table");

    start();
    send((u64)data, 64, DESC_WRITE, 0);
    raw_descriptor(RX, 0, (u64)data, 64, 0, 0); // one that may only be read, to receive into
    raw_offer(RX, 0);
    raw_kick(RX);
    survived("wrong_direction");
}

static void indices(void)
{
    start();
    raw_descriptor(RX, 0, (u64)data, sizeof data, DESC_WRITE, 0);
    for (unsigned round = 0; round < 1000; round++) {
        raw_offer(RX, 0);
        raw_kick(RX);
    }
    survived("CVE-2016-5403"); // the same buffer again and again

    start();
    raw_index(TX, 0x8000);
    queue_notify(TX);
    survived("avail_jump");

    start();
    raw_descriptor(TX, 0, (u64)data, 64, 0, 0);
    for (u16 n = 0; n < TX->size; n++)
        raw_offer(TX, 0);
    raw_kick(TX);
    raw_index(TX, 3); // backwards
    queue_notify(TX);
    survived("avail_back");
}

static void addresses(void)
{
    u64 common = victim.device.common;
    start();
    send(~0ull - 10, 100, 0, 0);
    survived("CVE-2019-18960"); // the sum of address and length is small

    start();
    send(boot_info.memory_low - 10, 100, 0, 0);
    survived("past_ram");

    start();
    send(common, 64, 0, 0);
    survived("CVE-2024-3446"); // sends its own registers

    hostile_start(NET_F_MRG_RXBUF, 0);
    for (u16 n = 0; n < RX->size; n++)
        ((struct descriptor *)RX->descriptors)[n].address = victim.device.notify; // what comes in would ring
    victim_sends(60);
    survived("CVE-2024-3446_rx");

    hostile_start(NET_F_MRG_RXBUF, 0);
    for (u16 n = 0; n < RX->size; n++)
        ((struct descriptor *)RX->descriptors)[n].address = 0xD0000000; // nobody is there
    victim_sends(60);
    survived("CVE-2021-3748");
}

static void buffers(void)
{
    hostile_start(0, RX_SMALL);
    victim_sends(1514);
    survived("CVE-2015-7295"); // too long for its buffers, which may not be merged

    for (u32 size = 1; size <= 16; size += 5) {
        hostile_start(NET_F_MRG_RXBUF | FEATURE(57), size); // HASH_REPORT, where there is such a thing
        victim_sends(200);
        survived("CVE-2023-6693"); // no room for the header
    }

}

static void lengths(void)
{
    start();
    for (unsigned round = 0; round < 1000; round++) {
        raw_descriptor(TX, 0, (u64)data, round % 12, 0, 0);
        raw_offer(TX, 0);
        raw_kick(TX);
    }
    survived("CVE-2022-26353"); // shorter than a header, a thousand times

    start();
    u64 token;
    u32 length = 0;
    memset(data, 0xEE, 256);
    raw_descriptor(RX, 0, (u64)data, 256, DESC_WRITE, 0);
    ((struct descriptor *)RX->descriptors)[((struct avail_ring *)RX->driver)->heads[0]].address = (u64)data;
    victim_sends(60);
    bool came = queue_wait(RX, 1, 1000) && queue_take(RX, &token, &length);
    report(came && length == 72 && data[71] != 0xEE && data[72] == 0xEE && data[255] == 0xEE, "CVE-2024-8612",
           "the used length is what was written (%u)", length);
    came = queue_wait(TX, 1, 1000) && queue_take(TX, &token, &length);
    report(came && length == 0, "used_length_tx", "and nothing for what was only read (%u)", length);
}

static void offloads(void)
{
    static const struct {
        const char *name;
        struct net_header header;
    } rows[] = {
        {"gso_size_0", {NET_NEEDS_CSUM, NET_GSO_TCPV4, 54, 0, 34, 16, 0}},
        {"gso_header_long", {NET_NEEDS_CSUM, NET_GSO_TCPV4, 0xFFFF, 1460, 34, 16, 0}},
        {"gso_header_0", {NET_NEEDS_CSUM, NET_GSO_TCPV4, 0, 1, 34, 16, 0}},
        {"gso_type", {NET_NEEDS_CSUM, 0x7F, 54, 1460, 34, 16, 0}},
        {"gso_no_ip", {NET_NEEDS_CSUM, NET_GSO_TCPV6, 54, 1460, 34, 16, 0}},
        {"csum_past_the_end", {NET_NEEDS_CSUM, NET_GSO_NONE, 0, 0, 0xFFFF, 0xFFFF, 0}},
        {"csum_at_the_end", {NET_NEEDS_CSUM, NET_GSO_NONE, 0, 0, 4999, 0, 0}},
        {"flags", {0xFF, 0xFF, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF}},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        start();
        memset(data, 0x45, 256);
        memcpy(data, &rows[i].header, sizeof rows[i].header);
        send((u64)data, 12 + 5000, 0, 0);
        survived(rows[i].name);
    }
}

int main(void)
{
    static const struct hostile_group groups[] = {
        {"indirect", indirect}, {"chains", chains}, {"indices", indices},
        {"addresses", addresses}, {"buffers", buffers}, {"lengths", lengths}, {"offloads", offloads},
    };
    return hostile_run(groups, ARRAY_SIZE(groups));
}
