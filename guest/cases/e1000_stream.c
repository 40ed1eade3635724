// Numbered frames to or from a peer: `mode=tx|rx frames=N size=S batch=B`.
//
// A frame is Ethernet type 0x88B5, the number (u32, little endian), a pattern, and the CRC-32 of
// everything between type and CRC. The hot loop runs in ring 3.
#include "clock.h"
#include "cmdline.h"
#include "cpu.h"
#include "e1000/e1000.h"
#include "printf.h"
#include "report.h"
#include "ring3.h"
#include "string.h"

enum { HEADER = 14, QUIET_MS = 3000 };

static struct e1000 card;
static u32 table[256];
static u64 frames, batch;
static u16 size;
static u64 lost, corrupt, disordered, seen;

static void crc_init(void)
{
    for (u32 n = 0; n < 256; n++) {
        u32 c = n;
        for (int bit = 0; bit < 8; bit++)
            c = c & 1 ? 0xEDB88320 ^ c >> 1 : c >> 1;
        table[n] = c;
    }
}

static u32 crc32(const u8 *p, size_t n)
{
    u32 c = ~0u;
    while (n--)
        c = table[(c ^ *p++) & 0xFF] ^ c >> 8;
    return ~c;
}

static u64 transmit(u64 unused)
{
    (void)unused;
    for (u64 n = 0; n < frames; n++) {
        u8 *out;
        while (!(out = e1000_buffer(&card)))
            e1000_kick(&card); // the ring is full of what was not rung in yet
        memset(out, 0xFF, 6);
        memcpy(out + 6, card.mac, 6);
        out[12] = 0x88;
        out[13] = 0xB5;
        u32 number = (u32)n;
        memcpy(out + HEADER, &number, 4);
        for (unsigned i = HEADER + 4; i < size - 4u; i++)
            out[i] = (u8)(i + n);
        u32 crc = crc32(out + HEADER, size - HEADER - 4u);
        memcpy(out + size - 4, &crc, 4);
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
    u32 expected = 0;
    u64 deadline = deadline_ms(QUIET_MS * 3);
    while (seen < frames) {
        u16 length;
        const u8 *in = e1000_receive(&card, &length);
        if (!in) {
            if (deadline_passed(deadline))
                break;
            cpu_pause();
            continue;
        }
        if (length >= 60 && in[12] == 0x88 && in[13] == 0xB5) {
            u32 number, crc;
            memcpy(&number, in + HEADER, 4);
            memcpy(&crc, in + length - 4, 4);
            corrupt += crc != crc32(in + HEADER, length - HEADER - 4u);
            if (number > expected)
                lost += number - expected;
            disordered += number < expected;
            expected = number + 1;
            seen++;
            deadline = deadline_ms(QUIET_MS);
        }
        e1000_release(&card);
    }
    lost += frames - expected;
    return seen;
}

int main(void)
{
    char mode[4] = "tx";
    cmdline_get("mode", mode, sizeof mode);
    frames = cmdline_u64("frames", 1000);
    batch = cmdline_u64("batch", 64);
    size = (u16)cmdline_u64("size", 60);
    clock_init();
    crc_init();
    if (!report(e1000_open(&card, 0, 0), "stream_open", "a card") || size < 60 || size > 1514 || !batch)
        return report_summary();
    printf("READY\n");
    u64 start = rdtsc();
    if (strcmp(mode, "rx") == 0) {
        ring3_call(receive, 0);
        report(seen == frames && !lost && !corrupt && !disordered, "stream_rx",
               "%lu of %lu frames, %lu lost, %lu corrupt, %lu out of order", seen, frames, lost, corrupt,
               disordered);
    } else {
        report(ring3_call(transmit, 0) == frames, "stream_tx", "%lu frames", frames);
    }
    printf("STREAM %lu cycles %lu kHz\n", rdtsc() - start, clock_tsc_khz());
    return report_summary();
}
