// Starts and stops at odd moments: cycles of a few frames, with pauses of pseudo-random length where a
// notification could get lost. One that does ends in a time-out. cycles=10000, and net_options.h.
#include "clock.h"
#include "cmdline.h"
#include "cpu.h"
#include "printf.h"
#include "report.h"
#include "ring3.h"
#include "virtio/net_loop.h"
#include "virtio/net_options.h"

enum { PATIENCE_MS = 3000, BURST = 8, LONGEST = 1 << 14 };

static struct net net;
static u32 seed;
static const char *stuck = "";

static u32 random(void)
{
    seed ^= seed << 13; // xorshift32
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return seed;
}

// Mostly short, sometimes long: as long as the other side takes to fall asleep, give or take.
static void pause_a_while(void)
{
    u32 r = random();
    u64 end = rdtsc() + (r >> 8 & ((r & 7) ? 0x3FF : LONGEST * 16 - 1));
    while ((long)(rdtsc() - end) < 0)
        cpu_pause();
}

static bool send_burst(u32 cycle, unsigned burst)
{
    for (unsigned i = 0; i < burst; i++) {
        u8 *out = net_buffer(&net, 0);
        if (!out)
            return false;
        net_loop_write(&net, out, LOOP_SMALLEST, cycle + i);
        net_queue(&net, 0, out, LOOP_SMALLEST);
        if (random() & 1)
            net_kick(&net, 0);
        if (random() & 1)
            pause_a_while();
    }
    net_kick(&net, 0);
    return true;
}

static bool take_burst(u32 cycle, unsigned burst)
{
    static struct net_frame frame;
    for (unsigned got = 0; got < burst;) {
        if (!net_receive(&net, 0, &frame)) {
            pause_a_while();
            if (!queue_wait(&net.rx[0].queue, (u16)(random() & 1 ? 1 : burst - got), PATIENCE_MS)) {
                stuck = "receiving";
                return false;
            }
            continue;
        }
        bool same = net_loop_same(&net, &frame, LOOP_SMALLEST, cycle + got++);
        net_release(&net, 0, &frame);
        if (!same) {
            stuck = "another frame";
            return false;
        }
    }
    return true;
}

static bool wait_until_sent(void)
{
    struct queue *tx = &net.tx[0].queue;
    while (!net_sent(&net, 0)) {
        pause_a_while();
        if (!queue_wait(tx, (u16)queue_pending(tx), PATIENCE_MS)) {
            stuck = "sending";
            return false;
        }
    }
    return true;
}

static u64 run(u64 cycles)
{
    for (u32 cycle = 0; cycle < cycles; cycle++) {
        unsigned burst = 1 + random() % BURST;
        if (!send_burst(cycle, burst)) {
            stuck = "no room to send";
            return cycle;
        }
        pause_a_while();
        bool receive_first = random() & 1;
        if ((receive_first && !take_burst(cycle, burst)) || !wait_until_sent() ||
            (!receive_first && !take_burst(cycle, burst)))
            return cycle;
    }
    return cycles;
}

int main(void)
{
    struct net_options options = net_options();
    u64 cycles = cmdline_u64("cycles", 10000);
    seed = (u32)cmdline_u64("seed", 1);
    options.interrupts = cmdline_u64("irq", 1);
    clock_init();
    if (!net_open_checked(&net, &options))
        return report_summary();
    irq_enable();
    u64 done = ring3_call(run, cycles);
    irq_disable();
    report(done == cycles, "wakeups", "%lu of %lu cycles%s%s", done, cycles, *stuck ? ", stuck " : "", stuck);
    printf("COUNT kicks %lu interrupts %u packets %lu\n", net.tx[0].queue.kicks + net.rx[0].queue.kicks,
           net.device.interrupts, net.tx[0].queue.added);
    return report_summary();
}
