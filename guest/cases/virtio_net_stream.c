// Frames by the ring past 65,536, and how often the two sides told each other.
//
//   frames=70000 batch=128 and the keys of net_options.h (irq=1 here by default)
//
// With EVENT_IDX the driver asks for an interrupt when a whole batch is back, so a device that heeds
// it interrupts once for each. Without, the driver polls with interrupts off, and none may come.
#include "clock.h"
#include "cmdline.h"
#include "cpu.h"
#include "printf.h"
#include "report.h"
#include "ring3.h"
#include "virtio/net_loop.h"
#include "virtio/net_options.h"

enum { PATIENCE_MS = 5000 };

static struct net net;
static u64 batch, bad;

static u64 stream(u64 frames)
{
    static struct net_frame frame;
    struct queue *rx = &net.rx[0].queue;
    u64 back = 0;
    while (back < frames) {
        u16 now = (u16)(frames - back < batch ? frames - back : batch);
        for (u16 i = 0; i < now; i++) {
            u8 *out = net_buffer(&net, 0);
            if (!out)
                return back; // all of the batch before were back: they were sent
            net_loop_write(&net, out, LOOP_SMALLEST, (u32)(back + i));
            net_queue(&net, 0, out, LOOP_SMALLEST);
        }
        net_kick(&net, 0);
        u64 deadline = deadline_ms(PATIENCE_MS);
        if (rx->event_idx && !queue_wait(rx, now, PATIENCE_MS))
            return back;
        for (u16 i = 0; i < now; i++, back++) {
            while (!net_receive(&net, 0, &frame))
                if (deadline_passed(deadline))
                    return back;
            bad += !net_loop_same(&net, &frame, LOOP_SMALLEST, (u32)back);
            net_release(&net, 0, &frame);
        }
        // What is back has been sent, but the device may say so later.
        while (!net_sent(&net, 0))
            if (deadline_passed(deadline))
                return back;
    }
    return back;
}

int main(void)
{
    struct net_options options = net_options();
    u64 frames = cmdline_u64("frames", 70000);
    batch = cmdline_u64("batch", 128);
    options.interrupts = cmdline_u64("irq", 1);
    clock_init();
    if (!net_open_checked(&net, &options))
        return report_summary();
    irq_enable();
    u64 back = ring3_call(stream, frames);
    irq_disable();
    report(back == frames && !bad, "stream", "%lu of %lu frames, %lu bad", back, frames, bad);
    struct queue *tx = &net.tx[0].queue, *rx = &net.rx[0].queue;
    u32 interrupts = net.device.interrupts;
    report(tx->kicks <= frames / 100, "kicks", "at least 100 frames each (%lu)", tx->kicks);
    if (rx->event_idx)
        report(interrupts <= frames / 100, "interrupts", "at least 100 frames each (%u)", interrupts);
    else
        report(interrupts == 0, "interrupts", "none while they are off (%u)", interrupts);
    printf("COUNT kicks %lu interrupts %u packets %lu refills %lu\n", tx->kicks, interrupts, frames, rx->kicks);
    return report_summary();
}
