// Numbered frames to or from a peer: `mode=tx|rx frames=N size=S batch=B` (lib/numbered.h).
#include "clock.h"
#include "cmdline.h"
#include "cpu.h"
#include "e1000/e1000.h"
#include "numbered.h"
#include "printf.h"
#include "report.h"
#include "ring3.h"
#include "string.h"

enum { QUIET_MS = 3000 };

static struct e1000 card;
static struct numbered got = {.body = NUMBERED_BODY};
static u64 frames, batch;
static u16 size;

static u64 transmit(u64 unused)
{
    (void)unused;
    for (u64 n = 0; n < frames; n++) {
        u8 *out;
        while (!(out = e1000_buffer(&card)))
            e1000_kick(&card); // the ring is full of what was not rung in yet
        numbered_write(out, size, card.mac, (u32)n);
        e1000_queue(&card, size);
        if ((n + 1) % batch == 0)
            e1000_kick(&card);
    }
    e1000_kick(&card);
    while (!e1000_idle(&card))
        cpu_pause();
    return frames;
}

static u64 receive(u64 unused)
{
    (void)unused;
    u64 deadline = deadline_ms(QUIET_MS * 3);
    while (got.seen < frames) {
        u16 length;
        const u8 *in = e1000_receive(&card, &length);
        if (!in) {
            if (deadline_passed(deadline))
                break;
            cpu_pause();
            continue;
        }
        if (numbered_take(&got, in, length))
            deadline = deadline_ms(QUIET_MS);
        e1000_release(&card);
    }
    return got.seen;
}

int main(void)
{
    char mode[4] = "tx";
    cmdline_get("mode", mode, sizeof mode);
    frames = cmdline_u64("frames", 1000);
    batch = cmdline_u64("batch", 64);
    size = (u16)cmdline_u64("size", 60);
    clock_init();
    numbered_init();
    if (!report(e1000_open(&card, 0, 0), "stream_open", "a card") || size < 60 || size > 1514 || !batch)
        return report_summary();
    printf("READY\n");
    u64 start = rdtsc();
    if (strcmp(mode, "rx") == 0) {
        ring3_call(receive, 0);
        report(numbered_whole(&got, frames), "stream_rx",
               "%lu of %lu frames, %lu lost, %lu corrupt, %lu repeated, %lu out of order", got.seen, frames,
               frames - got.seen, got.corrupt, got.repeated, got.disordered);
    } else {
        report(ring3_call(transmit, 0) == frames, "stream_tx", "%lu frames", frames);
    }
    printf("STREAM %lu cycles %lu kHz\n", rdtsc() - start, clock_tsc_khz());
    return report_summary();
}
