// Numbered frames to or from a peer (lib/numbered.h), over one pair of queues or several.
//
//   mode=tx|rx frames=N size=S batch=B pairs=P body=14 and the keys of net_options.h
//
// Frame n goes out on pair n % P. What comes in may come on any pair, so with several its order is
// not looked at; `body` says where the numbers are, 54 for TCP segments.
#include "clock.h"
#include "cmdline.h"
#include "cpu.h"
#include "numbered.h"
#include "printf.h"
#include "report.h"
#include "ring3.h"
#include "string.h"
#include "virtio/net_control.h"
#include "virtio/net_options.h"

enum { QUIET_MS = 3000, LARGEST = 65536 };

static struct net net;
static struct numbered got;
static u64 frames, batch, merged;
static u32 size;
static u8 whole[LARGEST];

static u64 transmit(u64 unused)
{
    (void)unused;
    for (u64 n = 0; n < frames; n++) {
        unsigned pair = (unsigned)(n % net.pairs);
        u8 *out;
        while (!(out = net_buffer(&net, pair)))
            net_kick(&net, pair); // the ring is full of what was not kicked yet
        numbered_write(out, size, net.mac, (u32)n);
        net_queue(&net, pair, out, size);
        if ((n + 1) % batch < net.pairs)
            net_kick(&net, pair);
    }
    for (unsigned pair = 0; pair < net.pairs; pair++) {
        net_kick(&net, pair);
        while (!net_sent(&net, pair))
            cpu_pause();
    }
    return frames;
}

// A frame in one part; several are put together.
static const u8 *contiguous(const struct net_frame *frame)
{
    if (frame->parts == 1)
        return frame->part[0].data;
    u32 at = 0;
    for (unsigned i = 0; i < frame->parts && at + frame->part[i].length <= LARGEST; i++) {
        memcpy(whole + at, frame->part[i].data, frame->part[i].length);
        at += frame->part[i].length;
    }
    merged++;
    return whole;
}

static u64 receive(u64 unused)
{
    (void)unused;
    static struct net_frame frame;
    u64 deadline = deadline_ms(QUIET_MS * 3);
    while (got.seen < frames && !deadline_passed(deadline)) {
        for (unsigned pair = 0; pair < net.pairs; pair++) {
            while (net_receive(&net, pair, &frame)) {
                if (numbered_take(&got, contiguous(&frame), frame.length))
                    deadline = deadline_ms(QUIET_MS);
                net_release(&net, pair, &frame);
            }
            net_refill(&net, pair);
        }
        cpu_pause();
    }
    return got.seen;
}

int main(void)
{
    char mode[4] = "tx";
    struct net_options options = net_options();
    cmdline_get("mode", mode, sizeof mode);
    frames = cmdline_u64("frames", 1000);
    batch = cmdline_u64("batch", 64);
    size = (u32)cmdline_u64("size", 60);
    got.body = (u32)cmdline_u64("body", NUMBERED_BODY);
    options.pairs = (unsigned)cmdline_u64("pairs", 1);
    if (options.pairs > 1)
        options.wanted |= NET_F_CTRL_VQ | NET_F_MQ;
    clock_init();
    numbered_init();
    if (size < 60 || size > 1514 || !batch || frames > NUMBERED_MOST || !net_open_checked(&net, &options))
        return report_summary();
    if (options.pairs > 1)
        report(net_use_pairs(&net, (u16)options.pairs), "pairs", "%u are used", options.pairs);
    printf("READY\n");
    if (strcmp(mode, "rx") == 0) {
        ring3_call(receive, 0);
        if (net.pairs > 1)
            got.disordered = 0;
        report(numbered_whole(&got, frames) && !net.torn, "peer_rx",
               "%lu of %lu frames, %lu lost, %lu corrupt, %lu repeated, %lu out of order", got.seen, frames,
               frames - got.seen, got.corrupt, got.repeated, got.disordered);
        printf("MERGED %lu\n", merged);
    } else {
        report(ring3_call(transmit, 0) == frames, "peer_tx", "%lu frames", frames);
    }
    return report_summary();
}
