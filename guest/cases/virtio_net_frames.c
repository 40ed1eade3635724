// Frames of all sizes and shapes through a network that returns them. Keys: net_options.h.
#include "clock.h"
#include "report.h"
#include "ring3.h"
#include "virtio/net_loop.h"
#include "virtio/net_options.h"

enum { LARGEST = 1514, SOON = 2000, MANY = 128 };

static struct net net;
static struct net_options base;
static u8 scratch[sizeof(struct net_header) + LARGEST];

static u64 all_sizes(u64 step)
{
    u64 good = 0;
    for (u32 size = LOOP_SMALLEST; size <= LARGEST; size += (u32)step)
        good += net_loop_trip(&net, 0, size, size, SOON);
    return good;
}

// One frame in as many pieces, of equal length but for the last; true if it comes back.
static bool in_pieces(u32 size, unsigned count)
{
    static struct piece pieces[MANY];
    static struct net_frame frame;
    u8 *start = scratch + sizeof(struct net_header) - net.header;
    u32 total = net.header + size, each = total / count, at = 0;
    for (u32 i = 0; i < net.header; i++)
        start[i] = 0;
    net_loop_write(&net, start + net.header, size, count);
    for (unsigned i = 0; i < count; i++, at += each)
        pieces[i] = (struct piece){(u64)start + at, i == count - 1 ? total - at : each};
    u64 deadline = deadline_ms(SOON);
    if (!net_queue_pieces(&net, 0, pieces, count))
        return false;
    net_kick(&net, 0);
    while (!net_receive(&net, 0, &frame))
        if (deadline_passed(deadline))
            return false;
    bool same = net_loop_same(&net, &frame, size, count);
    net_release(&net, 0, &frame);
    while (!net_sent(&net, 0))
        if (deadline_passed(deadline))
            return false;
    return same;
}

static u64 chains(u64 longest)
{
    u64 good = 0;
    for (unsigned count = 2; count <= longest; count++)
        good += in_pieces(1000 + count, count);
    return good;
}

// Three frames of several buffers each: they come whole.
static u64 merged(u64 size)
{
    u64 good = 0;
    for (u32 i = 0; i < 3; i++)
        good += net_loop_trip(&net, 0, (u32)size - i, i, SOON);
    return good;
}

static bool reopen(struct net_options o)
{
    virtio_reset(&net.device);
    return net_open(&net, 0, &o);
}

int main(void)
{
    clock_init();
    base = net_options();
    if (!net_open_checked(&net, &base))
        return report_summary();
    enum { STEP = 19, SIZES = (LARGEST - LOOP_SMALLEST) / STEP + 1 };
    u64 good = ring3_call(all_sizes, STEP);
    report(good == SIZES, "sizes", "%lu of %u", good, SIZES);

    struct net_options o = base;
    o.wanted &= ~F_INDIRECT_DESC;
    report(reopen(o), "reopen_direct", "without indirect descriptors");
    good = ring3_call(chains, 40);
    report(good == 39, "chains", "of 2 to 40 descriptors: %lu good", good);

    o = base;
    o.indirect = MANY;
    report(reopen(o), "reopen_indirect", "with tables of up to 128");
    good = ring3_call(chains, MANY);
    report(good == MANY - 1 && net.tx[0].queue.room == net.tx[0].queue.size, "indirect",
           "tables of 2 to 128 descriptors: %lu good", good);

    o = base;
    o.wanted |= NET_F_MRG_RXBUF;
    o.rx_buffer = 256;
    report(reopen(o) && net.device.features & NET_F_MRG_RXBUF, "reopen_merge", "with buffers of 256 bytes");
    good = ring3_call(merged, LARGEST);
    report(good == 3 && !net.torn, "merged", "frames of several buffers come whole");
    good = ring3_call(all_sizes, STEP);
    report(good == SIZES, "merged_sizes", "%lu of %u", good, SIZES);
    return report_summary();
}
