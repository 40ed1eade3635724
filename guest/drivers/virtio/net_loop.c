#include "virtio/net_loop.h"

#include "clock.h"
#include "cpu.h"
#include "inet.h"
#include "ring3.h"
#include "string.h"

static u8 pattern(u32 i, u32 n) { return (u8)(i * 7 + n); }

void net_loop_write(const struct net *net, u8 *out, u32 size, u32 n)
{
    for (u32 i = LOOP_HEADER + 4; i < size; i++)
        out[i] = pattern(i, n);
    memcpy(out, net->mac, 6);
    memcpy(out + 6, net->mac, 6);
    put_be16(out + 12, 0x88B5);
    put_be32(out + LOOP_HEADER, n);
}

bool net_loop_same(const struct net *net, const struct net_frame *frame, u32 size, u32 n)
{
    u8 head[LOOP_HEADER + 4];
    u32 at = 0;
    if (frame->length != size)
        return false;
    memcpy(head, net->mac, 6);
    memcpy(head + 6, net->mac, 6);
    put_be16(head + 12, 0x88B5);
    put_be32(head + LOOP_HEADER, n);
    for (unsigned part = 0; part < frame->parts; part++)
        for (u32 i = 0; i < frame->part[part].length; i++, at++)
            if (frame->part[part].data[i] != (at < sizeof head ? head[at] : pattern(at, n)))
                return false;
    return at == size;
}

bool net_loop_trip(struct net *net, unsigned pair, u32 size, u32 n, u32 ms)
{
    static struct net_frame frame;
    u8 *out = net_buffer(net, pair);
    if (!out)
        return false;
    net_loop_write(net, out, size, n);
    net_queue(net, pair, out, size);
    net_kick(net, pair);
    u64 deadline = deadline_ms(ms);
    for (unsigned on = 0; !deadline_passed(deadline); on = (on + 1) % net->pairs) {
        if (net_receive(net, on, &frame)) {
            bool same = net_loop_same(net, &frame, size, n);
            net_release(net, on, &frame);
            if (same)
                return true;
        }
        cpu_pause();
    }
    return false;
}

static u32 trip_size;

static u64 trip(u64 net) { return net_loop_trip((struct net *)net, 0, trip_size, trip_size, 2000); }

bool net_loop_works(struct net *net, u32 size)
{
    trip_size = size;
    return ring3_call(trip, (u64)net);
}
