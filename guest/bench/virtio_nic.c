// How fast a virtio card moves frames, seen from ring 3 of the guest.
//
//   BENCH <kind> <frames> <tsc cycles>                   one line per measurement
//   TIMES <kind> <median> <p99> <slowest>                behind it if the guest waits: cycles of a request
//   COUNT kicks <n> interrupts <n> packets <n>           at the end, of all of them
//
// Command line, all optional:
//   transport=modern  or legacy
//   mode=tx      tx: send; the kinds are tx-SIZE-BATCH (frames to a kick) and tx-tso; and
//                wait-SIZE-BATCH, wait-tso and wait-tso-32: the next kick when the card is done with all
//   kind=NAME    only that one
//   frames=20000 frames per measurement; a tx-tso "frame" is one request of 44 segments
//   passes=3
//   mode=rx      rx: print READY, wait for a byte on the serial port, take `frames` frames, again;
//                kind=rx-merge with mergeable buffers, and tso=1 with large segments in them
//   rows=KIND:N,...  instead: each in turn when a byte has come, those whose name begins with rx take
//                frames, in mergeable buffers
//   irq=0        1: wait for interrupts where there is nothing to do, not looking all the time
//   packed=0, event_idx=1, indirect=1, entries=N   how the rings are
#include "clock.h"
#include "cmdline.h"
#include "cpu.h"
#include "exit.h"
#include "inet.h"
#include "printf.h"
#include "ring3.h"
#include "rows.h"
#include "string.h"
#include "times.h"
#include "uart.h"
#include "virtio/net.h"
#include "virtio/net_options.h"

enum { MSS = 1460, SEGMENTS = 44, PIECES = 4, TSO_BATCH = 8, MOST_PIECES = 2 + PIECES, PATIENCE_MS = 20000, HEADERS = 54 };

static struct net card;
static u16 size;
static u64 batch, packets;
static u8 request[sizeof(struct net_header) + HEADERS];
static u8 payload[MSS * SEGMENTS];

static void ethernet(u8 *out, u16 type)
{
    memcpy(out, "\x02\0\0\0\0\x01", 6);
    memcpy(out + 6, card.mac, 6);
    put_be16(out + 12, type);
}

// As drivers do, wait for a good part of a full ring, and do not look all the time: the card's core
// pays for each look.
static void wait_for_room(void)
{
    struct queue *q = &card.tx[0].queue;
    unsigned wanted = q->size / 2;
    net_kick(&card, 0);
    while (net_room(&card, 0) < wanted) {
        if (!q->polled)
            queue_wait(q, (u16)(queue_pending(q) * 3 / 4 + 1), PATIENCE_MS);
        for (int i = 0; q->polled && i < 64; i++)
            cpu_pause();
    }
}

static void wait_until_sent(void)
{
    struct queue *q = &card.tx[0].queue;
    while (!net_sent(&card, 0)) {
        if (!q->polled)
            queue_wait(q, (u16)queue_pending(q), PATIENCE_MS);
        cpu_pause();
    }
}

static void queue_frame(void)
{
    u8 *out;
    while (!(out = net_buffer(&card, 0)))
        wait_for_room();
    net_queue(&card, 0, out, size);
}

static u64 send_frames(u64 frames)
{
    u64 start = rdtsc();
    for (u64 n = 1; n <= frames; n++) {
        queue_frame();
        if (n % batch == 0)
            net_kick(&card, 0);
    }
    net_kick(&card, 0);
    wait_until_sent();
    return rdtsc() - start;
}

// Queues a batch, of which frame or request each is one, with `queue`; then a kick, and the next batch when
// the used index says that all of it is done. The time of each is noted, from its first descriptor on, as a
// caller of a driver sees it.
static u64 wait_for_each(u64 count, void (*queue)(void))
{
    times_start((count + batch - 1) / batch);
    u64 start = rdtsc(), before = start;
    for (u64 left = count; left;) {
        u64 some = left < batch ? left : batch;
        for (u64 n = 0; n < some; n++)
            queue();
        net_kick(&card, 0);
        wait_until_sent();
        u64 now = rdtsc();
        times_note(now - before);
        before = now;
        left -= some;
    }
    return before - start;
}

static u64 send_and_wait(u64 frames) { return wait_for_each(frames, queue_frame); }

static struct piece pieces[MOST_PIECES];
static unsigned piece_count;

// One request of 44 segments: header and headers, then the data.
static void cut_request(void)
{
    u64 at = (u64)request + sizeof(struct net_header) - card.header;
    piece_count = 0;
    pieces[piece_count++] = (struct piece){at, card.own_piece ? card.header : card.header + (u32)HEADERS};
    if (card.own_piece)
        pieces[piece_count++] = (struct piece){at + card.header, HEADERS};
    for (unsigned i = 0; i < PIECES; i++)
        pieces[piece_count++] = (struct piece){(u64)payload + i * (sizeof payload / PIECES), sizeof payload / PIECES};
}

static void queue_request(void)
{
    while (!net_queue_pieces(&card, 0, pieces, piece_count))
        wait_for_room();
}

static u64 send_requests(u64 requests)
{
    u64 start = rdtsc();
    for (u64 n = 1; n <= requests; n++) {
        queue_request();
        if (n % batch == 0)
            net_kick(&card, 0);
    }
    net_kick(&card, 0);
    wait_until_sent();
    return rdtsc() - start;
}

static u64 send_requests_and_wait(u64 requests) { return wait_for_each(requests, queue_request); }

static void transmit(u64 frames, u64 passes, const char *only)
{
    static const struct {
        const char *name;
        u16 size, batch;
        u64 (*send)(u64 count);
    } kinds[] = {
        {"tx-60-1", 60, 1, send_frames}, {"tx-60-64", 60, 64, send_frames},
        {"tx-1514-1", 1514, 1, send_frames}, {"tx-1514-64", 1514, 64, send_frames},
        {"tx-tso", 0, TSO_BATCH, send_requests},
        {"wait-60-1", 60, 1, send_and_wait}, {"wait-60-64", 60, 64, send_and_wait},
        {"wait-1514-1", 1514, 1, send_and_wait}, {"wait-1514-64", 1514, 64, send_and_wait},
        {"wait-tso", 0, 1, send_requests_and_wait}, {"wait-tso-32", 0, 32, send_requests_and_wait},
    };
    u64 requests = frames < 8 ? 1 : frames / 8;
    for (u64 pass = 0; pass < passes; pass++)
        for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
            const char *name = kinds[i].name;
            // Without the offload the card would have to be told of every segment.
            if ((*only && strcmp(only, name)) || (!kinds[i].size && !(card.device.features & NET_F_HOST_TSO4)))
                continue;
            u64 count = kinds[i].size ? frames : requests;
            size = kinds[i].size;
            batch = kinds[i].batch;
            printf("BENCH %s %lu %lu\n", name, count, ring3_call(kinds[i].send, count));
            if (kinds[i].send == send_and_wait || kinds[i].send == send_requests_and_wait)
                times_print(name);
            packets += count;
        }
}

static u64 take(u64 frames)
{
    static struct net_frame frame;
    struct queue *q = &card.rx[0].queue;
    u64 start = rdtsc();
    for (u64 n = 0; n < frames; n++) {
        while (!net_receive(&card, 0, &frame)) {
            net_refill(&card, 0);
            if (!q->polled)
                queue_wait(q, 1, PATIENCE_MS);
            cpu_pause();
        }
        net_release(&card, 0, &frame);
    }
    return rdtsc() - start;
}

static void receive(u64 frames, u64 passes, const char *kind)
{
    for (u64 pass = 0; pass < passes; pass++) {
        printf("READY\n");
        while (uart_getc() < 0)
            cpu_pause();
        printf("BENCH %s %lu %lu\n", *kind ? kind : "rx", frames, ring3_call(take, frames));
        packets += frames;
    }
}

static void row(const char *name, u64 count)
{
    if (memcmp(name, "rx", 2)) {
        transmit(count, 1, name);
        return;
    }
    printf("BENCH %s %lu %lu\n", name, count, ring3_call(take, count));
    packets += count;
}

static u64 fill(u64 unused)
{
    for (u16 i = 0; i < card.tx[0].queue.size; i++) {
        u8 *out = card.tx[0].buffers + (size_t)i * card.tx[0].stride + card.header;
        for (unsigned n = 0; n < 1514; n++)
            out[n] = 0xA5;
        ethernet(out, 0x88B5);
    }
    return unused;
}

static void fill_request(void)
{
    struct net_header h = {.flags = NET_NEEDS_CSUM, .gso_type = NET_GSO_TCPV4, .header_length = HEADERS,
                           .gso_size = MSS, .csum_start = 34, .csum_offset = 16};
    u8 *frame = request + sizeof h, *ip = frame + 14, *tcp = frame + 34;
    // A header of 10 bytes ends where one of 12 does: before the frame.
    memcpy(request + sizeof h - card.header, &h, card.header);
    ethernet(frame, 0x0800);
    // IPv4 and TCP to an address that nobody has: version, TTL, protocol; data offset, ACK.
    memcpy(ip, "\x45\0\0\0\0\1\x40\0\x40\x06\0\0\x0a\0\0\2\x0a\0\0\1", 20);
    memcpy(tcp, "\x30\x39\0\x50\0\0\0\1\0\0\0\1\x50\x10\xff\xff\0\0\0\0", 20);
    put_be16(ip + 2, 40 + sizeof payload);
    put_be16(ip + 10, (u16)~ones_sum(ip, 20, 0));
    put_be16(tcp + 16, pseudo_sum(ip, 20 + sizeof payload));
}

int main(void)
{
    char mode[8] = "tx", only[16] = "";
    u64 frames = cmdline_u64("frames", 20000), passes = cmdline_u64("passes", 3);
    cmdline_get("mode", mode, sizeof mode);
    cmdline_get("kind", only, sizeof only);
    struct net_options options = net_options();
    char rows[2];
    if (strcmp(only, "rx-merge") == 0 || cmdline_get("rows", rows, sizeof rows))
        options.wanted |= NET_F_MRG_RXBUF;
    clock_init();
    if (!net_open(&card, 0, &options)) {
        printf("FAIL: virtio_nic: no card for this driver\n");
        return EXIT_FAIL;
    }
    if (options.interrupts)
        irq_enable();
    ring3_call(fill, 0);
    fill_request();
    cut_request();
    bool rx = strcmp(mode, "rx") == 0;
    if (rows_each(row))
        return EXIT_PASS;
    if (rx)
        receive(frames, passes, only);
    else
        transmit(frames, passes, only);
    const struct queue *q = rx ? &card.rx[0].queue : &card.tx[0].queue;
    printf("COUNT kicks %lu interrupts %u packets %lu\n", q->kicks, q->interrupts, packets);
    return EXIT_PASS;
}
