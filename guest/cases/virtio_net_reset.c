// A reset in the middle of traffic, of the whole card and of its queues.
#include "clock.h"
#include "report.h"
#include "virtio/net_loop.h"
#include "virtio/net_options.h"
#include "virtio/ring.h"

enum { ROUNDS = 20, FRAMES = 200, QUIET_MS = 20 };

static struct net net;
static struct net_options options;

static void flood(void)
{
    for (unsigned i = 0; i < FRAMES; i++) {
        u8 *out = net_buffer(&net, 0);
        if (!out)
            break;
        for (unsigned at = 0; at < 6; at++)
            out[at] = net.mac[at];
        net_queue(&net, 0, out, 1514);
    }
    net_kick(&net, 0);
}

// Nothing of the rings' memory changes any more: the sum of all words, before and after a while.
static u64 sum(const struct queue *q)
{
    u64 total = 0;
    for (const volatile u64 *at = (u64 *)q->device_area; at < (u64 *)(q->device_area + 2048); at++)
        total += *at * 31;
    return total;
}

static bool quiet(void)
{
    u64 rx = sum(&net.rx[0].queue), tx = sum(&net.tx[0].queue), deadline = deadline_ms(QUIET_MS);
    while (!deadline_passed(deadline))
        ;
    return rx == sum(&net.rx[0].queue) && tx == sum(&net.tx[0].queue);
}

static void card(void)
{
    bool still = true, opened = true;
    for (unsigned round = 0; round < ROUNDS && opened; round++) {
        flood();
        virtio_reset(&net.device);
        still = still && quiet();
        opened = net_open(&net, 0, &options);
    }
    report(still, "reset", "nothing is written after it");
    report(opened, "reopen", "twenty times in the middle of 200 frames");
    report(net_loop_works(&net, 500), "after_reset", "and it moves frames");
}

static void queues(void)
{
    const struct virtio_transport *t = options.transport;
    bool still = true, done = true;
    for (unsigned round = 0; round < ROUNDS && done; round++) {
        flood();
        done = t->queue_reset(&net.device, 1) && t->queue_reset(&net.device, 0);
        still = still && quiet();
        done = done && net_restart_pair(&net, 0, &options);
    }
    report(done, "queue_reset", "twenty times in the middle of 200 frames");
    report(still, "queue_quiet", "nothing is written after it");
    report(net_loop_works(&net, 700), "after_queue_reset", "and they move frames");
}

int main(void)
{
    options = net_options();
    options.wanted |= F_RING_RESET;
    clock_init();
    if (!net_open_checked(&net, &options))
        return report_summary();
    report(net_loop_works(&net, 60), "before", "it moves frames");
    card();
    if (options.transport == &virtio_modern &&
        report(net.device.features & F_RING_RESET, "offer", "RING_RESET"))
        queues();
    return report_summary();
}
